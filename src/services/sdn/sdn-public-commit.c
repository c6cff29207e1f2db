/* Brings the table to what is wanted, in one transaction: all of it if it isn't there as we know
 * it, else what differs. Removals come first: a row that another filter takes over is removed and
 * added. */
#include <errno.h>
#include <string.h>

#include "lib/json.h"
#include "lib/mem.h"
#include "services/sdn/sdn-public-driver.h"

/* --- commands --- */

/* Takes the reference `object`. */
static void command(json_t *commands, const char *verb, json_t *object)
{
    json_array_append_new(commands, json_pack("{s:o}", verb, object));
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

/* {"element": …} of one set; takes the reference `elements`. */
static void elements(json_t *commands, const char *verb, const char *set, json_t *elements)
{
    command(commands, verb,
            json_pack("{s:{s:s, s:s, s:s, s:o}}", "element", "family", "netdev", "table",
                      PUBLIC_TABLE, "name", set, "elem", elements));
}

static json_t *addresses(const uint32_t *list, size_t len, const uint32_t *but, size_t but_len)
{
    json_t *found = json_array();
    char text[IP4_TEXT_SIZE];

    for (size_t i = 0; i < len; i++) {
        int is_known = 0;
        for (size_t k = 0; k < but_len && !is_known; k++) {
            is_known = but[k] == list[i];
        }
        if (!is_known) {
            json_array_append_new(found, json_string(ip4_format(list[i], text)));
        }
    }
    return found;
}

static void own_elements(json_t *commands, const char *verb, json_t *list)
{
    if (json_array_size(list) > 0) {
        elements(commands, verb, PUBLIC_OWN, list);
    } else {
        json_decref(list);
    }
}

/* --- elements by set --- */

/* name of the set -> its elements; filled from rows, then made into one command each. */
static json_t *list_of(json_t *by_set, const struct public_shape *shape)
{
    char name[PUBLIC_NAME_SIZE];
    json_t *list = json_object_get(by_set, public_shape_name(shape, name));

    if (!list) {
        list = json_array();
        json_object_set_new(by_set, name, list);
    }
    return list;
}

static void add_row(json_t *by_set, const struct public_row *row)
{
    json_array_append_new(list_of(by_set, &row->set->shape),
                          public_element(&row->set->shape, row->key, row->owner->id));
}

static void remove_row(json_t *by_set, const struct public_row *row)
{
    json_array_append_new(list_of(by_set, &row->set->shape),
                          public_key(&row->set->shape, row->key));
}

/* Takes the reference `by_set`. */
static void all_elements(json_t *commands, const char *verb, json_t *by_set)
{
    const char *name;
    json_t *list;

    json_object_foreach (by_set, name, list) {
        elements(commands, verb, name, json_incref(list));
    }
    json_decref(by_set);
}

/* --- everything --- */

/* Adding the table first makes that deleting it never fails. */
static void no_table(json_t *commands)
{
    command(commands, "add", public_table());
    command(commands, "delete", public_table());
}

static void whole_table(const struct public *p, json_t *commands)
{
    json_t *document = public_table_document(p, 1), *by_set = json_object(), *item;
    size_t i;

    no_table(commands);
    json_array_foreach (document, i, item) {
        command(commands, "add", json_incref(item));
    }
    json_decref(document);
    omap_foreach (e, &p->sets) {
        omap_foreach (r, &((struct public_set *)e->value)->rows) {
            const struct public_row *row = r->value;
            if (row->claims > 0) {
                add_row(by_set, row);
            }
        }
    }
    own_elements(commands, "add", addresses(p->own, p->own_len, NULL, 0));
    all_elements(commands, "add", by_set);
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

static void changed_hooks(const struct public *p, json_t *commands)
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
static void changed_sets(const struct public *p, json_t *commands)
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

static void changes(const struct public *p, int structure, json_t *commands)
{
    json_t *added = json_object(), *removed = json_object();

    for (const struct public_row *row = p->waiting; row; row = row->next) {
        /* A set that goes takes its elements along. */
        if (row->in_kernel && row->set->claimed > 0) {
            remove_row(removed, row);
        }
        if (row->claims > 0) {
            add_row(added, row);
        }
    }
    all_elements(commands, "delete", removed);
    own_elements(commands, "delete",
                 addresses(p->own_in_kernel, p->own_in_kernel_len, p->own, p->own_len));
    if (structure) {
        changed_sets(p, commands);
        changed_hooks(p, commands);
    }
    own_elements(commands, "add",
                 addresses(p->own, p->own_len, p->own_in_kernel, p->own_in_kernel_len));
    all_elements(commands, "add", added);
}

/* --- afterwards --- */

static void row_done(struct public *p, struct public_row *row, int rebuilt)
{
    if (row->renamed) {
        row->packets = row->bytes = 0; /* those were another filter's */
    } else if (row->in_kernel && (rebuilt || row->waits)) {
        public_row_bank(row);
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
        if (set->rows.len == 0) {
            omap_del(&p->sets, e->key);
            free(set);
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
            omap_foreach (r, &((struct public_set *)e->value)->rows) {
                row_done(p, r->value, 1);
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
    json_t *commands = json_array();
    struct error error = {0};

    if (p->can_leave >= 0) {
        json_decref(commands);
        return p->can_leave;
    }
    command(
        commands, "add",
        json_pack("{s:{s:s, s:s}}", "table", "family", "netdev", "name", PUBLIC_TABLE "_probe"));
    command(commands, "add",
            json_pack("{s:{s:s, s:s, s:s, s:s, s:s, s:i, s:s, s:s}}", "chain", "family", "netdev",
                      "table", PUBLIC_TABLE "_probe", "name", "probe", "type", "filter", "hook",
                      "egress", "prio", 0, "policy", "accept", "dev", "lo"));
    if (public_nft(commands, 1, &error) == 0) {
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
        if (row->in_kernel && row->owner->spec) {
            return 1;
        }
    }
    return 0;
}

/* Runs it, and sees from the generation whether somebody else came between. */
static int run(struct public *p, json_t *commands, struct error *error)
{
    uint32_t before = 0, after = 0;

    int rc = public_kernel_generation(p->kernel, &before);
    if (rc < 0) {
        json_decref(commands);
        return error_set(error, error_status(rc), NULL, "cannot ask nftables: %s", strerror(-rc));
    }
    rc = public_nft(commands, 0, error);
    if (rc < 0 || public_kernel_generation(p->kernel, &after) < 0 || before != p->generation ||
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
    if (p->present && public_table_list(p, &listed, &error) == 0 && listed) {
        p->made = public_table_by_name(public_table_document(p, 0));
        p->listed = public_table_by_name(listed);
    }
}

int public_commit(struct public *p, struct error *error)
{
    json_t *commands = json_array();
    int rebuild = p->rows_len == 0 || !p->present || !p->intact;
    int structure = rebuild || sets_differ(p) || !public_table_matches(p);

    if (!p->waiting && public_table_matches(p)) {
        json_decref(commands);
        return 0;
    }
    if (loses_counts(p, rebuild)) {
        public_counters_read(p, NULL);
        p->saved_usec = 0; /* bases are in no other place: to be saved soon */
    }
    if (p->rows_len == 0) {
        no_table(commands);
    } else if (rebuild) {
        whole_table(p, commands);
    } else {
        changes(p, structure, commands);
    }
    int rc = run(p, commands, error);
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
