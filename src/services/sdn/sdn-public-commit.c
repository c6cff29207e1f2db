/* Brings the table to what is wanted, in one transaction: all of it if it isn't there as we know
 * it, else what differs. Removals come first: a row that another filter takes over is removed and
 * added. */
#include <errno.h>
#include <string.h>

#include "lib/json.h"
#include "lib/mem.h"
#include "services/sdn/sdn-public-driver.h"

enum {
    COMMANDS_SIZE_MAX = 64 << 20, /* as much as spawn.h takes */
};

/* --- commands --- */

/* {"nftables":[ … ]}, written as it grows. */
static void commands_begin(struct buf *commands)
{
    buf_printf(commands, "{\"nftables\":[{\"metainfo\":{\"json_schema_version\":1}}");
}

static void commands_end(struct buf *commands)
{
    buf_printf(commands, "]}");
}

/* Takes the reference `object`. */
static void command(struct buf *commands, const char *verb, json_t *object)
{
    _cleanup_free_ char *text = json_dumps(object, JSON_COMPACT);

    buf_printf(commands, ",{\"%s\":%s}", verb, text);
    json_decref(object);
}

/* Only what says which one it is; takes the reference `object`. */
static json_t *bare(json_t *object)
{
    static const char *const MEMBERS[] = {"type", "hook", "prio", "policy", "stmt"};
    json_t *value = json_object_iter_value(json_object_iter(object));

    for (size_t i = 0; i < ARRAY_LEN(MEMBERS); i++) {
        json_object_del(value, MEMBERS[i]);
    }
    return object;
}

/* The elements of one set stand between. */
static void elements_begin(struct buf *commands, const char *verb, const char *set)
{
    buf_printf(commands,
               ",{\"%s\":{\"element\":{\"family\":\"netdev\",\"table\":\"%s\",\"name\":\"%s\","
               "\"elem\":[",
               verb, PUBLIC_TABLE, set);
}

static void elements_end(struct buf *commands)
{
    buf_printf(commands, "]}}}");
}

/* Own addresses that are in one list, but not in the other. */
static void own_elements(struct buf *commands, const char *verb, const uint32_t *list, size_t len,
                         const uint32_t *but, size_t but_len)
{
    char text[IP4_TEXT_SIZE];
    size_t found = 0;

    for (size_t i = 0; i < len; i++) {
        size_t k = 0;
        while (k < but_len && but[k] != list[i]) {
            k++;
        }
        if (k < but_len) {
            continue;
        }
        if (found++ == 0) {
            elements_begin(commands, verb, PUBLIC_OWN);
        }
        buf_printf(commands, "%s\"%s\"", found > 1 ? "," : "", ip4_format(list[i], text));
    }
    if (found > 0) {
        elements_end(commands);
    }
}

static void write_row(struct buf *commands, const struct public_row *row, int is_removal)
{
    if (is_removal) {
        public_key_write(commands, &row->set->shape, row->key);
    } else {
        public_element_write(commands, &row->set->shape, row->key, row->owner->id);
    }
}

/* --- everything --- */

/* Adding the table first makes that deleting it never fails. */
static void no_table(struct buf *commands)
{
    command(commands, "add", public_table());
    command(commands, "delete", public_table());
}

static void all_rows(struct public_set *set, const char *name, struct buf *commands)
{
    const char *comma = "";

    elements_begin(commands, "add", name);
    public_rows_foreach (row, set) {
        if (row->claims > 0) {
            buf_printf(commands, "%s", comma);
            write_row(commands, row, 0);
            comma = ",";
        }
    }
    elements_end(commands);
}

static void whole_table(const struct public *p, struct buf *commands)
{
    json_t *document = public_table_document(p, 1), *item;
    size_t i;

    no_table(commands);
    json_array_foreach (document, i, item) {
        command(commands, "add", json_incref(item));
    }
    json_decref(document);
    own_elements(commands, "add", p->own, p->own_len, NULL, 0);
    omap_foreach (e, &p->sets) {
        struct public_set *set = e->value;
        if (set->claimed > 0) {
            all_rows(set, e->key, commands);
        }
    }
}

/* --- what differs --- */

static int is_in(int index, const int *indexes, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (indexes[i] == index) {
            return 1;
        }
    }
    return 0;
}

static int is_nic(const struct public *p, int index)
{
    for (size_t i = 0; i < p->nics_len; i++) {
        if (p->nics[i].index == index) {
            return 1;
        }
    }
    return 0;
}

