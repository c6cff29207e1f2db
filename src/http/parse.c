#include "http/parse.h"

#include <errno.h>
#include <jansson.h>
#include <string.h>

#include "lib/mem.h"

static int hex_value(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    if (c >= 'a' && c <= 'f') {
        return c - 'a' + 10;
    }
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static int is_clean(const char *text, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f) {
            return 0;
        }
    }
    json_t *probe = json_stringn(text, size); /* NULL if it isn't UTF-8 */
    json_decref(probe);
    return probe != NULL;
}

int http_decode(const char *text, size_t size, int plus, char **ret_text)
{
    _cleanup_free_ char *out = xcalloc(size + 1, 1);
    size_t len = 0;

    for (size_t i = 0; i < size; i++) {
        if (text[i] != '%') {
            out[len++] = text[i] == '+' && plus ? ' ' : text[i];
            continue;
        }
        int high = size - i > 2 ? hex_value(text[i + 1]) : -1;
        int low = size - i > 2 ? hex_value(text[i + 2]) : -1;
        if (high < 0 || low < 0) {
            return -EINVAL;
        }
        out[len++] = (char)(high << 4 | low);
        i += 2;
    }
    if (!is_clean(out, len)) {
        return -EINVAL;
    }
    *ret_text = TAKE(out);
    return 0;
}

int http_pairs_add(struct http_pairs *pairs, char *name, char *value)
{
    if (pairs->len >= HTTP_PAIRS_MAX) {
        free(name);
        free(value);
        return -E2BIG;
    }
    pairs->items = xrealloc(pairs->items, (pairs->len + 1) * sizeof *pairs->items);
    pairs->items[pairs->len++] = (struct http_pair){.name = name, .value = value};
    return 0;
}

int http_pairs_parse(struct http_pairs *pairs, const char *query)
{
    while (*query) {
        size_t size = strcspn(query, "&");
        const char *equal = memchr(query, '=', size);
        size_t name_size = equal ? (size_t)(equal - query) : size;
        _cleanup_free_ char *name = NULL, *value = NULL;

        if (http_decode(query, name_size, 1, &name) < 0 || !name[0]) {
            return -EINVAL;
        }
        if (http_decode(equal ? equal + 1 : "", equal ? size - name_size - 1 : 0, 1, &value) < 0) {
            return -EINVAL;
        }
        int rc = http_pairs_add(pairs, TAKE(name), TAKE(value));
        if (rc < 0) {
            return rc;
        }
        query += size;
        query += *query == '&';
    }
    return 0;
}

const char *http_pairs_get(const struct http_pairs *pairs, const char *name)
{
    for (size_t i = 0; i < pairs->len; i++) {
        if (strcmp(pairs->items[i].name, name) == 0) {
            return pairs->items[i].value;
        }
    }
    return NULL;
}

void http_pairs_done(struct http_pairs *pairs)
{
    for (size_t i = 0; i < pairs->len; i++) {
        free(pairs->items[i].name);
        free(pairs->items[i].value);
    }
    free(pairs->items);
    *pairs = (struct http_pairs){0};
}

int http_cookie_find(const char *header, const char *name, char **ret_value)
{
    size_t name_size = strlen(name);

    while (*header) {
        header += strspn(header, " ;");
        size_t size = strcspn(header, ";");
        if (size > name_size && strncmp(header, name, name_size) == 0 &&
            header[name_size] == '=') {
            const char *value = header + name_size + 1;
            size_t value_size = size - name_size - 1;
            while (value_size > 0 && value[value_size - 1] == ' ') {
                value_size--;
            }
            if (!is_clean(value, value_size)) {
                return -EINVAL;
            }
            *ret_value = xstrndup(value, value_size);
            return 0;
        }
        header += size;
    }
    return -ENOENT;
}
