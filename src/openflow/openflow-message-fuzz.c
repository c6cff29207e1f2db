#include <stdlib.h>

#include "openflow/flow.h"
#include "openflow/hello.h"
#include "openflow/refusal.h"
#include "openflow/switch.h"
#include "openflow/wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What was read and has nothing unknown can be written, and is read the same. */
static void write_and_read(const struct of_flow_mod *mod)
{
    struct buf buf = BUF_INIT(OF_OUT_BYTES);
    struct of_flow_mod back;

    if (mod->flow.unknown_len > 0 || mod->flow.match.unknown_len > 0) {
        return;
    }
    if (of_flow_mod_encode(&buf, OF_VERSION_14, 1, mod) < 0 ||
        of_flow_mod_decode((const uint8_t *)buf.data, buf.size, &back) < 0 ||
        !of_flow_equal(&mod->flow, &back.flow) || back.command != mod->command ||
        back.cookie_mask != mod->cookie_mask || back.out_port != mod->out_port) {
        abort();
    }
    buf_done(&buf);
}

/* Each decoder takes something and not more than there is, or refuses. */
static void read_entries(uint8_t version, const uint8_t *data, size_t size)
{
    struct of_flow_stats flow;
    struct of_port port;
    struct of_port_stats port_stats;
    struct of_table_stats table;
    size_t len;

    for (size_t at = 0; of_flow_stats_decode(data + at, size - at, &flow, &len) == 0; at += len) {
        if (len == 0 || len > size - at) {
            abort();
        }
        write_and_read(&(struct of_flow_mod){.flow = flow.flow});
    }
    for (size_t at = 0; of_port_decode(version, data + at, size - at, &port, &len) == 0;
         at += len) {
        if (len == 0 || len > size - at || port.name[OF_PORT_NAME_SIZE - 1]) {
            abort();
        }
    }
    for (size_t at = 0;
         of_port_stats_decode(version, data + at, size - at, &port_stats, &len) == 0; at += len) {
        if (len == 0 || len > size - at) {
            abort();
        }
    }
    of_table_stats_decode(data, size, &table, &len);
}

/* One message, header and all; whatever its type, it is shown to every decoder of messages. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct of_flow_mod mod;
    struct of_flow_removed removed;
    struct of_refusal refusal;
    struct of_features features;
    struct of_port port;
    enum of_port_change change;
    struct error error;
    uint8_t version;

    if (size < OF_HEADER_BYTES) {
        return 0;
    }
    if (of_flow_mod_decode(data, size, &mod) == 0) {
        write_and_read(&mod);
    }
    of_flow_removed_decode(data, size, &removed);
    if (of_refusal_decode(data, size, &refusal) == 0 &&
        of_refusal_explain(&refusal, &error) >= 0) {
        abort();
    }
    of_hello_decode(data, size, &version, &error);
    of_features_decode(data, size, &features);
    of_port_status_decode(data[0], data, size, &change, &port);
    if (size >= OF_MULTIPART_BYTES) {
        read_entries(data[0], data + OF_MULTIPART_BYTES, size - OF_MULTIPART_BYTES);
    }
    return 0;
}
