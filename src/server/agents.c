#include "server/agents.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "lib/log.h"
#include "lib/mem.h"
#include "link/message.h"
#include "server/agents-internal.h"

static const char NODES_PREFIX[] = "object/nodes/";

/* --- life --- */

static void agents_unref(struct agents *agents)
{
    if (--agents->refs == 0) {
        omap_clear(&agents->by_node, NULL);
        free(agents);
    }
}

struct agent *agent_ref(struct agent *agent)
{
    agent->refs++;
    return agent;
}

void agent_unref(struct agent *agent)
{
    if (--agent->refs == 0) {
        agents_unref(agent->agents);
        free(agent->id);
        free(agent->version);
        free(agent);
    }
}

void agent_send(struct agent *agent, json_t *message)
{
    if (!message) {
        abort(); /* a format of ours is wrong */
    }
    if (agent->link) {
        link_send(agent->link, message);
    }
    json_decref(message);
}

void agent_refuse(struct agent *agent, const struct error *error)
{
    agent_send(agent, message_error(error));
    if (agent->link) {
        link_close(agent->link);
    }
}

static void undirty(struct agent *agent)
{
    struct agent **at = &agent->agents->dirty;

    while (agent->is_dirty && *at != agent) {
        at = &(*at)->next_dirty;
    }
    if (agent->is_dirty) {
        *at = agent->next_dirty;
        agent->is_dirty = 0;
    }
}

static void on_closed(struct link *link, void *arg, const struct error *error)
{
    struct agent *agent = arg;
    struct agents *agents = agent->agents;

    agent->link = NULL;
    undirty(agent);
    agent_drop_questions(agent);
    /* a newer link of the same node may have taken the place */
    if (agent->id && omap_get(&agents->by_node, agent->id) == agent) {
        omap_del(&agents->by_node, agent->id);
        fleet_disconnected(agents->deployment, agent->id, error->detail);
        log_info("agent disconnected", "node", agent->id, "reason", error->detail, NULL);
    } else if (!agent->id) {
        log_debug("link closed", "address", link_peer_address(link), "reason", error->detail,
                  NULL);
    }
    agent_unref(agent);
}

static const struct link_handler HANDLER = {
    .message = agent_message,
    .closed = on_closed,
};

static const struct link_handler *on_accepted(void *arg, struct link *link, void **ret_arg)
{
    struct agents *agents = arg;
    struct agent *agent = xnew(struct agent);

    agent->agents = agents;
    agent->refs = 1;
    agent->link = link;
    agents->refs++;
    *ret_arg = agent;
    return &HANDLER;
}

/* --- what nodes must have --- */

static void send_resource(void *arg, const char *key, int64_t revision, const json_t *body)
{
    struct agent *agent = arg;

    if (body) {
        agent_send(agent, json_pack("{s:s,s:s,s:I,s:O}", "type", "put", "key", key, "revision",
                                    (json_int_t)revision, "body", body));
    } else {
        agent_send(agent, json_pack("{s:s,s:s,s:I}", "type", "delete", "key", key, "revision",
                                    (json_int_t)revision));
    }
}

void agent_send_sync(struct agent *agent)
{
    struct deployment *d = agent->agents->deployment;
    char hex[DIGEST_HEX_SIZE];

    agent->sent_revision = deployment_revision(d);
    agent_send(agent, json_pack("{s:s,s:I,s:s,s:s}", "type", "sync", "revision",
                                (json_int_t)agent->sent_revision, "digest",
                                deployment_digest(d, agent->id, hex), "authority",
                                pki_authority_id(agent->agents->pki, PKI_AGENT)));
}

void agent_send_snapshot(struct agent *agent)
{
    agent_send(agent, json_pack("{s:s}", "type", "snapshot"));
    deployment_snapshot(agent->agents->deployment, agent->id, send_resource, agent);
    agent_send_sync(agent);
}

void agent_send_changes(struct agent *agent)
{
    int rc = deployment_deltas(agent->agents->deployment, agent->id, agent->sent_revision,
                               send_resource, agent);

    if (rc < 0) {
        agent_send_snapshot(agent);
    } else {
        agent_send_sync(agent);
    }
}

