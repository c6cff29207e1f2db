/* exchange.h - one question to one of the servers, and its answer; for `join` and `leave`. */
#pragma once

#include <jansson.h>

#include "link/link.h"

struct exchange {
    char *const *servers; /* NULL-terminated "host:port", tried in turn */
    const char *fingerprint;
    const char *certificate_pem; /* NULL to join */
    const char *key_pem;
    const json_t *first;  /* sent when connected; NULL: nothing */
    const char *greeting; /* the type that answers `first`; NULL: none does */
    const json_t *question;
    const char *answer; /* the type of the message that is waited for */
};

enum {
    EXCHANGE_MSEC = 20000, /* at most, for each server */
};

/* 0 and the answer, a new reference. What a server refuses is final: its sentence is in *error.
 * -ECONNREFUSED if it refused `first` already, so that the question wasn't asked.
 * -EHOSTUNREACH (503) if none could be reached; the sentence is about the last one. */
int exchange_run(const struct exchange *exchange, json_t **ret_answer, struct error *error);
