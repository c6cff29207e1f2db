#include "server/init.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "lib/clock.h"
#include "lib/file.h"
#include "lib/hash.h"
#include "lib/json.h"
#include "lib/log.h"
#include "lib/mem.h"
#include "server/auth-hash.h"
#include "server/auth.h"

enum {
    APPLY_SIZE_MAX = 16 << 20,
    TOKEN_SECRET_MIN = 20,
    TOKEN_SECRET_MAX = 100,
    TOKEN_LIFE_SEC = 24 * 3600,
};

static const struct actor SYSTEM = {.name = "system", .source = "-", .role = ROLE_ADMIN};

/* --- waiting for one write --- */

struct waiting {
    int finished, rc;
    struct error error;
    char id[80];
};

static void on_done(void *arg, int rc, const struct write_result *result,
                    const struct error *error)
{
    struct waiting *waiting = arg;

    waiting->finished = 1;
    waiting->rc = rc;
    if (rc < 0) {
        waiting->error = *error;
    } else {
        snprintf(waiting->id, sizeof waiting->id, "%s", result->id);
    }
}

static int finish(struct state *state, struct waiting *waiting, struct error *error)
{
    while (!waiting->finished) {
        uv_run(&state->loop, UV_RUN_ONCE);
    }
    if (waiting->rc < 0) {
        *error = waiting->error;
    }
    return waiting->rc;
}

/* --- the administrator --- */

static int read_password(const char *path, struct buf *buf, struct error *error)
{
    int rc = file_read(path, buf);

    if (rc < 0) {
        return error_set(error, 400, NULL, "%s: %s", path, strerror(-rc));
    }
    while (buf->size > 0 && strchr("\r\n", buf->data[buf->size - 1])) {
        buf->data[--buf->size] = '\0';
    }
    if (buf->size < AUTH_PASSWORD_MIN || strlen(buf->data) != buf->size) {
        return error_set(error, 400, NULL, "%s: the password must have %d to %d characters", path,
                         AUTH_PASSWORD_MIN, AUTH_PASSWORD_MAX);
    }
    return 0;
}

static int tell_password(const struct options *options, const char *password, struct error *error)
{
    _cleanup_free_ char *path = xasprintf("%s/admin-password", options->config.state_dir);
    _cleanup_free_ char *line = xasprintf("%s\n", password);

    int rc = file_write_atomic(path, line, strlen(line), 0600);
    mem_wipe(line, strlen(line));
    if (rc < 0) {
        return error_set(error, 500, NULL, "can't write %s: %s", path, strerror(-rc));
    }
    printf("user %s password %s (also in %s)\n", options->admin_name, password, path);
    fflush(stdout);
    return 0;
}

static int make_admin(struct state *state, const struct options *options, struct error *error)
{
    struct buf given = BUF_INIT(4 * AUTH_PASSWORD_MAX);
    struct waiting waiting = {0};
    char *random = NULL;
    int rc = 0;

    if (options->password_file) {
        rc = read_password(options->password_file, &given, error);
    }
    if (rc == 0) {
        rc = auth_make_admin(state->deployment, options->admin_name, given.data, &random, on_done,
                             &waiting, error);
    }
    rc = rc < 0 ? rc : finish(state, &waiting, error);
    if (rc == 0 && random) {
        rc = tell_password(options, random, error);
    }
    if (random) {
        mem_wipe(random, strlen(random));
        free(random);
    }
    mem_wipe(given.data, given.size);
    buf_done(&given);
    return rc;
}

/* --- the file of objects --- */

static int seal_user(json_t *spec, json_t **ret_sealed, struct error *error)
{
    const char *password = json_get_string(spec, "password", NULL);
    char hash[HASH_TEXT_SIZE];

    if (!password) {
        return error_set(error, 400, "/spec/password", "\"password\" is required");
    }
    if (hash_password(password, hash) < 0) {
        return error_set(error, 500, NULL, "no memory to hash a password");
    }
    json_object_del(spec, "password");
    *ret_sealed = json_pack("{s:s}", "passwordHash", hash);
    return 0;
}

static int seal_token(const json_t *object, json_t *spec, char **ret_secret, json_t **ret_sealed,
                      struct error *error)
{
    const char *given = json_get_string(object, "secret", NULL);
    char hash[SHA256_HEX_SIZE], expires[CLOCK_TEXT_SIZE];

