/* spec-options.c - a schema's members as options. */
#include <ctype.h>
#include <string.h>

#include "cli/spec.h"
#include "lib/buf.h"
#include "lib/json.h"
#include "lib/mem.h"

/* "maxConns" under "check" -> "check-max-conns", and so "max_conns". */
static char *option_name(const char *prefix, const char *member, const char *suffix)
{
    _cleanup_buf_ struct buf name = BUF_INIT(256);

    if (prefix[0]) {
        buf_printf(&name, "%s-", prefix);
    }
    for (const char *c = member; *c; c++) {
        if (isupper((unsigned char)*c)) {
            buf_printf(&name, "-%c", tolower((unsigned char)*c));
        } else {
            buf_append(&name, *c == '_' ? "-" : c, 1);
        }
    }
    return xasprintf("%s%s", name.data, suffix);
}

static char *join_enum(const json_t *words)
{
    _cleanup_buf_ struct buf text = BUF_INIT(1024);
    size_t i;
    json_t *word;

    json_array_foreach ((json_t *)words, i, word) {
        if (json_is_string(word)) {
            buf_printf(&text, "%s%s", text.size ? "|" : "", json_string_value(word));
        }
    }
    return xstrdup(text.data ? text.data : "VALUE");
}

int schema_type_is(const json_t *schema, const char *type)
{
    return strcmp(json_get_string(schema, "type", ""), type) == 0;
}

/* What help calls the value. */
static char *placeholder(const json_t *schema)
{
    static const struct {
        const char *format, *word;
    } FORMATS[] = {
        {"ipv4", "ADDRESS"}, {"ipv4-prefix", "PREFIX"}, {"ipv4-endpoint", "ADDRESS:PORT"},
        {"node-id", "NODE"}, {"dns-label", "NAME"},     {"date-time", "TIME"},
    };
    const char *format = json_get_string(schema, "format", "");

    if (json_is_array(json_object_get(schema, "enum"))) {
        return join_enum(json_object_get(schema, "enum"));
    }
    for (size_t i = 0; i < ARRAY_LEN(FORMATS); i++) {
        if (strcmp(format, FORMATS[i].format) == 0) {
            return xstrdup(FORMATS[i].word);
        }
    }
    if (schema_type_is(schema, "array")) {
        _cleanup_free_ char *item = placeholder(json_object_get(schema, "items"));
        return xasprintf("%s,...", item);
    }
    if (schema_type_is(schema, "object")) {
        return xstrdup("KEY=VALUE,...");
    }
    return xstrdup(schema_type_is(schema, "integer") || schema_type_is(schema, "number") ? "NUMBER"
                                                                                         : "TEXT");
}

static void append(struct option_list *list, struct option option)
{
    list->items = xrealloc(list->items, (list->len + 1) * sizeof *list->items);
    list->items[list->len++] = option;
}

static int is_pem(const json_t *schema)
{
    return strcmp(json_get_string(schema, "format", ""), "pem") == 0;
}

/* What help says of a member: its description, and how a value is written where that isn't plain.
 */
static char *explain(const json_t *schema, const char *member, int from_file)
{
    const char *description = json_get_string(schema, "description", "");

    if (from_file && is_pem(schema)) {
        return xasprintf("File with the %s; - reads standard input. %s", member, description);
    }
    if (from_file) {
        return xasprintf("File whose first line is the %s; - reads standard input. %s", member,
                         description);
    }
    if (strcmp(json_get_string(schema, "format", ""), "date-time") == 0) {
        return xasprintf("%s As 2027-01-31T12:00:00Z, or so long from now: 30m, 24h, 7d.",
                         description);
    }
    return xstrdup(description);
}

static void append_boolean(struct option_list *list, const json_t *schema, const char *prefix,
                           const char *path, const char *member)
{
    _cleanup_free_ char *no = prefix[0] ? xasprintf("no-%s", prefix) : xstrdup("no");

    append(list, (struct option){.name = option_name(prefix, member, ""),
                                 .takes = TAKES_OPTIONAL,
                                 .help = explain(schema, member, 0),
                                 .path = xstrdup(path),
                                 .schema = schema});
    append(list, (struct option){.name = option_name(no, member, ""),
                                 .help = xstrdup(""),
                                 .path = xstrdup(path),
                                 .schema = schema,
                                 .negated = 1});
}

static void append_member(struct option_list *list, const json_t *schema, const char *prefix,
                          const char *path, const char *member)
{
    int from_file = schema_type_is(schema, "string") &&
                    (json_get_bool(schema, "writeOnly", 0) || is_pem(schema));

    if (schema_type_is(schema, "boolean")) {
        append_boolean(list, schema, prefix, path, member);
        return;
    }
    append(list, (struct option){.name = option_name(prefix, member, from_file ? "-file" : ""),
                                 .takes = TAKES_VALUE,
                                 .value = from_file ? xstrdup("FILE") : placeholder(schema),
                                 .help = explain(schema, member, from_file),
                                 .path = xstrdup(path),
                                 .schema = schema,
                                 .from_file = from_file});
}

static void append_members(struct option_list *list, const json_t *schema, const char *prefix,
                           const char *parent)
{
    const char *member;
    json_t *value;

    json_object_foreach (json_object_get(schema, "properties"), member, value) {
        _cleanup_free_ char *path =
            parent[0] ? xasprintf("%s/%s", parent, member) : xstrdup(member);
        if (json_get_bool(value, "readOnly", 0)) {
            continue;
        }
        if (schema_type_is(value, "object") && json_object_get(value, "properties")) {
            _cleanup_free_ char *name = option_name(prefix, member, "");
            append_members(list, value, name, path);
        } else {
            append_member(list, value, prefix, path, member);
        }
    }
}

void spec_options(struct option_list *list, const json_t *schema)
{
    append_members(list, schema, "", "");
}

void option_list_done(struct option_list *list)
{
    for (size_t i = 0; i < list->len; i++) {
        free((char *)list->items[i].name);
        free((char *)list->items[i].value);
        free((char *)list->items[i].help);
        free((char *)list->items[i].path);
    }
    free(list->items);
    *list = (struct option_list){0};
}
