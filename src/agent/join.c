#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "agent/agent.h"
#include "agent/exchange.h"
#include "agent/identity.h"
#include "agent/routes.h"
#include "lib/file.h"
#include "lib/ip.h"
#include "lib/json.h"
#include "lib/mem.h"
#include "link/message.h"
#include "pki/pki.h"

enum {
    ID_MAX = 63,
    HOSTNAME_SIZE = 256,
};

/* --- arguments --- */

static int check_id(const char *id, struct error *error)
{
    size_t size = strlen(id);
    int good = size > 0 && size <= ID_MAX && isalnum((unsigned char)id[0]);

    for (size_t i = 0; i < size; i++) {
        good = good && (isalnum((unsigned char)id[i]) || strchr("._-", id[i]));
    }
    if (!good) {
        return error_set(error, 400, NULL,
                         "--id: \"%.80s\" isn't an id: 1 to %d letters, digits, dots, hyphens and "
                         "underscores, beginning with a letter or digit",
                         id, ID_MAX);
    }
    return 0;
}

static int check_endpoint(const char *endpoint, struct error *error)
{
    struct ip4_endpoint parsed;
    uint32_t address;

    if (ip4_parse(endpoint, &address) < 0 && ip4_endpoint_parse(endpoint, &parsed) < 0) {
        return error_set(error, 400, NULL,
                         "--endpoint: \"%.80s\" isn't an IPv4 address, or address:port", endpoint);
    }
    return 0;
}

/* "vpn,dns" to ["vpn","dns"]. */
static int parse_services(const char *text, json_t **ret_services, struct error *error)
{
    _cleanup_free_ char *copy = xstrdup(text);
    json_t *services = json_array();
    char *rest = copy;

    for (char *name = strsep(&rest, ","); name; name = strsep(&rest, ",")) {
        if (name[0] == '\0' || json_array_has(services, name) ||
            json_array_append_new(services, json_string(name)) < 0 ||
            json_array_size(services) > MESSAGE_SERVICES_MAX) {
            json_decref(services);
            return error_set(error, 400, NULL,
                             "--services: \"%.80s\" isn't a list of names such as vpn,dns", text);
        }
    }
    *ret_services = services;
    return 0;
}

/* --- the question --- */

static int make_question(const struct join_options *options, const struct join_token *token,
                         const char *csr, json_t **ret_question, struct error *error)
{
    char hostname[HOSTNAME_SIZE] = "";
    json_t *services = NULL;

    if (options->services) {
        int rc = parse_services(options->services, &services, error);
        if (rc < 0) {
            return rc;
        }
    }
    gethostname(hostname, sizeof hostname - 1);
    json_t *question = json_pack(
        "{s:s, s:i, s:s, s:s, s:s, s:o, s:s, s:s, s:o*, s:s*, s:s*}", "type", "join", "version",
        LINK_VERSION, "token", token->id, "secret", token->secret, "csr", csr, "routes",
        routes_of_host("cnsmo0"), "hostname", hostname, "agentVersion", CNSMO_VERSION, "services",
        services, "id", options->id, "endpoint", options->endpoint);
    if (!question) {
        return error_set(error, 400, NULL, "an argument isn't UTF-8");
    }
    *ret_question = question;
    return 0;
}

/* An earlier join: the same node may ask again, another deployment or id may not. */
static int check_earlier(const struct agent_paths *paths, const struct join_options *options,
                         const struct join_token *token, char **ret_id, struct error *error)
{
    struct identity identity = {0};

    int rc = identity_load(paths->state_dir, &identity, NULL);
    if (rc < 0) {
        return 0; /* none, or a damaged one that this join replaces */
    }
    if (strcmp(identity.fingerprint, token->fingerprint) != 0) {
        rc = error_set(error, 409, NULL,
                       "this machine is the node %s of another deployment; "
                       "`cnsmo-agent leave` first",
                       identity.id);
    } else if (options->id && strcmp(options->id, identity.id) != 0) {
        rc = error_set(error, 409, NULL,
                       "this machine is the node %s already; `cnsmo-agent leave` first",
                       identity.id);
    } else {
        *ret_id = xstrdup(identity.id);
    }
    identity_done(&identity);
    return rc;
}

/* --- the answer --- */

