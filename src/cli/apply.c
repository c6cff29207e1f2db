/* apply.c - the whole deployment as one document: export, and apply.
 *
 *     {"apiVersion":"v2","objects":[{"kind":"nodes","id":"Agent.1","spec":{...}}, ...]}
 *
 * Objects stand by kind, settings first, and by id within a kind, so that two exports of the same
 * deployment are the same bytes, and what others depend on comes first. Kinds with random ids
 * (join tokens, API tokens) are left out: their secret can't be exported. */
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "lib/buf.h"
#include "lib/file.h"
#include "lib/json.h"
#include "lib/mem.h"

enum {
    DOCUMENT_MAX = 64 << 20,
    LIST_MAX = 300, /* objects that the server makes at once: of nodes, which take three operations
                       each of a transaction's 1,024, there can't be many more */
    LIST_BYTES_MAX = 200 << 10,
};

static int is_exported(const struct kind *kind)
{
    return kind->ids != KIND_ID_RANDOM && kind->write_role != ROLE_NOBODY;
}

/* Several singletons share a name ("settings") and are listed together: once is enough. */
static int has_name(const char **names, size_t len, const char *name)
{
    for (size_t i = 0; i < len; i++) {
        if (strcmp(names[i], name) == 0) {
            return 1;
        }
    }
    return 0;
}

/* The names of the kinds in the document's order, NULL-terminated: settings first, since what they
 * say (the overlay's addresses, for one) other objects are checked against. */
static const char **exported_names(const struct cli *cli)
{
    size_t all = 0, len = 0;

    while (cli->kinds[all]) {
        all++;
    }
    const char **names = xcalloc(all + 1, sizeof *names);
    for (int singletons = 1; singletons >= 0; singletons--) {
        for (size_t i = 0; i < all; i++) {
            const struct kind *kind = cli->kinds[i];
            if (is_exported(kind) && (kind->ids == KIND_ID_SINGLETON) == singletons &&
                !has_name(names, len, kind->name)) {
                names[len++] = kind->name;
            }
        }
    }
    return names;
}

static int compare_ids(const void *a, const void *b)
{
    const json_t *const *x = a, *const *y = b;
    return strcmp(json_get_string(*x, "id", ""), json_get_string(*y, "id", ""));
}

/* A new array with the same objects, by id. */
static json_t *sorted(const json_t *items)
{
    size_t len = json_array_size(items);
    _cleanup_free_ json_t **order = xcalloc(len + 1, sizeof *order);
    json_t *result = json_array();

    for (size_t i = 0; i < len; i++) {
        order[i] = json_array_get(items, i);
    }
    qsort(order, len, sizeof *order, compare_ids);
    for (size_t i = 0; i < len; i++) {
        json_array_append(result, order[i]);
    }
    return result;
}

/* --- export --- */

static enum exit_code export_kind(struct cli *cli, const char *kind, json_t *objects)
{
    json_t *items = NULL, *item;
    size_t i;
    enum exit_code code = cli_list(cli, kind, "", &items);

    if (code != CLI_OK) {
        return code;
    }
    json_t *order = sorted(items);
    json_array_foreach (order, i, item) {
        json_array_append_new(objects, json_pack("{s:s, s:O, s:O}", "kind", kind, "id",
                                                 json_object_get(item, "id"), "spec",
                                                 json_object_get(item, "spec")));
    }
    json_decref(order);
    json_decref(items);
    return CLI_OK;
}

int run_export(struct cli *cli)
{
    _cleanup_free_ const char **names = exported_names(cli);
    json_t *objects = json_array();
    json_t *document = json_pack("{s:s, s:o}", "apiVersion", "v2", "objects", objects);
    enum exit_code code = CLI_OK;

    for (size_t i = 0; names[i] && code == CLI_OK; i++) {
        code = export_kind(cli, names[i], objects);
    }
    if (code == CLI_OK) {
        json_dumpf(document, stdout, JSON_INDENT(2));
        fputc('\n', stdout);
    }
    json_decref(document);
    return code;
}

/* --- apply: the document --- */

/* Nothing is passed over silently: a member that isn't known may be a known one mistyped. What the
 * API shows beside the spec may stay in. */
