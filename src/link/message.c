/* Each message is a table of its fields; one function walks it. */
#include "link/message.h"

#include <stdio.h>
#include <string.h>

#include "lib/clock.h"
#include "lib/ip.h"
#include "lib/json.h"
#include "lib/mem.h"
#include "link/link.h"
#include "model/schema.h"

enum type {
    TEXT,
    INTEGER,
    OBJECT,
    ARRAY,
    VERSION, /* not stored */
};

struct field {
    const char *name;
    enum type type;
    int optional;
    size_t max;    /* characters or members; integers: no limit but >= 0 */
    size_t offset; /* in the result */
    /* Of a text, or each element or member; -1: wrong. NULL: any. */
    int (*check)(const json_t *value);
    const char *what; /* what check() wants: "must be a node's id" */
};

static const char HEX[] = "0123456789abcdef";

/* --- formats --- */

static int is_node_id(const json_t *value)
{
    const char *text = json_string_value(value);

    return text && node_id_is_valid(text) ? 0 : -1;
}

static int is_digest(const json_t *value)
{
    const char *text = json_string_value(value);

    return strlen(text) == 32 && strspn(text, HEX) == 32 ? 0 : -1;
}

static int is_key_id(const json_t *value)
{
    const char *text = json_string_value(value);

    return strlen(text) == 64 && strspn(text, HEX) == 64 ? 0 : -1;
}

static int is_word(const json_t *value)
{
    const char *text = json_string_value(value);
    size_t len = text ? strlen(text) : 0;

    return len > 0 && len <= 32 && strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789-") == len
               ? 0
               : -1;
}

static int is_prefix(const json_t *value)
{
    const char *text = json_string_value(value);
    struct ip4_prefix prefix;

    return text && ip4_prefix_parse(text, &prefix) == 0 ? 0 : -1;
}

static int is_endpoint(const json_t *value)
{
    const char *text = json_string_value(value);
    struct ip4_endpoint endpoint;
    uint32_t address;

    return ip4_endpoint_parse(text, &endpoint) == 0 || ip4_parse(text, &address) == 0 ? 0 : -1;
}

static int is_time(const json_t *value)
{
    int64_t usec;

    return clock_parse(json_string_value(value), &usec);
}

static int is_printable_text(const char *text)
{
    for (; *text; text++) {
        if ((unsigned char)*text < ' ' || *text == 0x7f) {
            return 0;
        }
    }
    return 1;
}

static int is_printable(const json_t *value)
{
    const char *text = json_string_value(value);

    return text && is_printable_text(text) ? 0 : -1;
}

static int is_name(const json_t *value)
{
    return is_printable(value) == 0 && json_string_length(value) <= 256 ? 0 : -1;
}

static int is_error_item(const json_t *value)
{
    const json_t *key = json_object_get(value, "key"), *text = json_object_get(value, "message");

    return json_is_string(key) && json_string_length(key) <= MESSAGE_KEY_MAX &&
                   json_is_string(text) && json_string_length(text) <= 4096
               ? 0
               : -1;
}

/* A counter: [packets, bytes], or null. */
static int is_count(const json_t *value)
{
    const json_t *item;
    size_t i;

    if (json_is_null(value)) {
        return 0;
    }
    if (!json_is_array(value) || json_array_size(value) != 2) {
        return -1;
    }
    json_array_foreach (value, i, item) {
        if (!json_is_integer(item) || json_integer_value(item) < 0) {
            return -1;
        }
    }
    return 0;
}

/* --- the walk --- */

static int wrong(struct error *error, const struct field *field, const char *format, size_t n)
{
    char pointer[64], text[128];

    snprintf(pointer, sizeof pointer, "/%s", field->name);
    if (strchr(format, '%')) {
        snprintf(text, sizeof text, "must have at most %zu %s", n,
                 field->type == TEXT ? "characters" : "members");
        format = text;
    }
    return error_set(error, 400, pointer, "\"%s\" %s", field->name, format);
}

static int check_text(const struct field *field, const json_t *value, struct error *error)
{
    if (!json_is_string(value)) {
        return wrong(error, field, "must be a text", 0);
    }
    if (!field->optional && json_string_length(value) == 0) {
        return wrong(error, field, "must not be empty", 0);
    }
    if (json_string_length(value) > field->max) {
        return wrong(error, field, "%", field->max);
    }
    if (field->check && field->check(value) < 0) {
        return wrong(error, field, field->what, 0);
    }
    return 0;
}

