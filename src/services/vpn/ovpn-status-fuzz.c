#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "lib/mem.h"
#include "services/vpn/ovpn-status.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_free_ char *text = xstrndup((const char *)data, size);
    _cleanup_free_ struct ovpn_session *sessions = NULL;
    struct ovpn_state_line state;
    char serial[OVPN_SERIAL_SIZE];
    struct error error;
    size_t len = 0;

    if (ovpn_status_parse(text, &sessions, &len, &error) == 0) {
        for (size_t i = 0; i < len; i++) {
            if (sessions[i].name[0] == '\0' || strchr(sessions[i].name, '\t')) {
                abort();
            }
        }
    }
    if (ovpn_state_parse(text, &state) == 0 && state.name[0] == '\0') {
        abort();
    }
    if (ovpn_serial_parse(text, serial) == 0 && strlen(serial) % 2 != 0) {
        abort();
    }
    return 0;
}
