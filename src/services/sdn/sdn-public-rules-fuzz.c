/* A resource as the server sends it, or else a name as it is found in the kernel. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "lib/buf.h"
#include "lib/json.h"
#include "lib/mem.h"
#include "services/sdn/sdn-public-rules.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void try_part(const struct public_part *part)
{
    struct buf text = BUF_INIT(1 << 10);
    struct public_shape again;
    char name[PUBLIC_NAME_SIZE];

    if (public_shape_parse(public_shape_name(&part->shape, name), &again) < 0 ||
        public_shape_compare(&part->shape, &again) != 0 || part->key_size > PUBLIC_KEY_SIZE) {
        abort();
    }
    public_element_write(&text, &part->shape, part->key, "7");
    json_t *element = json_loadb(text.data, text.size, 0, NULL);
    json_t *set = public_shape_set(&part->shape), *rule = public_shape_rule(&part->shape);
    if (!element || !set || !rule) {
        abort();
    }
    json_decref(element);
    json_decref(set);
    json_decref(rule);
    buf_done(&text);
}

static void try_name(const char *name)
{
    struct public_shape shape;
    char again[PUBLIC_NAME_SIZE];
    int leaving, index;

    if (public_shape_parse(name, &shape) == 0 &&
        strcmp(public_shape_name(&shape, again), name) != 0) {
        abort();
    }
    if (public_hook_parse(name, &leaving, &index) == 0 && index <= 0) {
        abort();
    }
    public_comment_id(name);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_free_ char *text = xstrndup((const char *)data, size);
    struct public_part parts[PUBLIC_PARTS_MAX];
    struct public_filter filter;
    json_t *spec;

    if (json_parse((const char *)data, size, &spec, NULL) < 0) {
        try_name(text);
        return 0;
    }
    if (public_filter_parse(spec, &filter, NULL) == 0) {
        size_t len = public_filter_parts(&filter, parts);
        for (size_t i = 0; i < len; i++) {
            try_part(&parts[i]);
        }
    }
    json_decref(spec);
    return 0;
}