static enum exit_code check_members(const json_t *object, const char *const *known,
                                    const char *pointer)
{
    const char *key;
    json_t *value;

    json_object_foreach ((json_t *)object, key, value) {
        size_t i = 0;
        while (known[i] && strcmp(known[i], key) != 0) {
            i++;
        }
        if (!known[i]) {
            return cli_say(CLI_USAGE, "\"%s\" is not allowed (%s/%s)", key, pointer, key);
        }
    }
    return CLI_OK;
}

static enum exit_code check_object(const struct cli *cli, const json_t *object, size_t i)
{
    static const char *const MEMBERS[] = {"kind", "id", "spec", "revision", "status", NULL};
    const char *kind = json_get_string(object, "kind", NULL);
    const char *id = json_get_string(object, "id", NULL);

    const struct kind *known = kind ? kind_named(cli->kinds, kind) : NULL;
    if (!known || !is_exported(known)) {
        return cli_say(CLI_USAGE,
                       "\"kind\" must be one that can be applied, not \"%s\" "
                       "(/objects/%zu/kind)",
                       kind ? kind : "", i);
    }
    if (!id || !id[0]) {
        return cli_say(CLI_USAGE, "\"id\" must be a text (/objects/%zu/id)", i);
    }
    if (!json_is_object(json_object_get(object, "spec"))) {
        return cli_say(CLI_USAGE, "\"spec\" must be an object (/objects/%zu/spec)", i);
    }
    _cleanup_free_ char *pointer = xasprintf("/objects/%zu", i);
    return check_members(object, MEMBERS, pointer);
}

static enum exit_code check_twice(json_t *seen, const json_t *object, size_t i)
{
    _cleanup_free_ char *key =
        xasprintf("%s/%s", json_get_string(object, "kind", ""), json_get_string(object, "id", ""));

    if (json_object_get(seen, key)) {
        return cli_say(CLI_USAGE, "%s comes twice (/objects/%zu)", key, i);
    }
    json_object_set_new(seen, key, json_true());
    return CLI_OK;
}

static enum exit_code check_objects(const struct cli *cli, const json_t *objects)
{
    enum exit_code code = CLI_OK;
    json_t *seen = json_object(), *object;
    size_t i;

    json_array_foreach ((json_t *)objects, i, object) {
        code = check_object(cli, object, i);
        code = code == CLI_OK ? check_twice(seen, object, i) : code;
        if (code != CLI_OK) {
            break;
        }
    }
    json_decref(seen);
    return code;
}

/* All of it is checked before anything is sent. */
static enum exit_code check_document(const struct cli *cli, const json_t *document)
{
    static const char *const MEMBERS[] = {"apiVersion", "objects", NULL};
    const json_t *objects = json_object_get(document, "objects");
    const char *version = json_get_string(document, "apiVersion", "");

    if (strcmp(version, "v2") != 0) {
        return cli_say(CLI_USAGE, "\"apiVersion\" must be \"v2\", not \"%s\" (/apiVersion)",
                       version);
    }
    if (!json_is_array(objects)) {
        return cli_say(CLI_USAGE, "\"objects\" must be an array (/objects)");
    }
    enum exit_code code = check_members(document, MEMBERS, "");
    return code == CLI_OK ? check_objects(cli, objects) : code;
}

static enum exit_code read_document(const struct cli *cli, json_t **ret_document)
{
    _cleanup_buf_ struct buf text = BUF_INIT(DOCUMENT_MAX);
    const char *path = args_value(&cli->args, "file", NULL);
    struct error error = {0};

    if (!path) {
        return cli_say(CLI_USAGE,
                       "what shall be applied? cnsmo apply -f FILE (- for standard input)");
    }
    int rc = file_read(strcmp(path, "-") == 0 ? "/dev/stdin" : path, &text);
    if (rc < 0) {
        return cli_say(CLI_USAGE, "cannot read %s: %s", path, strerror(-rc));
    }
    if (json_parse(text.data, text.size, ret_document, &error) < 0) {
        return cli_say(CLI_USAGE, "%s: %s", path, error.detail);
    }
    return CLI_OK;
}

/* --- apply: object by object --- */

struct apply {
    const struct write_options *options;
    json_t *deltas; /* of a dry run, all objects' */
    json_t *report; /* [{"kind","id","result"}] */
    json_t *made;   /* ids of the kind at hand that were made in lists */
};

