/* hash.h - SHA-256, random bytes, hex and base64. On GnuTLS, which every program links. */
#pragma once

#include <stddef.h>
#include <stdint.h>

enum {
    SHA256_SIZE = 32,
    SHA256_HEX_SIZE = 65,
};

void hash_sha256(const void *data, size_t size, uint8_t ret_digest[SHA256_SIZE]);

/* Lower-case hex of the SHA-256 of a text. */
const char *hash_text_hex(const char *text, char hex[SHA256_HEX_SIZE]);

/* Cryptographically strong; ends the process if the system has none. */
void random_bytes(void *data, size_t size);

/* A random token of 256 bits as 43 characters of base64url (RFC 4648 section 5, no padding). The
 * caller frees it. */
char *random_token(void);

/* Lower-case hex with NUL: `hex` has room for 2 * size + 1. */
void hex_encode(const void *data, size_t size, char *hex);

/* Equal in a time that doesn't depend on where they differ. */
int equal_constant_time(const void *a, const void *b, size_t size);

/* RFC 4648 section 4 with padding, section 5 without. The caller frees the text or data. */
char *base64_encode(const void *data, size_t size);
char *base64url_encode(const void *data, size_t size);
/* Strict: no other characters, right padding, no stray bits. -EINVAL if not so. */
int base64_decode(const char *text, uint8_t **ret_data, size_t *ret_size);
int base64url_decode(const char *text, uint8_t **ret_data, size_t *ret_size);
