/* config.h - which server to talk to, whom to trust, and who we are.
 *
 * Each is taken from the first of: an option (--url, --ca), the environment (CNSMO_URL, CNSMO_CA,
 * CNSMO_TOKEN, CNSMO_USER with CNSMO_PASSWORD), what `cnsmo login` stored. What was stored is one
 * piece: its certificate and token are used for its URL only, so that a token never reaches
 * another server.
 *
 * Stored under $XDG_CONFIG_HOME/cnsmo or ~/.config/cnsmo (0700): session.json and ca.pem, both
 * 0600. A session that others can read, or that is damaged, isn't used: `problem` says so, for the
 * commands that would need it. */
#pragma once

#include "lib/error.h"

struct config {
    char *folder;     /* where login stores; NULL: no home */
    char *url;        /* "https://host:8443", without a slash at the end; NULL: not known */
    char *ca;         /* file; NULL: the system's authorities */
    char *token;      /* NULL: none */
    char *user;       /* NULL: none; with a password: log in for this one command */
    char *password;   /* NULL: none */
    char *stored_url; /* NULL: nothing stored that can be used */
    char *problem;    /* why what is stored can't be used; NULL: it can, or there is nothing */
};

/* `url` and `ca` are the options; NULL: not given. -EINVAL with a sentence. */
int config_load(struct config *config, const char *url, const char *ca, struct error *error);
void config_done(struct config *config); /* wipes the secrets */

/* Keeps a session. `ca_pem` NULL: the system's authorities are trusted. */
int config_store(const struct config *config, const char *user, const char *token,
                 const char *expires, const char *ca_pem, struct error *error);

/* Removes what login stored. Fine if there is nothing. */
int config_forget(const struct config *config, struct error *error);

/* "host", "host:port" or "https://host[:port][/]" to "https://host:port". -EINVAL for anything
 * else: another scheme, a user, a path, a query. */
int url_normalise(const char *text, char **ret_url, struct error *error);

/* Wipes a text and frees it; NULL is fine. */
void free_secret(char *secret);
