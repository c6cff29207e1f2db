#include "ovsdb/rpc.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "lib/json.h"
#include "lib/mem.h"

static int read_request(const json_t *message, const char *method, struct rpc *rpc)
{
    const json_t *params = json_object_get(message, "params");

    if (!json_is_array(params)) {
        return -EBADMSG;
    }
    if (strcmp(method, "echo") == 0) {
        *rpc = (struct rpc){
            .kind = RPC_ECHO, .id = json_object_get(message, "id"), .payload = params};
        return rpc->id ? 0 : -EBADMSG;
    }
    if (strcmp(method, "update") == 0) {
        *rpc = (struct rpc){.kind = RPC_UPDATE, .payload = json_array_get(params, 1)};
        return rpc->payload ? 0 : -EBADMSG;
    }
    *rpc = (struct rpc){.kind = RPC_OTHER};
    return 0;
}

int rpc_read(const json_t *message, struct rpc *ret_rpc)
{
    const char *method = json_string_value(json_object_get(message, "method"));
    const json_t *id = json_object_get(message, "id");
    const json_t *result = json_object_get(message, "result");
    const json_t *error = json_object_get(message, "error");

    if (method) {
        return read_request(message, method, ret_rpc);
    }
    if (!id || (!result && !error)) {
        return -EBADMSG;
    }
    if (!json_is_integer(id)) {
        *ret_rpc = (struct rpc){.kind = RPC_OTHER}; /* to our echo, or not to us */
        return 0;
    }
    int is_error = error && !json_is_null(error);
    *ret_rpc = (struct rpc){.kind = is_error ? RPC_ERROR : RPC_RESULT,
                            .id = id,
                            .number = json_integer_value(id),
                            .payload = is_error ? error : result};
    return ret_rpc->payload ? 0 : -EBADMSG;
}

/* --- errors --- */

static int status_of(const char *word)
{
    static const struct {
        const char *word;
        int status;
    } WORDS[] = {
        {"constraint violation", 409},
        {"referential integrity violation", 409},
        {"domain error", 400},
        {"range error", 400},
        {"timed out", 408},
        {"not owner", 403},
        {"permission error", 403},
        {"resources exhausted", 507},
        {"I/O error", 500},
        {"unknown database", 404},
    };

    for (size_t i = 0; i < ARRAY_LEN(WORDS); i++) {
        if (strcmp(word, WORDS[i].word) == 0) {
            return WORDS[i].status;
        }
    }
    return 400;
}

int rpc_explain(const json_t *error_value, const char *what, struct error *error)
{
    const char *word = json_is_string(error_value)
                           ? json_string_value(error_value)
                           : json_get_string(error_value, "error", "error");
    const char *details = json_get_string(error_value, "details", NULL);

    return error_set(error, status_of(word), NULL, "the database refused %s: %s%s%s%s", what,
                     details ? details : word, details ? " (" : "", details ? word : "",
                     details ? ")" : "");
}

static void name_operation(const json_t *ops, size_t index, char *text, size_t size)
{
    const json_t *op = json_array_get(ops, index);

    if (op) {
        snprintf(text, size, "operation %zu (%s %s)", index, json_get_string(op, "op", "?"),
                 json_get_string(op, "table", ""));
    } else {
        snprintf(text, size, "the transaction"); /* at its end */
    }
}

int rpc_check_results(const json_t *results, const json_t *ops, struct error *error)
{
    char what[128];
    json_t *result;
    size_t i;

    if (!json_is_array(results)) {
        return error_set(error, 503, NULL, "the database's answer isn't a list of results");
    }
    json_array_foreach (results, i, result) {
        if (json_object_get(result, "error")) {
            name_operation(ops, i, what, sizeof what);
            return rpc_explain(result, what, error);
        }
    }
    if (json_array_size(results) < json_array_size(ops)) {
        return error_set(error, 503, NULL, "the database answered fewer operations than asked");
    }
    return 0;
}