static int check_array(const struct field *field, const json_t *value, struct error *error)
{
    const json_t *item;
    size_t i;

    if (!json_is_array(value)) {
        return wrong(error, field, "must be an array", 0);
    }
    if (json_array_size(value) > field->max) {
        return wrong(error, field, "%", field->max);
    }
    json_array_foreach (value, i, item) {
        if (field->check(item) < 0) {
            char pointer[64];
            snprintf(pointer, sizeof pointer, "/%s/%zu", field->name, i);
            return error_set(error, 400, pointer, "\"%s\" %s", field->name, field->what);
        }
    }
    return 0;
}

/* Members with names that can be shown, and values that pass the check, if there is one. */
static int check_object(const struct field *field, const json_t *value, struct error *error)
{
    const char *name;
    json_t *member;

    if (!json_is_object(value)) {
        return wrong(error, field, "must be an object", 0);
    }
    if (json_object_size(value) > field->max) {
        return wrong(error, field, "%", field->max);
    }
    json_object_foreach ((json_t *)value, name, member) {
        if (field->check && (!*name || strlen(name) > MESSAGE_KEY_MAX ||
                             !is_printable_text(name) || field->check(member) < 0)) {
            return wrong(error, field, field->what, 0);
        }
    }
    return 0;
}

static int check_version(const struct field *field, const json_t *value, struct error *error)
{
    if (!json_is_integer(value)) {
        return wrong(error, field, "must be an integer", 0);
    }
    if (json_integer_value(value) != LINK_VERSION) {
        return error_set(error, 400, "/version",
                         "\"version\" %lld of the protocol isn't spoken here, only %d",
                         (long long)json_integer_value(value), LINK_VERSION);
    }
    return 0;
}

static int check(const struct field *field, const json_t *value, struct error *error)
{
    switch (field->type) {
    case TEXT:
        return check_text(field, value, error);
    case ARRAY:
        return check_array(field, value, error);
    case VERSION:
        return check_version(field, value, error);
    case INTEGER:
        return json_is_integer(value) && json_integer_value(value) >= 0
                   ? 0
                   : wrong(error, field, "must be an integer, not negative", 0);
    case OBJECT:
        break;
    }
    return check_object(field, value, error);
}

static void store(const struct field *field, const json_t *value, void *ret)
{
    void *at = (char *)ret + field->offset;

    if (field->type == TEXT) {
        *(const char **)at = json_string_value(value);
    } else if (field->type == INTEGER) {
        *(json_int_t *)at = json_integer_value(value);
    } else if (field->type != VERSION) {
        *(const json_t **)at = value;
    }
}

/* All fields are checked before any is given out. */
static int take(const json_t *message, const struct field *fields, size_t len, void *ret,
                struct error *error)
{
    for (size_t i = 0; i < len; i++) {
        const json_t *value = json_object_get(message, fields[i].name);
        if (!value && !fields[i].optional) {
            return wrong(error, &fields[i], "is required", 0);
        }
        int rc = value ? check(&fields[i], value, error) : 0;
        if (rc < 0) {
            return rc;
        }
    }
    for (size_t i = 0; i < len; i++) {
        store(&fields[i], json_object_get(message, fields[i].name), ret);
    }
    return 0;
}

#define TAKE_FIELDS(message, fields, ret, error)                                                  \
    take((message), (fields), ARRAY_LEN(fields), (ret), (error))

#define AT(type, member) .offset = offsetof(struct type, member)

/* --- agent to server --- */

#define PRINTABLE .check = is_printable, .what = "must not have control characters"
#define NODE_ID .max = 63, .check = is_node_id, .what = "must be a node's id, such as \"Agent.1\""
#define KEY_ID .max = 64, .check = is_key_id, .what = "must be 64 hex digits"
#define DIGEST .max = 32, .check = is_digest, .what = "must be 32 hex digits"

