/* message.h - the link's messages (link.h lists them) taken apart, with every field checked.
 *
 * Each message_x() returns 0 and fills *ret with what it borrows from the message, or -EINVAL with
 * status 400, a pointer to the field and a sentence that begins with its name. Optional text that
 * is absent is NULL, optional arrays too. The two ends use the same functions. */
#pragma once

#include <jansson.h>
#include <stdint.h>

#include "lib/error.h"

enum {
    MESSAGE_ROUTES_MAX = 512,
    MESSAGE_SERVICES_MAX = 32,
    MESSAGE_ERRORS_MAX = 1000,
    MESSAGE_FACTS_MAX = 1000,
    MESSAGE_COUNTERS_MAX = 1000,
    MESSAGE_KEY_MAX = 512,
    MESSAGE_PEM_MAX = 4096,
    MESSAGE_CHAIN_MAX = 16384,
};

/* --- agent to server --- */

struct message_join {
    const char *token, *secret, *csr, *id, *endpoint, *hostname, *agent_version;
    const json_t *services, *routes; /* arrays of text, checked */
};

struct message_hello {
    const char *id, *digest, *agent_version;
    json_int_t revision, started;
};

struct message_ack {
    json_int_t revision;
    const json_t *errors; /* [{"key","message"}], checked */
};

/* One of both. */
struct message_answer {
    json_int_t id;
    const json_t *body;
    const json_t *error; /* {"status","detail"}, for message_read_error() */
};

int message_join(const json_t *message, struct message_join *ret, struct error *error);
int message_hello(const json_t *message, struct message_hello *ret, struct error *error);
int message_ack(const json_t *message, struct message_ack *ret, struct error *error);
int message_facts(const json_t *message, const json_t **ret_facts, struct error *error);
int message_status(const json_t *message, const json_t **ret_status, struct error *error);
int message_counters(const json_t *message, const json_t **ret_values, struct error *error);
int message_renew(const json_t *message, const char **ret_csr, struct error *error);
int message_answer(const json_t *message, struct message_answer *ret, struct error *error);

/* --- server to agent --- */

struct message_joined {
    const char *id, *certificate, *root;
};

struct message_welcome {
    const char *id, *time, *address;
    const char *authority; /* NULL from an older server; in a sync, too */
};

struct message_put {
    const char *key;
    json_int_t revision;
    const json_t *body; /* NULL in a "delete" */
};

struct message_sync {
    json_int_t revision;
    const char *digest;
    const char *authority;
};

struct message_refused {
    const json_t *facts; /* array of names */
    const char *detail;
};

int message_joined(const json_t *message, struct message_joined *ret, struct error *error);
int message_welcome(const json_t *message, struct message_welcome *ret, struct error *error);
struct message_ask {
    json_int_t id;
    const char *what;
};

int message_put(const json_t *message, struct message_put *ret, struct error *error);
int message_delete(const json_t *message, struct message_put *ret, struct error *error);
int message_sync(const json_t *message, struct message_sync *ret, struct error *error);
int message_renewed(const json_t *message, const char **ret_certificate, struct error *error);
int message_refused(const json_t *message, struct message_refused *ret, struct error *error);

int message_ask(const json_t *message, struct message_ask *ret, struct error *error);

/* What an "error" message says, into *ret; a malformed one gives status 500 and says so. */
void message_read_error(const json_t *message, struct error *ret);

/* An "error" message, a new reference. */
json_t *message_error(const struct error *error);
