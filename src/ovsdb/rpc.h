/* rpc.h - what an OVSDB server's messages say. Pure. Private to src/ovsdb.
 *
 * Source: RFC 7047 sections 4 (JSON-RPC), 3.1 (errors), 4.1.3 (what a transaction results in). */
#pragma once

#include <jansson.h>

#include "lib/error.h"

enum rpc_kind {
    RPC_ECHO,   /* a request; answer with `id` and `payload` */
    RPC_UPDATE, /* payload: table updates */
    RPC_RESULT, /* to our request `number`; payload: the result */
    RPC_ERROR,  /* to our request `number`; payload: the error */
    RPC_OTHER,  /* well-formed and of no interest */
};

struct rpc {
    enum rpc_kind kind;
    const json_t *id; /* all borrowed from the message */
    json_int_t number;
    const json_t *payload;
};

/* -EBADMSG if it is no message of JSON-RPC. */
int rpc_read(const json_t *message, struct rpc *ret_rpc);

/* What the server says of a request that failed. `what` was refused. */
int rpc_explain(const json_t *error_value, const char *what, struct error *error);

/* Whether all operations of a transaction went well; else which didn't, and why. */
int rpc_check_results(const json_t *results, const json_t *ops, struct error *error);
