#include <ctype.h>
#include <libsmartcols.h>
#include <string.h>

#include "cli/cli.h"
#include "lib/buf.h"
#include "lib/json.h"
#include "lib/mem.h"

enum {
    CELL_MAX = 65536,
    COLUMNS_MAX = 32,
};

/* Columns of lists as HEADER=path. A kind that isn't here gets its id and its spec's members. */
static const struct {
    const char *kind, *columns;
} COLUMNS[] = {
    {"nodes", "ID=id CONNECTED=status.connected ADDRESS=status.address SERVICES=status.services "
              "HUB=spec.hub CLOUD=spec.cloud LABELS=spec.labels"},
    {"tokens", "ID=id STATE=status.state USED=status.used OF=spec.uses EXPIRES=spec.expires "
               "IDS=spec.ids SERVICES=spec.services DESCRIPTION=spec.description"},
    {"users", "ID=id ROLE=spec.role DISABLED=spec.disabled"},
    {"vpn/clients", "ID=id HUB=spec.hub ADDRESS=status.address WIREGUARD=status.wireguardAddress "
                    "EXPIRES=status.certificate.expires PROBLEM=status.problem"},
    {"sdn/filters", "ID=id NODE=spec.node SELECTOR=spec.selector DIRECTION=spec.direction "
                    "PROTOCOL=spec.protocol SOURCE=spec.source DESTINATION=spec.destination "
                    "PORT=spec.port PACKETS=status.packets COMMENT=spec.comment "
                    "PROBLEM=status.problem"},
    {"sdn/flows", "ID=id NODE=spec.node PRIORITY=spec.priority MATCH=spec.match "
                  "ACTIONS=spec.actions PACKETS=status.packets COMMENT=spec.comment "
                  "PROBLEM=status.problem"},
    {"lb/services", "ID=id NODE=spec.node SELECTOR=spec.selector PORT=spec.port MODE=spec.mode "
                    "ALGORITHM=spec.algorithm BACKENDS=spec.backends UP=status.up "
                    "CONNECTIONS=status.connections COMMENT=spec.comment PROBLEM=status.problem"},
    {"events", "TIME=spec.time ACTOR=spec.actor SOURCE=spec.source REASON=spec.reason "
               "SUBJECT=spec.subject MESSAGE=spec.message"},
};

struct column {
    char *header, *path;
};

struct columns {
    struct column items[COLUMNS_MAX];
    size_t len;
};

/* --- text --- */

void print_text(FILE *stream, const char *text)
{
    for (const char *c = text; *c; c++) {
        unsigned char byte = (unsigned char)*c;
        /* C1 controls are two bytes in UTF-8, the first of them 0xc2. */
        int c1 = byte == 0xc2 && (unsigned char)c[1] >= 0x80 && (unsigned char)c[1] < 0xa0;
        if (c1) {
            c++;
        }
        fputc(c1 || (byte < 0x20 && byte != '\n' && byte != '\t') || byte == 0x7f ? '?' : byte,
              stream);
    }
}

static void append_value(struct buf *text, const json_t *value)
{
    const char *key;
    json_t *member;
    size_t i;

    if (json_is_string(value)) {
        buf_printf(text, "%s", json_string_value(value));
    } else if (json_is_boolean(value)) {
        buf_printf(text, "%s", json_is_true(value) ? "yes" : "no");
    } else if (json_is_array(value)) {
        json_array_foreach ((json_t *)value, i, member) {
            buf_printf(text, "%s", i ? "," : "");
            append_value(text, member);
        }
    } else if (json_is_object(value)) {
        const char *between = "";
        json_object_foreach ((json_t *)value, key, member) {
            /* A service with a state among other things: the state is what a list is for. */
            const char *state = json_get_string(member, "state", NULL);
            buf_printf(text, "%s%s%s", between, key, state ? ":" : "=");
            append_value(text, state ? json_object_get(member, "state") : member);
            between = ",";
        }
    } else if (value && !json_is_null(value)) {
        _cleanup_free_ char *number = json_canonical(value);
        buf_printf(text, "%s", number);
    }
}

char *cell_text(const json_t *value)
{
    struct buf text = BUF_INIT(CELL_MAX);

    append_value(&text, value);
    if (text.size == 0) {
        buf_done(&text);
        return xstrdup("-");
    }
    return text.data;
}

static const json_t *lookup(const json_t *object, const char *path)
{
    for (;;) {
        size_t size = strcspn(path, ".");
        _cleanup_free_ char *key = xstrndup(path, size);
        object = json_object_get(object, key);
        if (!object || !path[size]) {
            return object;
        }
        path += size + 1;
    }
}

/* Traffic lights for what a status says; a list of states is as bad as its worst. */
static const char *color_of(const char *path, const char *text)
{
    static const struct {
        const char *word, *color;
    } LIGHTS[] = {
        {"failed", "red"},      {"expired", "red"},   {"degraded", "yellow"},
        {"starting", "yellow"}, {"used", "yellow"},   {"off", "yellow"},
        {"unknown", "yellow"},  {"running", "green"}, {"valid", "green"},
    };

    if (strncmp(path, "status.", strlen("status.")) != 0) {
        return NULL;
    }
    if (strcmp(path, "status.connected") == 0) {
        return text[0] == 'y' ? "green" : "red";
    }
    for (size_t i = 0; i < ARRAY_LEN(LIGHTS); i++) {
        if (strstr(text, LIGHTS[i].word)) {
            return LIGHTS[i].color;
        }
    }
    return NULL;
}

/* --- tables --- */