    if (given && (strlen(given) < TOKEN_SECRET_MIN || strlen(given) > TOKEN_SECRET_MAX)) {
        return error_set(error, 400, "/secret", "\"secret\" must have %d to %d characters",
                         TOKEN_SECRET_MIN, TOKEN_SECRET_MAX);
    }
    if (!json_object_get(spec, "expires")) {
        clock_format(clock_now_usec() + (int64_t)TOKEN_LIFE_SEC * 1000000, expires);
        json_object_set_new(spec, "expires", json_string(expires));
    }
    *ret_secret = given ? xstrdup(given) : random_token();
    *ret_sealed =
        json_pack("{s:s, s:i}", "secretHash", hash_text_hex(*ret_secret, hash), "used", 0);
    return 0;
}

static void print_token(const struct state *state, const struct options *options, const char *id,
                        char *secret)
{
    char *servers[JOIN_TOKEN_SERVERS_MAX + 1] = {0};

    for (size_t i = 0; i < JOIN_TOKEN_SERVERS_MAX && state->advertise[i]; i++) {
        servers[i] = strchr(state->advertise[i], ':')
                         ? xstrdup(state->advertise[i])
                         : xasprintf("%s:%u", state->advertise[i], options->config.link_port);
    }
    struct join_token token = {
        .servers = servers,
        .fingerprint = (char *)pki_fingerprint(state->pki),
        .id = (char *)id,
        .secret = secret,
    };
    _cleanup_free_ char *text = join_token_encode(&token);
    printf("token %s %s\n", id, text);
    mem_wipe(text, strlen(text));
    for (size_t i = 0; servers[i]; i++) {
        free(servers[i]);
    }
}

static enum write_verb verb_for(const struct state *state, const char *kind, const char *id)
{
    return id && tree_spec(deployment_tree(state->deployment), kind, id) ? WRITE_PATCH
                                                                         : WRITE_CREATE;
}

static int apply_object(struct state *state, const struct options *options, const json_t *object,
                        int dry_run, struct error *error)
{
    const char *kind = json_get_string(object, "kind", ""),
               *id = json_get_string(object, "id", NULL);
    json_t *spec = json_deep_copy(json_object_get(object, "spec")), *sealed = NULL;
    _cleanup_free_ char *secret = NULL;
    struct waiting waiting = {0};
    int rc = 0;

    if (strcmp(kind, "users") == 0) {
        rc = seal_user(spec, &sealed, error);
    } else if (strcmp(kind, "tokens") == 0) {
        rc = seal_token(object, spec, &secret, &sealed, error);
    }
    if (rc == 0) {
        struct write write = {.verb = verb_for(state, kind, id),
                              .kind = kind,
                              .id = id,
                              .spec = spec,
                              .sealed = sealed,
                              .dry_run = dry_run};
        deployment_write(state->deployment, &SYSTEM, &write, on_done, &waiting);
        rc = finish(state, &waiting, error);
    }
    if (rc == 0 && secret && !dry_run) {
        print_token(state, options, waiting.id, secret);
    }
    if (secret) {
        mem_wipe(secret, strlen(secret));
    }
    json_decref(spec);
    json_decref(sealed);
    return rc;
}

/* One object, and what was made of it is noted. */
static int apply_at(struct state *state, const struct options *options, const json_t *objects,
                    size_t i, json_t *made, struct error *error)
{
    const json_t *object = json_array_get(objects, i);
    const char *kind = json_get_string(object, "kind", ""),
               *id = json_get_string(object, "id", NULL);
    int is_new = verb_for(state, kind, id) == WRITE_CREATE;
    int rc = apply_object(state, options, object, made == NULL, error);

    if (rc < 0) {
        char prefix[40];
        snprintf(prefix, sizeof prefix, "/objects/%zu", i);
        error_prefix(error, prefix);
    } else if (made && is_new && id) {
        json_array_append(made, (json_t *)object);
    }
    return rc;
}

static int has_kind(const json_t *objects, size_t i, const char *kind)
{
    return strcmp(json_get_string(json_array_get(objects, i), "kind", ""), kind) == 0;
}

