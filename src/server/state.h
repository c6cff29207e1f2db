/* state.h - the server's durable state and what it needs to be opened: for every command. */
#pragma once

#include <uv.h>

#include "core/deployment.h"
#include "pki/pki.h"
#include "server/config.h"

struct state {
    uv_loop_t loop;
    struct store *store;
    struct deployment *deployment;
    struct pki *pki;
    char **advertise; /* where agents find us: "host" or "host:port", NULL-terminated */
    char **names;     /* for our certificates: hosts and addresses, NULL-terminated */
};

/* Makes the folder where it is missing, opens database and authority. */
int state_open(struct state *state, const struct config *config, struct error *error);
void state_close(struct state *state);

/* True when nobody can log in yet: the state is fresh. */
int state_is_empty(const struct state *state);
