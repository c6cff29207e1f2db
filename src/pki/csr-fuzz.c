#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "lib/mem.h"
#include "pki/pki.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_free_ char *pem = xstrndup((const char *)data, size);
    _cleanup_free_ char *key_id = NULL;

    if (pki_csr_key_id(pem, &key_id, NULL) == 0 && strlen(key_id) != 64) {
        abort();
    }
    return 0;
}
