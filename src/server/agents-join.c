/* agents-join.c - certificates for machines: at their joining, and again before they expire. */
#include "core/join.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "lib/log.h"
#include "lib/mem.h"
#include "link/message.h"
#include "server/agents-internal.h"

enum {
    ENROL_TRIES_MAX = 8,
};

/* A signing that is under way. */
struct signing {
    struct agent *agent;
    int is_renewal;
    unsigned tries;
    char *id, *csr, *key_id, *chain, *serial;
    char authority[PKI_ID_SIZE]; /* who has signed */
    int64_t expires_usec;
};

static struct signing *signing_new(struct agent *agent, const char *csr, struct error *error)
{
    char *key_id = NULL;

    if (pki_csr_key_id(csr, &key_id, error) < 0) {
        return NULL;
    }
    struct signing *signing = xnew(struct signing);
    signing->agent = agent_ref(agent);
    signing->csr = xstrdup(csr);
    signing->key_id = key_id;
    return signing;
}

static void signing_free(struct signing *signing)
{
    agent_unref(signing->agent);
    free(signing->id);
    free(signing->csr);
    free(signing->key_id);
    free(signing->chain);
    free(signing->serial);
    free(signing);
}

static void fail(struct signing *signing, const struct error *error)
{
    signing->agent->is_renewing = 0;
    agent_refuse(signing->agent, error);
    signing_free(signing);
}

/* One that is connected and can't renew now goes on with what it has, and asks again: its network
 * must not suffer from the server's full disk. */
static void fail_to_store(struct signing *signing, int rc)
{
    const char *why = rc == -EAGAIN ? "too many for this node within a day" : strerror(-rc);
    struct error error;

    if (signing->is_renewal && rc != -ENOENT) {
        log_error("a certificate can't be stored", "node", signing->id, "error", why, NULL);
        signing->agent->is_renewing = 0;
        signing_free(signing);
        return;
    }
    error_set(&error, rc == -ENOENT ? 410 : error_status(rc), NULL,
              rc == -ENOENT ? "this node was deleted" : "the certificate can't be stored: %s",
              why);
    fail(signing, &error);
}

static void enrol(struct signing *signing);

/* The certificate's serial is stored: now it may be used. */
static void on_enrolled(void *arg, int rc, int64_t revision)
{
    struct signing *signing = arg;
    struct agent *agent = signing->agent;

    if (rc == -ECANCELED && ++signing->tries < ENROL_TRIES_MAX) {
        enrol(signing); /* somebody else has changed the node just now */
        return;
    }
    if (rc < 0) {
        fail_to_store(signing, rc);
        return;
    }
    if (signing->is_renewal) {
        agent->is_renewing = 0;
        agent_send(agent,
                   json_pack("{s:s,s:s}", "type", "renewed", "certificate", signing->chain));
    } else {
        agent_send(agent, json_pack("{s:s,s:s,s:s,s:s}", "type", "joined", "id", signing->id,
                                    "certificate", signing->chain, "root",
                                    pki_root_pem(agent->agents->pki)));
        if (agent->link) {
            link_close(agent->link);
        }
    }
    log_info(signing->is_renewal ? "certificate renewed" : "node joined", "node", signing->id,
             "serial", signing->serial, NULL);
    signing_free(signing);
}

static void enrol(struct signing *signing)
{
    const struct certificate certificate = {
        .serial = signing->serial,
        .authority = signing->authority,
        .expires_usec = signing->expires_usec,
    };
    deployment_enrolled(signing->agent->agents->deployment, signing->id, signing->key_id,
                        &certificate, on_enrolled, signing);
}

static void sign(struct signing *signing)
{
    struct agents *agents = signing->agent->agents;
    struct error error;

    if (pki_sign_node(agents->pki, signing->csr, signing->id, &signing->chain, &signing->serial,
                      &signing->expires_usec, &error) < 0) {
        fail(signing, &error);
        return;
    }
    snprintf(signing->authority, sizeof signing->authority, "%s",
             pki_authority_id(agents->pki, PKI_AGENT));
    enrol(signing);
}

static void on_joined(void *arg, int rc, const struct write_result *result,
                      const struct error *error)
{
    struct signing *signing = arg;

    if (rc < 0) {
        log_warn("join refused", "address",
                 signing->agent->link ? link_peer_address(signing->agent->link) : "-", "reason",
                 error->detail, NULL);
        fail(signing, error);
        return;
    }
    signing->id = xstrdup(result->id);
    sign(signing);
}

int agent_join(struct agent *agent, const json_t *message, struct error *error)
{
    struct message_join fields = {0};
    int rc = message_join(message, &fields, error);

    if (rc < 0) {
        return rc;
    }
    struct signing *signing = signing_new(agent, fields.csr, error);
    if (!signing) {
        return -EINVAL;
    }
    const struct join join = {
        .token_id = fields.token,
        .secret = fields.secret,
        .id = fields.id,
        .hostname = fields.hostname,
        .services = fields.services,
        .endpoint = fields.endpoint,
        .routes = fields.routes,
        .key_id = signing->key_id,
        .source = link_peer_address(agent->link),
    };
    agent->state = AGENT_JOINING;
    deployment_join(agent->agents->deployment, &join, on_joined, signing);
    return 0;
}

/* The link's certificate was of the node's present key when it said hello; whoever holds that may
 * change it. */
int agent_renew(struct agent *agent, const json_t *message, struct error *error)
{
    const char *csr;
    int rc = message_renew(message, &csr, error);

    if (rc < 0) {
        return rc;
    }
    if (agent->is_renewing) {
        return error_set(error, 429, NULL, "a renewal is under way");
    }
    struct signing *signing = signing_new(agent, csr, error);
    if (!signing) {
        return -EINVAL;
    }
    signing->is_renewal = 1;
    signing->id = xstrdup(agent->id);
    agent->is_renewing = 1;
    sign(signing);
    return 0;
}
