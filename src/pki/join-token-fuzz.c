#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "lib/mem.h"
#include "pki/pki.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What decodes must come out the same after another round. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_free_ char *text = xstrndup((const char *)data, size);
    struct join_token token, again;

    text[strcspn(text, "\n")] = '\0';
    if (join_token_decode(text, &token, NULL) == 0) {
        _cleanup_free_ char *encoded = join_token_encode(&token);
        if (strlen(encoded) <= JOIN_TOKEN_MAX) {
            if (join_token_decode(encoded, &again, NULL) < 0 ||
                strcmp(again.secret, token.secret) != 0) {
                abort();
            }
            join_token_done(&again);
        }
        join_token_done(&token);
    }
    return 0;
}