int message_join(const json_t *message, struct message_join *ret, struct error *error)
{
    static const struct field FIELDS[] = {
        {"version", VERSION},
        {"token", TEXT, .max = 128, AT(message_join, token), PRINTABLE},
        {"secret", TEXT, .max = 256, AT(message_join, secret), PRINTABLE},
        {"csr", TEXT, .max = MESSAGE_PEM_MAX, AT(message_join, csr)},
        {"id", TEXT, 1, AT(message_join, id), NODE_ID},
        {"services", ARRAY, 1, MESSAGE_SERVICES_MAX, AT(message_join, services), .check = is_word,
         .what = "must hold names of services"},
        {"endpoint", TEXT, 1, 21, AT(message_join, endpoint), .check = is_endpoint,
         .what = "must be a.b.c.d or a.b.c.d:port"},
        {"routes", ARRAY, 0, MESSAGE_ROUTES_MAX, AT(message_join, routes), .check = is_prefix,
         .what = "must hold IPv4 prefixes, such as \"10.0.0.0/8\""},
        {"hostname", TEXT, .max = 253, AT(message_join, hostname), PRINTABLE},
        {"agentVersion", TEXT, .max = 64, AT(message_join, agent_version), PRINTABLE},
    };

    return TAKE_FIELDS(message, FIELDS, ret, error);
}

int message_hello(const json_t *message, struct message_hello *ret, struct error *error)
{
    static const struct field FIELDS[] = {
        {"version", VERSION},
        {"id", TEXT, AT(message_hello, id), NODE_ID},
        {"revision", INTEGER, AT(message_hello, revision)},
        {"digest", TEXT, AT(message_hello, digest), DIGEST},
        {"agentVersion", TEXT, .max = 64, AT(message_hello, agent_version), PRINTABLE},
        {"started", INTEGER, AT(message_hello, started)},
    };

    return TAKE_FIELDS(message, FIELDS, ret, error);
}

int message_ack(const json_t *message, struct message_ack *ret, struct error *error)
{
    static const struct field FIELDS[] = {
        {"revision", INTEGER, AT(message_ack, revision)},
        {"errors", ARRAY, 0, MESSAGE_ERRORS_MAX, AT(message_ack, errors), .check = is_error_item,
         .what = "must hold objects with \"key\" and \"message\""},
    };

    return TAKE_FIELDS(message, FIELDS, ret, error);
}

int message_facts(const json_t *message, const json_t **ret_facts, struct error *error)
{
    static const struct field FIELDS[] = {{"facts", OBJECT, .max = MESSAGE_FACTS_MAX}};

    return TAKE_FIELDS(message, FIELDS, ret_facts, error);
}

int message_status(const json_t *message, const json_t **ret_status, struct error *error)
{
    static const struct field FIELDS[] = {{"status", OBJECT, .max = 64}};

    return TAKE_FIELDS(message, FIELDS, ret_status, error);
}

int message_counters(const json_t *message, const json_t **ret_values, struct error *error)
{
    static const struct field FIELDS[] = {
        {"values", OBJECT, .max = MESSAGE_COUNTERS_MAX, .check = is_count,
         .what = "must hold names with [packets, bytes] or null"}};

    return TAKE_FIELDS(message, FIELDS, ret_values, error);
}

int message_answer(const json_t *message, struct message_answer *ret, struct error *error)
{
    static const struct field FIELDS[] = {
        {"id", INTEGER, AT(message_answer, id)},
        {"body", OBJECT, 1, 4096, AT(message_answer, body)},
        {"error", OBJECT, 1, 16, AT(message_answer, error)},
    };
    int rc;

    ret->body = ret->error = NULL;
    rc = TAKE_FIELDS(message, FIELDS, ret, error);
    if (rc == 0 && !ret->body == !ret->error) {
        rc = error_set(error, 400, "/body", "\"body\" or \"error\" is required, not both");
    }
    return rc;
}

int message_renew(const json_t *message, const char **ret_csr, struct error *error)
{
    static const struct field FIELDS[] = {{"csr", TEXT, .max = MESSAGE_PEM_MAX}};

    return TAKE_FIELDS(message, FIELDS, ret_csr, error);
}

/* --- server to agent --- */

