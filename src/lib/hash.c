#include "lib/hash.h"

#include <errno.h>
#include <gnutls/crypto.h>
#include <stdlib.h>
#include <string.h>

#include "lib/mem.h"

static const char STANDARD[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
static const char URL_SAFE[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

void hash_sha256(const void *data, size_t size, uint8_t ret_digest[SHA256_SIZE])
{
    if (gnutls_hash_fast(GNUTLS_DIG_SHA256, data, size, ret_digest) < 0) {
        abort();
    }
}

const char *hash_text_hex(const char *text, char hex[SHA256_HEX_SIZE])
{
    uint8_t digest[SHA256_SIZE];

    hash_sha256(text, strlen(text), digest);
    hex_encode(digest, sizeof digest, hex);
    return hex;
}

void random_bytes(void *data, size_t size)
{
    if (gnutls_rnd(GNUTLS_RND_KEY, data, size) < 0) {
        abort();
    }
}

char *random_token(void)
{
    uint8_t bytes[32];

    random_bytes(bytes, sizeof bytes);
    char *token = base64url_encode(bytes, sizeof bytes);
    mem_wipe(bytes, sizeof bytes);
    return token;
}

void hex_encode(const void *data, size_t size, char *hex)
{
    const uint8_t *bytes = data;

    for (size_t i = 0; i < size; i++) {
        hex[2 * i] = "0123456789abcdef"[bytes[i] >> 4];
        hex[2 * i + 1] = "0123456789abcdef"[bytes[i] & 15];
    }
    hex[2 * size] = '\0';
}

int equal_constant_time(const void *a, const void *b, size_t size)
{
    return gnutls_memcmp(a, b, size) == 0;
}

static char *encode(const void *data, size_t size, const char *alphabet, int padded)
{
    const uint8_t *in = data;
    char *text = xcalloc(size / 3 + 2, 4), *out = text;

    for (size_t i = 0; i < size; i += 3) {
        size_t have = size - i < 3 ? size - i : 3;
        uint32_t bits = (uint32_t)in[i] << 16 | (have > 1 ? (uint32_t)in[i + 1] << 8 : 0) |
                        (have > 2 ? in[i + 2] : 0);
        for (size_t j = 0; j < 4; j++) {
            if (j <= have) {
                *out++ = alphabet[bits >> (18 - 6 * j) & 63];
            } else if (padded) {
                *out++ = '=';
            }
        }
    }
    return text;
}

char *base64_encode(const void *data, size_t size)
{
    return encode(data, size, STANDARD, 1);
}

char *base64url_encode(const void *data, size_t size)
{
    return encode(data, size, URL_SAFE, 0);
}

static int decode(const char *text, size_t len, const char *alphabet, uint8_t **ret_data,
                  size_t *ret_size)
{
    if (len % 4 == 1) {
        return -EINVAL;
    }
    _cleanup_free_ uint8_t *data = xcalloc(len / 4 + 1, 3);
    size_t size = 0;
    uint32_t bits = 0;
    unsigned have = 0;

    for (size_t i = 0; i < len; i++) {
        const char *at = text[i] ? strchr(alphabet, text[i]) : NULL;
        if (!at) {
            return -EINVAL;
        }
        bits = bits << 6 | (uint32_t)(at - alphabet);
        have += 6;
        if (have >= 8) {
            have -= 8;
            data[size++] = (uint8_t)(bits >> have);
            bits &= (1u << have) - 1;
        }
    }
    if (bits != 0) {
        return -EINVAL;
    }
    *ret_data = TAKE(data);
    *ret_size = size;
    return 0;
}

int base64_decode(const char *text, uint8_t **ret_data, size_t *ret_size)
{
    size_t len = strlen(text);

    if (len % 4 != 0) {
        return -EINVAL;
    }
    for (int i = 0; i < 2 && len > 0 && text[len - 1] == '='; i++) {
        len--;
    }
    return decode(text, len, STANDARD, ret_data, ret_size);
}

int base64url_decode(const char *text, uint8_t **ret_data, size_t *ret_size)
{
    return decode(text, strlen(text), URL_SAFE, ret_data, ret_size);
}