static int apply_kind(struct state *state, const struct options *options, const json_t *objects,
                      const char *kind, json_t *made, struct error *error)
{
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < json_array_size(objects); i++) {
        rc = has_kind(objects, i, kind) ? apply_at(state, options, objects, i, made, error) : 0;
    }
    return rc;
}

/* Those that nobody knows, before anything is made. */
static int check_kinds(struct state *state, const struct options *options, const json_t *objects,
                       struct error *error)
{
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < json_array_size(objects); i++) {
        const char *kind = json_get_string(json_array_get(objects, i), "kind", "");
        if (strcmp(kind, "settings") != 0 && !deployment_kind(state->deployment, kind, NULL)) {
            rc = apply_at(state, options, objects, i, NULL, error);
        }
    }
    return rc;
}

/* In the order of the kinds, so that what others name is there before them. */
static int apply_kinds(struct state *state, const struct options *options, const json_t *objects,
                       json_t *made, struct error *error)
{
    const struct kind *kind;
    int rc = 0;

    for (size_t i = 0; rc == 0 && (kind = deployment_kind_at(state->deployment, i)); i++) {
        if (kind->ids != KIND_ID_SINGLETON) {
            rc = apply_kind(state, options, objects, kind->name, made, error);
        }
    }
    return rc;
}

/* A file that is refused leaves none of its objects behind. */
static void take_back(struct state *state, const json_t *made)
{
    for (size_t i = json_array_size(made); i > 0; i--) {
        const json_t *object = json_array_get(made, i - 1);
        struct write write = {.verb = WRITE_DELETE,
                              .kind = json_get_string(object, "kind", ""),
                              .id = json_get_string(object, "id", "")};
        struct waiting waiting = {0};
        struct error error;
        deployment_write(state->deployment, &SYSTEM, &write, on_done, &waiting);
        if (finish(state, &waiting, &error) < 0) {
            log_error("what was made can't be taken back", "object", write.id, "reason",
                      error.detail, NULL);
        }
    }
}

static int apply_objects(struct state *state, const struct options *options, const json_t *file,
                         struct error *error)
{
    const json_t *objects = json_object_get(file, "objects");

    if (strcmp(json_get_string(file, "apiVersion", ""), "v2") != 0 || !json_is_array(objects)) {
        return error_set(error, 400, NULL, "it must be {\"apiVersion\":\"v2\",\"objects\":[...]}");
    }
    json_t *made = json_array();
    int rc = check_kinds(state, options, objects, error);
    /* Settings come first, since others are checked against them. */
    rc = rc < 0 ? rc : apply_kind(state, options, objects, "settings", NULL, error);
    rc = rc < 0 ? rc : apply_kind(state, options, objects, "settings", made, error);
    rc = rc < 0 ? rc : apply_kinds(state, options, objects, made, error);
    if (rc < 0) {
        take_back(state, made);
    }
    json_decref(made);
    return rc;
}

static int apply_file(struct state *state, const struct options *options, struct error *error)
{
    _cleanup_buf_ struct buf buf = BUF_INIT(APPLY_SIZE_MAX);
    json_t *file;
    int rc = file_read(options->apply_file, &buf);

    if (rc < 0) {
        return error_set(error, 400, NULL, "%s: %s", options->apply_file, strerror(-rc));
    }
    rc = json_parse(buf.data, buf.size, &file, error);
    if (rc == 0) {
        rc = apply_objects(state, options, file, error);
        json_decref(file);
    }
    if (rc < 0) {
        struct error why = *error;
        error_set(error, why.status, why.pointer, "%s: %s%s%s", options->apply_file, why.pointer,
                  *why.pointer ? ": " : "", why.detail);
    }
    return rc;
}

int init_state(struct state *state, const struct options *options, struct error *error)
{
    if (!state_is_empty(state)) {
        return error_set(error, 409, NULL, "%s is initialised already", options->config.state_dir);
    }
    /* The administrator comes last: a state without one counts as empty, so a file that is refused
     * can be corrected and tried again. */
    int rc = options->apply_file ? apply_file(state, options, error) : 0;

    if (rc < 0 || tree_spec(deployment_tree(state->deployment), "users", options->admin_name)) {
        return rc; /* the file brought its own */
    }
    return make_admin(state, options, error);
}