static void add_column(struct columns *columns, const char *header, size_t size, const char *path)
{
    if (columns->len < COLUMNS_MAX) {
        columns->items[columns->len++] = (struct column){xstrndup(header, size), xstrdup(path)};
    }
}

static void columns_parse(struct columns *columns, const char *text)
{
    while (*text) {
        size_t all = strcspn(text, " "), header = strcspn(text, "=");
        _cleanup_free_ char *path = xstrndup(text + header + 1, all - header - 1);
        add_column(columns, text, header, path);
        text += all + (text[all] == ' ');
    }
}

static void columns_of_schema(struct columns *columns, const char *schema_text)
{
    json_t *schema = json_loads(schema_text, 0, NULL), *member;
    const char *name;

    add_column(columns, "ID", 2, "id");
    json_object_foreach (json_object_get(schema, "properties"), name, member) {
        if (!json_get_bool(member, "writeOnly", 0)) {
            _cleanup_free_ char *header = xstrdup(name);
            _cleanup_free_ char *path = xasprintf("spec.%s", name);
            for (char *c = header; *c; c++) {
                *c = (char)toupper((unsigned char)*c);
            }
            add_column(columns, header, strlen(header), path);
        }
    }
    json_decref(schema);
}

static void columns_for(struct columns *columns, const struct kind *kind)
{
    *columns = (struct columns){0};
    for (size_t i = 0; i < ARRAY_LEN(COLUMNS); i++) {
        if (strcmp(COLUMNS[i].kind, kind->name) == 0) {
            columns_parse(columns, COLUMNS[i].columns);
            return;
        }
    }
    columns_of_schema(columns, kind->schema_text);
}

static void columns_done(struct columns *columns)
{
    for (size_t i = 0; i < columns->len; i++) {
        free(columns->items[i].header);
        free(columns->items[i].path);
    }
}

static void print_table(const struct cli *cli, const struct columns *columns, const json_t *items)
{
    struct libscols_table *table = scols_new_table();
    size_t i;
    json_t *item;

    if (!table) {
        abort();
    }
    scols_table_enable_colors(table, cli->color);
    scols_table_enable_minout(table, 1);
    for (size_t c = 0; c < columns->len; c++) {
        scols_table_new_column(table, columns->items[c].header, 0, 0);
    }
    json_array_foreach ((json_t *)items, i, item) {
        struct libscols_line *line = scols_table_new_line(table, NULL);
        for (size_t c = 0; line && c < columns->len; c++) {
            const char *path = columns->items[c].path;
            _cleanup_free_ char *text = cell_text(lookup(item, path));
            const char *color = cli->color ? color_of(path, text) : NULL;
            scols_line_set_data(line, c, text);
            if (color) {
                scols_cell_set_color(scols_line_get_cell(line, c), color);
            }
        }
    }
    scols_print_table(table);
    scols_unref_table(table);
}

void print_json(const struct cli *cli, const json_t *json)
{
    size_t flags = cli->output == OUTPUT_JSON ? JSON_INDENT(2) : JSON_COMPACT;

    json_dumpf(json, stdout, flags | JSON_ENCODE_ANY);
    fputc('\n', stdout);
}

static void print_lines(const struct cli *cli, const json_t *items)
{
    size_t i;
    json_t *item;

    json_array_foreach ((json_t *)items, i, item) {
        print_json(cli, item);
    }
}

void print_list(const struct cli *cli, const struct kind *kind, const json_t *items)
{
    struct columns columns;

    if (cli->output == OUTPUT_JSON) {
        print_json(cli, items);
    } else if (cli->output == OUTPUT_JSONL) {
        print_lines(cli, items);
    } else {
        columns_for(&columns, kind);
        print_table(cli, &columns, items);
        columns_done(&columns);
    }
}

void print_columns(const struct cli *cli, const char *text, const json_t *items)
{
    struct columns columns = {0};

    if (cli->output == OUTPUT_JSON) {
        print_json(cli, items);
    } else if (cli->output == OUTPUT_JSONL) {
        print_lines(cli, items);
    } else {
        columns_parse(&columns, text);
        print_table(cli, &columns, items);
        columns_done(&columns);
    }
}

void print_deltas(const struct cli *cli, const json_t *deltas)
{
    if (cli->output == OUTPUT_TABLE && json_array_size(deltas) == 0) {
        fputs("cnsmo: nothing would change on any node\n", stderr);
    } else {
        print_columns(cli, "NODE=node ACTION=action RESOURCE=key", deltas);
    }
}

/* --- one object --- */

/* One row {"k","v"} for each leaf; objects of objects are opened, everything else is one cell. */
static void flatten(json_t *rows, const char *prefix, const json_t *value)
{
    const char *key;
    json_t *member;

    json_object_foreach ((json_t *)value, key, member) {
        _cleanup_free_ char *path = xasprintf("%s%s%s", prefix, prefix[0] ? "." : "", key);
        int is_open = json_is_object(member) && (strcmp(prefix, "spec") != 0);
        if (is_open && json_object_size(member) > 0) {
            flatten(rows, path, member);
        } else {
            _cleanup_free_ char *text = cell_text(member);
            json_array_append_new(rows, json_pack("{s:s, s:s}", "k", path, "v", text));
        }
    }
}

void print_object(const struct cli *cli, const json_t *object)
{
    struct columns columns = {0};

    if (cli->output != OUTPUT_TABLE) {
        print_json(cli, object);
        return;
    }
    json_t *rows = json_array();
    flatten(rows, "", object);
    columns_parse(&columns, "MEMBER=k VALUE=v");
    print_table(cli, &columns, rows);
    columns_done(&columns);
    json_decref(rows);
}
