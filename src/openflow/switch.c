#include "openflow/switch.h"

#include <errno.h>
#include <string.h>

#include "openflow/flow.h"
#include "openflow/wire.h"

enum {
    FEATURES_BYTES = 32,
    PORT_BYTES_13 = 64,
    PORT_BYTES_14 = 40, /* and properties */
    PORT_STATS_BYTES_13 = 112,
    PORT_STATS_BYTES_14 = 80, /* and properties */
    TABLE_STATS_BYTES = 24,
    PORT_STATUS_BYTES = 16, /* before the port */
};

int of_features_decode(const uint8_t *message, size_t size, struct of_features *ret_features)
{
    if (size != FEATURES_BYTES || of_u8(message, 1) != OF_FEATURES_REPLY) {
        return -EBADMSG;
    }
    *ret_features = (struct of_features){.datapath_id = of_u64(message, 8),
                                         .tables_len = of_u8(message, 20),
                                         .capabilities = of_u32(message, 24)};
    return 0;
}

/* The size that the entry says of itself at `at`, at least `least`. */
static int get_size(const uint8_t *data, size_t size, size_t at, size_t least, size_t *ret_size)
{
    if (size < least || of_u16(data, at) < least || of_u16(data, at) > size) {
        return -EBADMSG;
    }
    *ret_size = of_u16(data, at);
    return 0;
}

int of_port_decode(uint8_t version, const uint8_t *data, size_t size, struct of_port *ret_port,
                   size_t *ret_size)
{
    if (version >= OF_VERSION_14) {
        int rc = get_size(data, size, 4, PORT_BYTES_14, ret_size);
        if (rc < 0) {
            return rc;
        }
    } else if (size < PORT_BYTES_13) {
        return -EBADMSG;
    } else {
        *ret_size = PORT_BYTES_13;
    }
    *ret_port = (struct of_port){
        .number = of_u32(data, 0), .config = of_u32(data, 32), .state = of_u32(data, 36)};
    memcpy(ret_port->hardware, data + 8, sizeof ret_port->hardware);
    memcpy(ret_port->name, data + 16, sizeof ret_port->name - 1);
    return 0;
}

int of_port_stats_decode(uint8_t version, const uint8_t *data, size_t size,
                         struct of_port_stats *ret_stats, size_t *ret_size)
{
    size_t number_at = 0, counters_at = 8, duration_at = 104;

    if (version >= OF_VERSION_14) {
        int rc = get_size(data, size, 0, PORT_STATS_BYTES_14, ret_size);
        if (rc < 0) {
            return rc;
        }
        number_at = 4;
        duration_at = 8;
        counters_at = 16;
    } else if (size < PORT_STATS_BYTES_13) {
        return -EBADMSG;
    } else {
        *ret_size = PORT_STATS_BYTES_13;
    }
    const uint8_t *counters = data + counters_at;
    *ret_stats = (struct of_port_stats){
        .number = of_u32(data, number_at),
        .rx_packets = of_u64(counters, 0),
        .tx_packets = of_u64(counters, 8),
        .rx_bytes = of_u64(counters, 16),
        .tx_bytes = of_u64(counters, 24),
        .rx_dropped = of_u64(counters, 32),
        .tx_dropped = of_u64(counters, 40),
        .rx_errors = of_u64(counters, 48),
        .tx_errors = of_u64(counters, 56),
        .duration_sec = of_u32(data, duration_at),
        .duration_nsec = of_u32(data, duration_at + 4),
    };
    return 0;
}

int of_table_stats_decode(const uint8_t *data, size_t size, struct of_table_stats *ret_stats,
                          size_t *ret_size)
{
    if (size < TABLE_STATS_BYTES) {
        return -EBADMSG;
    }
    *ret_size = TABLE_STATS_BYTES;
    *ret_stats = (struct of_table_stats){.table = of_u8(data, 0),
                                         .flows_len = of_u32(data, 4),
                                         .lookups = of_u64(data, 8),
                                         .matches = of_u64(data, 16)};
    return 0;
}

int of_port_status_decode(uint8_t version, const uint8_t *message, size_t size,
                          enum of_port_change *ret_change, struct of_port *ret_port)
{
    size_t port_size;

    if (size < PORT_STATUS_BYTES || of_u8(message, 1) != OF_PORT_STATUS ||
        of_u8(message, 8) > OF_PORT_MODIFIED) {
        return -EBADMSG;
    }
    int rc = of_port_decode(version, message + PORT_STATUS_BYTES, size - PORT_STATUS_BYTES,
                            ret_port, &port_size);
    if (rc < 0 || port_size != size - PORT_STATUS_BYTES) {
        return -EBADMSG;
    }
    *ret_change = of_u8(message, 8);
    return 0;
}