static void report(struct cli *cli, struct apply *apply, const json_t *object, const char *result)
{
    json_array_append_new(apply->report,
                          json_pack("{s:O, s:O, s:s}", "kind", json_object_get(object, "kind"),
                                    "id", json_object_get(object, "id"), "result", result));
    if (cli->output == OUTPUT_TABLE && !apply->options->dry_run) {
        printf("%s ", result);
        print_text(stdout, json_get_string(object, "kind", ""));
        putchar('/');
        print_text(stdout, json_get_string(object, "id", ""));
        putchar('\n');
    }
}

static enum exit_code send_object(struct cli *cli, struct apply *apply, const json_t *object,
                                  int exists)
{
    const char *kind = json_get_string(object, "kind", ""),
               *id = json_get_string(object, "id", "");
    _cleanup_free_ char *path = object_path(kind, exists ? id : NULL);
    _cleanup_free_ char *target = xasprintf("%s%s", path, apply->options->query);
    json_t *body = json_pack("{s:O}", "spec", json_object_get(object, "spec"));
    struct response response;

    if (!exists) {
        json_object_set_new(body, "id", json_string(id));
    }
    enum exit_code code = cli_call(cli, exists ? "PATCH" : "POST", target, body,
                                   apply->options->wait_sec, &response);
    json_decref(body);
    if (code == CLI_OK) {
        json_array_extend(apply->deltas, json_object_get(response.body, "deltas"));
        report(cli, apply, object, exists ? "changed" : "created");
        code = cli_waited(&response);
    } else {
        cli_say(code, "%s/%s was not applied", kind, id);
        report(cli, apply, object, "failed");
    }
    response_done(&response);
    return code;
}

/* What is there of the object: CLI_OK and its spec, or NULL if there is no such object. */
static enum exit_code fetch_spec(struct cli *cli, const json_t *object, json_t **ret_spec)
{
    _cleanup_free_ char *path =
        object_path(json_get_string(object, "kind", ""), json_get_string(object, "id", ""));
    struct response response = {0};
    struct error error = {0};
    enum exit_code code = cli_connect(cli);

    if (code != CLI_OK) {
        return code;
    }
    code = client_call(cli->client, "GET", path, NULL, 0, &response, &error);
    if (response.status == 404) {
        code = CLI_OK;
    } else if (code != CLI_OK) {
        cli_fail(cli, code, &error);
    } else {
        *ret_spec = json_incref(json_object_get(response.body, "spec"));
    }
    response_done(&response);
    return code;
}

static enum exit_code apply_object(struct cli *cli, struct apply *apply, const json_t *object)
{
    json_t *present = NULL;
    enum exit_code code = fetch_spec(cli, object, &present);

    if (code != CLI_OK) {
        report(cli, apply, object, "failed");
        return code;
    }
    json_t *merged = json_merge_patch(present, json_object_get(object, "spec"));
    if (present && json_equal(merged, present)) {
        report(cli, apply, object, "unchanged");
    } else {
        code = send_object(cli, apply, object, present != NULL);
    }
    json_decref(merged);
    json_decref(present);
    return code;
}

/* --- apply: new objects, many at once --- */

/* One list of new objects. Refused: nothing is said, for one by one it shows which is to blame. */
static enum exit_code send_list(struct cli *cli, struct apply *apply, const char *kind,
                                const json_t *list)
{
    _cleanup_free_ char *path = object_path(kind, NULL);
    _cleanup_free_ char *target = xasprintf("%s%s", path, apply->options->query);
    struct response response = {0};
    struct error error = {0};
    enum exit_code code = cli_connect(cli);
    json_t *object;
    size_t i;

    if (code == CLI_OK) {
        code = client_call(cli->client, "POST", target, list, apply->options->wait_sec, &response,
                           &error);
    }
    if (code == CLI_OK) {
        json_array_foreach ((json_t *)list, i, object) {
            json_t *named =
                json_pack("{s:s, s:O}", "kind", kind, "id", json_object_get(object, "id"));
            report(cli, apply, named, "created");
            json_object_set_new(apply->made, json_get_string(object, "id", ""), json_true());
            json_decref(named);
        }
        code = cli_waited(&response);
    } else {
        code = CLI_OK;
    }
    response_done(&response);
    return code;
}