static void on_flush(uv_idle_t *flusher)
{
    struct agents *agents = flusher->data;

    while (agents->dirty) {
        struct agent *agent = agents->dirty;
        undirty(agent);
        if (agent->link && agent->state == AGENT_SYNCED) {
            agent_send_changes(agent);
        }
    }
    uv_idle_stop(flusher);
}

void agent_mark_dirty(struct agent *agent)
{
    struct agents *agents = agent->agents;

    if (!agent->is_dirty) {
        agent->is_dirty = 1;
        agent->next_dirty = agents->dirty;
        agents->dirty = agent;
        uv_idle_start(&agents->flusher, on_flush);
    }
}

static void on_node_changed(void *arg, const char *node, int64_t revision)
{
    struct agents *agents = arg;
    struct agent *agent = omap_get(&agents->by_node, node);

    if (agent) {
        agent_mark_dirty(agent);
    }
}

/* A node that is gone is cut off now; one that asked for it is answered when that is written. */
static void on_key_changed(void *arg, const char *key, int64_t revision, const json_t *value)
{
    struct agents *agents = arg;
    struct error error;

    if (value || strncmp(key, NODES_PREFIX, strlen(NODES_PREFIX)) != 0) {
        return;
    }
    struct agent *agent = omap_get(&agents->by_node, key + strlen(NODES_PREFIX));
    if (agent && agent->state != AGENT_LEAVING) {
        error_set(&error, 410, NULL, "this node was deleted");
        agent_refuse(agent, &error);
    }
}

/* --- the listener --- */

int agents_new(uv_loop_t *loop, struct deployment *deployment, struct pki *pki,
               const struct agents_config *config, struct agents **ret_agents, struct error *error)
{
    const struct link_server_config server = {
        .address = config->address,
        .port = config->port,
        .certificate_pem = config->certificate_pem,
        .key_pem = config->key_pem,
        .client_ca_pem = pki_agent_chain_pem(pki),
        .handshakes_max = AGENTS_HANDSHAKES_MAX,
        .links_max = config->links_max,
        .unproven_per_source_max = AGENTS_STRANGERS_MAX,
        .limits = config->limits,
    };
    struct agents *agents = xnew(struct agents);

    agents->loop = loop;
    agents->deployment = deployment;
    agents->pki = pki;
    agents->listener = (struct deployment_listener){
        .node_changed = on_node_changed,
        .key_changed = on_key_changed,
        .arg = agents,
    };
    int rc = link_server_new(loop, &server, on_accepted, agents, &agents->server, error);
    if (rc < 0) {
        free(agents);
        return rc;
    }
    uv_idle_init(loop, &agents->flusher);
    agents->flusher.data = agents;
    agents->refs = 2;
    deployment_listen(deployment, &agents->listener);
    *ret_agents = agents;
    return 0;
}

static void on_flusher_closed(uv_handle_t *handle)
{
    agents_unref(handle->data);
}

static void on_server_closed(void *arg)
{
    struct agents *agents = arg;

    uv_close((uv_handle_t *)&agents->flusher, on_flusher_closed);
    if (agents->done) {
        agents->done(agents->done_arg);
    }
    agents_unref(agents);
}

void agents_close(struct agents *agents, void (*done)(void *arg), void *arg)
{
    agents->done = done;
    agents->done_arg = arg;
    deployment_unlisten(agents->deployment, &agents->listener);
    link_server_close(agents->server, on_server_closed, agents);
}

int agents_certificate(struct agents *agents, const char *certificate_pem, const char *key_pem,
                       struct error *error)
{
    return link_server_renew(agents->server, certificate_pem, key_pem,
                             pki_agent_chain_pem(agents->pki), error);
}

void agents_announce(struct agents *agents)
{
    omap_foreach (e, &agents->by_node) {
        agent_mark_dirty(e->value);
    }
}

uint16_t agents_port(const struct agents *agents)
{
    return link_server_port(agents->server);
}