static void changed_hooks(const struct public *p, struct buf *commands)
{
    for (int leaving = 0; leaving < 1 + (p->can_leave != 0); leaving++) {
        for (size_t i = 0; i < p->hooked_len; i++) {
            if (!is_nic(p, p->hooked[i])) {
                command(commands, "flush", bare(public_hook(leaving, p->hooked[i], NULL)));
                command(commands, "delete", bare(public_hook(leaving, p->hooked[i], NULL)));
            }
        }
        for (size_t i = 0; i < p->nics_len; i++) {
            const struct public_nic *nic = &p->nics[i];
            if (!is_in(nic->index, p->hooked, p->hooked_len)) {
                command(commands, "add", public_hook(leaving, nic->index, nic->name));
                command(commands, "add", public_hook_rule(leaving, nic->index));
            }
        }
    }
}

static int sets_differ(const struct public *p)
{
    omap_foreach (e, &p->sets) {
        const struct public_set *set = e->value;
        if ((set->claimed > 0) != set->in_kernel) {
            return 1;
        }
    }
    return 0;
}

/* New sets first; rules anew, in their order; then those that no rule looks into any more. */
static void changed_sets(const struct public *p, struct buf *commands)
{
    json_t *document = public_table_document(p, 1), *item;
    size_t i;

    omap_foreach (e, &p->sets) {
        const struct public_set *set = e->value;
        if (set->claimed > 0 && !set->in_kernel) {
            command(commands, "add", public_shape_set(&set->shape));
        }
    }
    command(commands, "flush", public_chain(0));
    command(commands, "flush", public_chain(1));
    json_array_foreach (document, i, item) {
        const json_t *rule = json_object_get(item, "rule");
        int leaving, index;
        if (rule && public_hook_parse(json_get_string(rule, "chain", ""), &leaving, &index) < 0) {
            command(commands, "add", json_incref(item));
        }
    }
    json_decref(document);
    omap_foreach (e, &p->sets) {
        const struct public_set *set = e->value;
        if (set->claimed == 0 && set->in_kernel) {
            command(commands, "delete", bare(public_shape_set(&set->shape)));
        }
    }
}

static int compare_rows(const void *a, const void *b)
{
    const struct public_row *const *x = a, *const *y = b;

    return public_shape_compare(&(*x)->set->shape, &(*y)->set->shape);
}

/* Those that wait to be removed or to be added, those of one set together; the caller frees it. A
 * set that goes takes its elements along. */
static const struct public_row **waiting_rows(const struct public *p, int is_removal,
                                              size_t *ret_len)
{
    size_t len = 0;

    for (const struct public_row *row = p->waiting; row; row = row->next) {
        len++;
    }
    const struct public_row **rows = xcalloc(len + 1, sizeof *rows);
    len = 0;
    for (const struct public_row *row = p->waiting; row; row = row->next) {
        if (is_removal ? row->in_kernel && row->set->claimed > 0 : row->claims > 0) {
            rows[len++] = row;
        }
    }
    qsort(rows, len, sizeof *rows, compare_rows);
    *ret_len = len;
    return rows;
}

/* One command for each set. */
static void changed_rows(const struct public *p, int is_removal, struct buf *commands)
{
    const char *verb = is_removal ? "delete" : "add";
    char name[PUBLIC_NAME_SIZE];
    size_t len;
    _cleanup_free_ const struct public_row **rows = waiting_rows(p, is_removal, &len);

    for (size_t i = 0; i < len; i++) {
        int is_first = i == 0 || rows[i]->set != rows[i - 1]->set;
        if (is_first && i > 0) {
            elements_end(commands);
        }
        if (is_first) {
            elements_begin(commands, verb, public_shape_name(&rows[i]->set->shape, name));
        } else {
            buf_printf(commands, ",");
        }
        write_row(commands, rows[i], is_removal);
    }
    if (len > 0) {
        elements_end(commands);
    }
}

static void changes(const struct public *p, int structure, struct buf *commands)
{
    changed_rows(p, 1, commands);
    own_elements(commands, "delete", p->own_in_kernel, p->own_in_kernel_len, p->own, p->own_len);
    if (structure) {
        changed_sets(p, commands);
        changed_hooks(p, commands);
    }
    own_elements(commands, "add", p->own, p->own_len, p->own_in_kernel, p->own_in_kernel_len);
    changed_rows(p, 0, commands);
}

/* --- afterwards --- */

static void row_done(struct public *p, struct public_row *row, int rebuilt)
{
    if (row->renamed) {
        row->packets = row->bytes = 0; /* those were another filter's */
    } else if (row->in_kernel && (rebuilt || row->waits)) {
        public_row_bank(p, row);
    }
    if (row->claims == 0) {
        public_row_free(p, row);
        return;
    }
    row->in_kernel = 1;
    row->renamed = 0;
    public_row_changed(p, row);
}

static void sets_done(struct public *p)
{
    omap_foreach (e, &p->sets) {
        struct public_set *set = e->value;
        set->in_kernel = set->claimed > 0;
        if (set->rows_len == 0) {
            omap_del(&p->sets, e->key);
            public_set_free(set);
        }
    }
}