/* The ids that are there, as an object's members. */
static json_t *ids_of(struct cli *cli, const char *kind)
{
    json_t *items = NULL, *ids = NULL, *item;
    size_t i;

    if (cli_list(cli, kind, "", &items) == CLI_OK) {
        ids = json_object();
        json_array_foreach (items, i, item) {
            json_object_set_new(ids, json_get_string(item, "id", ""), json_true());
        }
    }
    json_decref(items);
    return ids;
}

static enum exit_code create_lists(struct cli *cli, struct apply *apply, const json_t *objects,
                                   const char *kind)
{
    json_t *there = ids_of(cli, kind), *list = json_array(), *object;
    enum exit_code code = CLI_OK;
    size_t i, bytes = 0;

    json_array_foreach ((json_t *)objects, i, object) {
        const char *id = json_get_string(object, "id", "");
        if (!there || code != CLI_OK || strcmp(json_get_string(object, "kind", ""), kind) != 0 ||
            json_object_get(there, id)) {
            continue;
        }
        json_t *body = json_pack("{s:s, s:O}", "id", id, "spec", json_object_get(object, "spec"));
        size_t size = json_dumpb(body, NULL, 0, JSON_COMPACT) + 1;
        if (json_array_size(list) == LIST_MAX ||
            (bytes + size > LIST_BYTES_MAX && json_array_size(list) > 0)) {
            code = send_list(cli, apply, kind, list);
            json_array_clear(list);
            bytes = 0;
        }
        bytes += size;
        json_array_append_new(list, body);
    }
    if (code == CLI_OK && json_array_size(list) > 0) {
        code = send_list(cli, apply, kind, list);
    }
    json_decref(list);
    json_decref(there);
    return code;
}

static int takes_lists(const struct cli *cli, const struct apply *apply, const char *name)
{
    const struct kind *kind = kind_named(cli->kinds, name);

    return kind && kind->ids != KIND_ID_SINGLETON && !kind->one_by_one && !apply->options->dry_run;
}

/* --- apply: all of it --- */

/* Nothing else would arrive either. */
static int is_hopeless(enum exit_code code)
{
    return code == CLI_UNREACHABLE;
}

/* The objects of one kind. One that fails doesn't keep the others; the first failure counts. */
static enum exit_code apply_kind(struct cli *cli, struct apply *apply, const json_t *objects,
                                 const char *kind)
{
    enum exit_code first = CLI_OK;
    size_t i;
    json_t *object;

    json_object_clear(apply->made);
    if (takes_lists(cli, apply, kind)) {
        first = create_lists(cli, apply, objects, kind);
    }
    json_array_foreach ((json_t *)objects, i, object) {
        if (strcmp(json_get_string(object, "kind", ""), kind) != 0 ||
            json_object_get(apply->made, json_get_string(object, "id", ""))) {
            continue;
        }
        enum exit_code code = apply_object(cli, apply, object);
        if (is_hopeless(code)) {
            return code;
        }
        first = first == CLI_OK ? code : first;
    }
    return first;
}

static enum exit_code apply_all(struct cli *cli, struct apply *apply, const json_t *objects)
{
    _cleanup_free_ const char **names = exported_names(cli);
    enum exit_code first = CLI_OK;
    json_t *order = sorted(objects);

    for (size_t i = 0; names[i] && !is_hopeless(first); i++) {
        enum exit_code code = apply_kind(cli, apply, order, names[i]);
        first = first == CLI_OK || is_hopeless(code) ? code : first;
    }
    json_decref(order);
    return first;
}

int run_apply(struct cli *cli)
{
    struct write_options options;
    json_t *document = NULL;
    enum exit_code code = write_options(cli, &options);

    if (code == CLI_OK) {
        code = read_document(cli, &document);
    }
    if (code == CLI_OK) {
        code = check_document(cli, document);
    }
    if (code == CLI_OK) {
        struct apply apply = {&options, json_array(), json_array(), json_object()};
        code = apply_all(cli, &apply, json_object_get(document, "objects"));
        if (options.dry_run) {
            print_deltas(cli, apply.deltas);
        } else if (cli->output != OUTPUT_TABLE) {
            print_json(cli, apply.report);
        }
        json_decref(apply.deltas);
        json_decref(apply.report);
        json_decref(apply.made);
    }
    json_decref(document);
    return code;
}
