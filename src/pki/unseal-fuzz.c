#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "lib/mem.h"
#include "pki/internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Whatever comes out of a damaged store is refused; what was sealed comes back. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct pki pki = {.folder = (char *)"/tmp", .seal_key = "a key that the corpus knows"};
    _cleanup_free_ char *text = xstrndup((const char *)data, size);
    char *plain = NULL;
    size_t plain_size = 0;

    text[strcspn(text, "\n")] = '\0';
    if (pki_unseal(&pki, text, &plain, &plain_size, NULL) == 0) {
        free(TAKE(plain));
    }
    if (size > PKI_SEALED_MAX / 2) {
        return 0;
    }
    _cleanup_free_ char *sealed = pki_seal(&pki, data, size);
    if (pki_unseal(&pki, sealed, &plain, &plain_size, NULL) < 0 || plain_size != size ||
        memcmp(plain, data, size) != 0) {
        abort();
    }
    free(plain);
    return 0;
}