static void own_done(struct public *p)
{
    p->own_in_kernel = xrealloc(p->own_in_kernel, (p->own_len + 1) * sizeof *p->own_in_kernel);
    p->own_in_kernel_len = p->own_len;
    if (p->own_len > 0) {
        memcpy(p->own_in_kernel, p->own, p->own_len * sizeof *p->own);
    }
    p->hooked = xrealloc(p->hooked, (p->nics_len + 1) * sizeof *p->hooked);
    p->hooked_len = p->nics_len;
    for (size_t i = 0; i < p->nics_len; i++) {
        p->hooked[i] = p->nics[i].index;
    }
}

/* The picture is now what was wanted. */
static void done(struct public *p, int rebuilt, int structure)
{
    if (rebuilt) {
        omap_foreach (e, &p->sets) {
            public_rows_foreach (row, e->value) {
                row_done(p, row, 1);
            }
        }
    } else {
        while (p->waiting) {
            row_done(p, p->waiting, 0);
        }
    }
    if (rebuilt || structure) {
        sets_done(p);
    }
    own_done(p);
    p->present = p->intact = p->rows_len > 0;
}

/* --- the transaction --- */

int public_can_leave(struct public *p)
{
    _cleanup_buf_ struct buf commands = BUF_INIT(COMMANDS_SIZE_MAX);
    struct error error = {0};

    if (p->can_leave >= 0) {
        return p->can_leave;
    }
    commands_begin(&commands);
    command(
        &commands, "add",
        json_pack("{s:{s:s, s:s}}", "table", "family", "netdev", "name", PUBLIC_TABLE "_probe"));
    command(&commands, "add",
            json_pack("{s:{s:s, s:s, s:s, s:s, s:s, s:i, s:s, s:s}}", "chain", "family", "netdev",
                      "table", PUBLIC_TABLE "_probe", "name", "probe", "type", "filter", "hook",
                      "egress", "prio", 0, "policy", "accept", "dev", "lo"));
    commands_end(&commands);
    if (public_nft(&commands, 1, &error) == 0) {
        p->can_leave = 1;
    } else if (strstr(error.detail, "not supported")) {
        p->can_leave = 0;
    }
    /* On any other failure it is tried again, and the transaction says what is wrong. */
    return p->can_leave != 0;
}

/* Does a filter that stays lose elements, with what they have counted? */
static int loses_counts(const struct public *p, int rebuild)
{
    if (rebuild) {
        return p->present && p->rows_len > 0;
    }
    for (const struct public_row *row = p->waiting; row; row = row->next) {
        if (row->in_kernel && row->owner->is_wanted) {
            return 1;
        }
    }
    return 0;
}

/* Runs it, and sees from the generation whether somebody else came between. */
static int run(struct public *p, const struct buf *commands, struct error *error)
{
    uint32_t before = 0, after = 0;

    int rc = nft_kernel_generation(p->kernel, &before);
    if (rc < 0) {
        return error_set(error, error_status(rc), NULL, "cannot ask nftables: %s", strerror(-rc));
    }
    rc = public_nft(commands, 0, error);
    if (rc < 0 || nft_kernel_generation(p->kernel, &after) < 0 || before != p->generation ||
        after != before + 1) {
        p->dirty = 1;
    }
    p->generation = after;
    return rc;
}

/* Another version of nft may list it otherwise: what it lists right after us is taken for the
 * same. */
static void note_listing(struct public *p)
{
    struct error error;
    json_t *listed = NULL;

    json_decref(p->made);
    json_decref(p->listed);
    p->made = p->listed = NULL;
    if (p->present && !p->is_faithful && public_table_list(p, &listed, &error) == 0 && listed) {
        p->made = public_table_by_name(public_table_document(p, 0));
        p->listed = public_table_by_name(listed);
        p->is_faithful = json_equal(p->made, p->listed);
    }
}

int public_commit(struct public *p, struct error *error)
{
    _cleanup_buf_ struct buf commands = BUF_INIT(COMMANDS_SIZE_MAX);
    int rebuild = p->rows_len == 0 || !p->present || !p->intact;
    int structure = rebuild || sets_differ(p) || !public_table_matches(p);

    if (!p->waiting && public_table_matches(p)) {
        return 0;
    }
    if (loses_counts(p, rebuild)) {
        public_counters_read(p, NULL);
    }
    commands_begin(&commands);
    if (p->rows_len == 0) {
        no_table(&commands);
    } else if (rebuild) {
        whole_table(p, &commands);
    } else {
        changes(p, structure, &commands);
    }
    commands_end(&commands);
    int rc = run(p, &commands, error);
    if (rc < 0) {
        return rc;
    }
    done(p, rebuild, structure);
    if (structure) {
        note_listing(p);
    }
    p->unsaved = 1;
    return 0;
}
