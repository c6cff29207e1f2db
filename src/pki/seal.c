/* seal.c - secrets at rest: base64 of a version byte, a nonce, the ciphertext and its tag. */
#include <errno.h>
#include <gnutls/crypto.h>
#include <string.h>
#include <unistd.h>

#include "lib/file.h"
#include "lib/hash.h"
#include "lib/mem.h"
#include "pki/internal.h"

enum {
    VERSION = 1,
    NONCE_SIZE = 12,
    TAG_SIZE = 16,
    HEADER_SIZE = 1 + NONCE_SIZE,
    KEY_HEX_LEN = 2 * SEAL_KEY_SIZE,
};

/* --- the key --- */

static int make_key(struct pki *pki, struct error *error)
{
    char hex[KEY_HEX_LEN + 1];

    random_bytes(pki->seal_key, sizeof pki->seal_key);
    hex_encode(pki->seal_key, sizeof pki->seal_key, hex);
    int rc = pair_write_file(pki->folder, "seal", "key", hex, 0600, error);
    mem_wipe(hex, sizeof hex);
    return rc;
}

int seal_open(struct pki *pki, struct error *error)
{
    _cleanup_free_ char *path = xasprintf("%s/seal.key", pki->folder);
    _cleanup_secret_ char *hex = NULL;

    if (access(path, F_OK) < 0 && errno == ENOENT) {
        return make_key(pki, error);
    }
    int rc = pair_read_file(pki->folder, "seal", "key", &hex, error);
    if (rc < 0) {
        return rc;
    }
    hex[strcspn(hex, "\n")] = '\0';
    gnutls_datum_t text = {(unsigned char *)hex, (unsigned)strlen(hex)};
    size_t size = sizeof pki->seal_key;
    if (text.size != KEY_HEX_LEN || gnutls_hex_decode(&text, pki->seal_key, &size) < 0 ||
        size != sizeof pki->seal_key) {
        return error_set(error, 500, NULL, "%s isn't a key of %d hex digits", path, KEY_HEX_LEN);
    }
    return 0;
}

static gnutls_aead_cipher_hd_t cipher_new(const struct pki *pki)
{
    gnutls_datum_t key = {(unsigned char *)pki->seal_key, sizeof pki->seal_key};
    gnutls_aead_cipher_hd_t cipher;

    if (gnutls_aead_cipher_init(&cipher, GNUTLS_CIPHER_AES_256_GCM, &key) < 0) {
        abort(); /* only without memory */
    }
    return cipher;
}

/* --- sealing --- */

char *pki_seal(const struct pki *pki, const void *plain, size_t size)
{
    size_t sealed_size = HEADER_SIZE + size + TAG_SIZE, body_size = size + TAG_SIZE;
    _cleanup_free_ uint8_t *sealed = xcalloc(sealed_size, 1);
    gnutls_aead_cipher_hd_t cipher = cipher_new(pki);

    sealed[0] = VERSION;
    random_bytes(sealed + 1, NONCE_SIZE);
    int rc = gnutls_aead_cipher_encrypt(cipher, sealed + 1, NONCE_SIZE, sealed, 1, TAG_SIZE, plain,
                                        size, sealed + HEADER_SIZE, &body_size);
    gnutls_aead_cipher_deinit(cipher);
    if (rc < 0 || body_size != size + TAG_SIZE) {
        abort(); /* the sizes are right: only without memory */
    }
    return base64_encode(sealed, sealed_size);
}

static int open_sealed(const struct pki *pki, const uint8_t *sealed, size_t size, char *plain,
                       size_t *plain_size)
{
    gnutls_aead_cipher_hd_t cipher = cipher_new(pki);
    int rc =
        gnutls_aead_cipher_decrypt(cipher, sealed + 1, NONCE_SIZE, sealed, 1, TAG_SIZE,
                                   sealed + HEADER_SIZE, size - HEADER_SIZE, plain, plain_size);

    gnutls_aead_cipher_deinit(cipher);
    return rc;
}

int pki_unseal(const struct pki *pki, const char *sealed, char **ret_plain, size_t *ret_size,
               struct error *error)
{
    _cleanup_free_ uint8_t *data = NULL;
    size_t size = 0;

    if (strlen(sealed) > PKI_SEALED_MAX || base64_decode(sealed, &data, &size) < 0 ||
        size < HEADER_SIZE + TAG_SIZE || data[0] != VERSION) {
        return error_set(error, 500, NULL, "a sealed secret is damaged");
    }
    size_t plain_size = size - HEADER_SIZE - TAG_SIZE;
    char *plain = xcalloc(plain_size + 1, 1);
    if (open_sealed(pki, data, size, plain, &plain_size) < 0) {
        free(plain); /* nothing is written before the tag is right */
        return error_set(error, 500, NULL,
                         "a sealed secret is damaged, or sealed with another key than %s/seal.key",
                         pki->folder);
    }
    plain[plain_size] = '\0';
    *ret_plain = plain;
    *ret_size = plain_size;
    return 0;
}
