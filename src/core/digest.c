#include "core/digest.h"

#include <stdio.h>
#include <string.h>

#include "lib/hash.h"
#include "lib/json.h"
#include "lib/mem.h"

static uint64_t read_big_endian(const uint8_t *bytes)
{
    uint64_t number = 0;

    for (int i = 0; i < 8; i++) {
        number = number << 8 | bytes[i];
    }
    return number;
}

struct digest digest_of_text(const char *key, const char *text)
{
    size_t key_size = strlen(key) + 1, text_size = strlen(text);
    _cleanup_free_ char *both = xcalloc(1, key_size + text_size);
    uint8_t hash[SHA256_SIZE];

    memcpy(both, key, key_size);
    memcpy(both + key_size, text, text_size);
    hash_sha256(both, key_size + text_size, hash);
    return (struct digest){read_big_endian(hash), read_big_endian(hash + 8)};
}

struct digest digest_of(const char *key, const json_t *body)
{
    _cleanup_free_ char *text = json_canonical(body);

    return digest_of_text(key, text);
}

const char *digest_format(struct digest d, char hex[33])
{
    snprintf(hex, 33, "%016llx%016llx", (unsigned long long)d.high, (unsigned long long)d.low);
    return hex;
}