static int save_root(const struct agent_paths *paths, const char *root, struct error *error)
{
    _cleanup_free_ char *path = xasprintf("%s/root.pem", paths->state_dir);

    int rc = file_write_atomic(path, root, strlen(root), 0644);
    if (rc < 0) {
        error_set(error, error_status(rc), NULL, "cannot write %s: %s", path, strerror(-rc));
    }
    return rc;
}

static int take_answer(const struct agent_paths *paths, const struct join_token *token,
                       char *key_pem, const json_t *answer, struct error *error)
{
    struct message_joined joined;

    int rc = message_joined(answer, &joined, error);
    if (rc < 0) {
        return rc;
    }
    struct identity identity = {.id = (char *)joined.id,
                                .servers = token->servers,
                                .fingerprint = token->fingerprint,
                                .key_pem = key_pem};

    rc = check_id(joined.id, NULL);
    if (rc < 0) {
        return error_set(error, 500, NULL, "the server answered with an unusable id");
    }
    rc = identity_renew(NULL, &identity, joined.certificate, error);
    if (rc == 0) {
        rc = save_root(paths, joined.root, error);
    }
    if (rc == 0) {
        rc = identity_save(paths->state_dir, &identity, error);
    }
    if (rc == 0) {
        printf("joined as %s\n", identity.id);
        fflush(stdout);
    }
    free(identity.cert_pem);
    return rc;
}

static void wipe_secret(json_t *question)
{
    json_t *secret = json_object_get(question, "secret");

    mem_wipe((char *)json_string_value(secret), json_string_length(secret));
}

static int ask(const struct agent_paths *paths, const struct join_options *options,
               const struct join_token *token, char *key_pem, struct error *error)
{
    _cleanup_free_ char *csr = NULL;
    json_t *question, *answer = NULL;

    int rc = pki_make_csr_for(key_pem, options->id ? options->id : "cnsmo-agent", &csr, error);
    if (rc < 0) {
        return rc;
    }
    rc = make_question(options, token, csr, &question, error);
    if (rc < 0) {
        return rc;
    }
    rc = exchange_run(&(struct exchange){.servers = token->servers,
                                         .fingerprint = token->fingerprint,
                                         .question = question,
                                         .answer = "joined"},
                      &answer, error);
    wipe_secret(question);
    json_decref(question);
    if (rc == 0) {
        rc = take_answer(paths, token, key_pem, answer, error);
    }
    json_decref(answer);
    return rc;
}

static int enrol(const struct agent_paths *paths, const struct join_options *options,
                 const struct join_token *token, struct error *error)
{
    struct join_options known = *options;
    _cleanup_free_ char *earlier = NULL;
    char *key_pem = NULL;

    int rc = check_earlier(paths, options, token, &earlier, error);
    if (rc == 0) {
        rc = agent_make_folders(paths, error);
    }
    if (rc == 0) {
        rc = identity_key(paths->state_dir, &key_pem, error);
    }
    if (rc < 0) {
        return rc;
    }
    known.id = options->id ? options->id : earlier;
    rc = ask(paths, &known, token, key_pem, error);
    mem_wipe(key_pem, strlen(key_pem));
    free(key_pem);
    return rc;
}

static int check_options(const struct join_options *options, struct join_token *ret_token,
                         struct error *error)
{
    json_t *services = NULL;
    int rc = options->id ? check_id(options->id, error) : 0;

    if (rc == 0 && options->endpoint) {
        rc = check_endpoint(options->endpoint, error);
    }
    if (rc == 0 && options->services) {
        rc = parse_services(options->services, &services, error);
        json_decref(services);
    }
    return rc < 0 ? rc : join_token_decode(options->token, ret_token, error);
}

static int start(const struct agent_paths *paths, struct error *error)
{
    int rc = process_start(paths, error);
    if (rc == 0) {
        rc = process_wait_up(paths, error);
    }
    if (rc == 0) {
        printf("the agent runs\n");
    }
    return rc;
}

int agent_join(const struct agent_paths *paths, const struct join_options *options)
{
    struct join_token token = {0};
    struct error error = {0};

    if (check_options(options, &token, &error) < 0) {
        agent_complain(&error);
        return EXIT_USAGE;
    }
    int rc = enrol(paths, options, &token, &error);
    join_token_done(&token);
    if (rc == 0 && !options->no_start) {
        rc = start(paths, &error);
    }
    if (rc < 0) {
        agent_complain(&error);
        return EXIT_FAILED;
    }
    return 0;
}
