#include "agent/renewal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/hash.h"
#include "lib/log.h"
#include "lib/mem.h"
#include "pki/pki.h"

enum {
    CHECK_MSEC = 3600 * 1000,
    SPREAD_MSEC = 5000,
    GAP_MSEC = 10000, /* between two, should the server never be content */
};

struct renewal {
    struct renewal_config config;
    uv_timer_t check, soon;
    int handles;
    int is_connected;
    int is_asked;
    char *unsaved;         /* one that came and couldn't be written; NULL: none */
    uint64_t renewed_msec; /* uv_now() when the last one was taken; 0: none */
    char issuer[PKI_ID_SIZE];
    char authority[PKI_ID_SIZE]; /* as last announced, or "" */
};

static int is_due(const struct renewal *r)
{
    return identity_days_left(r->config.identity) < PKI_RENEW_DAYS;
}

static int is_of_another(const struct renewal *r)
{
    return r->authority[0] != '\0' && strcmp(r->authority, r->issuer) != 0;
}

static void read_issuer(struct renewal *r)
{
    if (pki_issuer_id(r->config.identity->cert_pem, r->issuer) < 0) {
        r->issuer[0] = '\0';
    }
}

static void ask(struct renewal *r)
{
    const struct identity *identity = r->config.identity;
    struct error error = {0};
    char *csr = NULL;

    if (!r->is_connected || r->is_asked || (!is_due(r) && !is_of_another(r))) {
        return;
    }
    if (pki_make_csr_for(identity->key_pem, identity->id, &csr, &error) < 0) {
        log_error("cannot ask for a new certificate", "reason", error.detail, NULL);
        return;
    }
    r->is_asked = 1;
    r->config.ask(r->config.arg, csr);
    free(csr);
}

static void on_soon(uv_timer_t *timer);

static void ask_soon(struct renewal *r)
{
    uint64_t now = uv_now(r->soon.loop);
    uint32_t random;

    if (r->is_asked || !is_of_another(r) || uv_is_active((uv_handle_t *)&r->soon)) {
        return;
    }
    random_bytes(&random, sizeof random);
    uint64_t gap = r->renewed_msec && now - r->renewed_msec < GAP_MSEC ? GAP_MSEC : 0;
    uv_timer_start(&r->soon, on_soon, gap + random % SPREAD_MSEC, 0);
}

/* One that can't be written is kept for the next try. To ask for others instead would in the end
 * revoke the one in use: of a node the server keeps only so many (core/revoke.c). */
static void take(struct renewal *r, char *certificate)
{
    struct identity *identity = r->config.identity;
    struct error error = {0};
    int rc = identity_renew(r->config.state_dir, identity, certificate, &error);

    r->renewed_msec = uv_now(r->soon.loop);
    if (rc < 0) {
        log_error("the new certificate isn't taken", "reason", error.detail, NULL);
    } else {
        log_info("certificate renewed", "node", identity->id, NULL);
    }
    if (rc < 0 && error.status != 400) {
        r->unsaved = certificate;
    } else {
        free(certificate);
    }
    read_issuer(r);
    ask_soon(r); /* again, or rolled over once more meanwhile */
}

static void renew(struct renewal *r)
{
    if (r->unsaved) {
        take(r, TAKE(r->unsaved));
    } else {
        ask(r);
    }
}

static void on_soon(uv_timer_t *timer)
{
    renew(timer->data);
}

/* Whatever was asked an hour ago isn't answered any more. */
static void on_check(uv_timer_t *timer)
{
    struct renewal *r = timer->data;

    r->is_asked = 0;
    renew(r);
}

void renewal_announced(struct renewal *r, const char *authority)
{
    if (authority) {
        snprintf(r->authority, sizeof r->authority, "%s", authority);
        ask_soon(r);
    }
}

void renewal_welcomed(struct renewal *r, const char *authority)
{
    r->is_connected = 1;
    read_issuer(r);
    if (r->unsaved || is_due(r)) {
        renew(r);
    }
    renewal_announced(r, authority);
}

void renewal_disconnected(struct renewal *r)
{
    r->is_connected = 0;
    r->is_asked = 0;
}

void renewal_renewed(struct renewal *r, const char *certificate)
{
    r->is_asked = 0;
    free(TAKE(r->unsaved));
    take(r, xstrdup(certificate));
}

/* --- life --- */

struct renewal *renewal_new(uv_loop_t *loop, const struct renewal_config *config)
{
    struct renewal *r = xnew(struct renewal);

    r->config = *config;
    r->handles = 2;
    uv_timer_init(loop, &r->check);
    uv_timer_init(loop, &r->soon);
    r->check.data = r->soon.data = r;
    uv_timer_start(&r->check, on_check, CHECK_MSEC, CHECK_MSEC);
    return r;
}

static void on_closed(uv_handle_t *handle)
{
    struct renewal *r = handle->data;

    if (--r->handles == 0) {
        free(r->unsaved);
        free(r);
    }
}

void renewal_free(struct renewal *r)
{
    if (!r) {
        return;
    }
    uv_close((uv_handle_t *)&r->check, on_closed);
    uv_close((uv_handle_t *)&r->soon, on_closed);
}