int message_joined(const json_t *message, struct message_joined *ret, struct error *error)
{
    static const struct field FIELDS[] = {
        {"id", TEXT, AT(message_joined, id), NODE_ID},
        {"certificate", TEXT, .max = MESSAGE_CHAIN_MAX, AT(message_joined, certificate)},
        {"root", TEXT, .max = MESSAGE_CHAIN_MAX, AT(message_joined, root)},
    };

    return TAKE_FIELDS(message, FIELDS, ret, error);
}

int message_welcome(const json_t *message, struct message_welcome *ret, struct error *error)
{
    static const struct field FIELDS[] = {
        {"version", VERSION},
        {"id", TEXT, AT(message_welcome, id), NODE_ID},
        {"time", TEXT, .max = 64, AT(message_welcome, time), .check = is_time,
         .what = "must be a time as in RFC 3339"},
        {"address", TEXT, 1, 64, AT(message_welcome, address), PRINTABLE},
        {"authority", TEXT, 1, AT(message_welcome, authority), KEY_ID},
    };

    return TAKE_FIELDS(message, FIELDS, ret, error);
}

#define PUT_FIELDS                                                                                \
    {"key", TEXT, .max = MESSAGE_KEY_MAX, AT(message_put, key), PRINTABLE},                       \
    {                                                                                             \
        "revision", INTEGER, AT(message_put, revision)                                            \
    }

int message_put(const json_t *message, struct message_put *ret, struct error *error)
{
    static const struct field FIELDS[] = {
        PUT_FIELDS,
        {"body", OBJECT, .max = 4096, AT(message_put, body)},
    };

    return TAKE_FIELDS(message, FIELDS, ret, error);
}

int message_delete(const json_t *message, struct message_put *ret, struct error *error)
{
    static const struct field FIELDS[] = {PUT_FIELDS};

    int rc = TAKE_FIELDS(message, FIELDS, ret, error);
    if (rc == 0) {
        ret->body = NULL;
    }
    return rc;
}

int message_sync(const json_t *message, struct message_sync *ret, struct error *error)
{
    static const struct field FIELDS[] = {
        {"revision", INTEGER, AT(message_sync, revision)},
        {"digest", TEXT, AT(message_sync, digest), DIGEST},
        {"authority", TEXT, 1, AT(message_sync, authority), KEY_ID},
    };

    return TAKE_FIELDS(message, FIELDS, ret, error);
}

int message_renewed(const json_t *message, const char **ret_certificate, struct error *error)
{
    static const struct field FIELDS[] = {{"certificate", TEXT, .max = MESSAGE_CHAIN_MAX}};

    return TAKE_FIELDS(message, FIELDS, ret_certificate, error);
}

int message_ask(const json_t *message, struct message_ask *ret, struct error *error)
{
    static const struct field FIELDS[] = {
        {"id", INTEGER, AT(message_ask, id)},
        {"what", TEXT, .max = 64, AT(message_ask, what), PRINTABLE},
    };

    return TAKE_FIELDS(message, FIELDS, ret, error);
}

int message_refused(const json_t *message, struct message_refused *ret, struct error *error)
{
    static const struct field FIELDS[] = {
        {"facts", ARRAY, 0, MESSAGE_FACTS_MAX, AT(message_refused, facts), .check = is_name,
         .what = "must hold names of facts"},
        {"detail", TEXT, .max = 1024, AT(message_refused, detail)},
    };

    return TAKE_FIELDS(message, FIELDS, ret, error);
}

/* --- errors --- */

void message_read_error(const json_t *message, struct error *ret)
{
    const char *detail = json_get_string(message, "detail", NULL);
    json_int_t status = json_get_integer(message, "status", 0);

    if (!detail || status < 400 || status > 599) {
        error_set(ret, 500, NULL, "the server sent an error that can't be read");
        return;
    }
    error_set(ret, (int)status, json_get_string(message, "pointer", ""), "%s", detail);
}

json_t *message_error(const struct error *error)
{
    /* a text that was cut could end within a character, which JSON can't hold */
    json_t *detail = json_string(error->detail), *pointer = json_string(error->pointer);

    return json_pack("{s:s,s:i,s:o,s:o}", "type", "error", "status",
                     error->status ? error->status : 500, "pointer",
                     pointer ? pointer : json_string(""), "detail",
                     detail ? detail : json_string("the reason can't be shown"));
}
