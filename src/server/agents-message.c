/* agents-message.c - what nodes say, once their certificate is known. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "core/join.h"
#include "lib/clock.h"
#include "lib/ip.h"
#include "lib/json.h"
#include "lib/log.h"
#include "lib/mem.h"
#include "link/message.h"
#include "server/agents-internal.h"

/* --- hello --- */

/* Is the one who speaks still the node of that name? */
static int check_node(const struct agent *agent, const char *id, struct error *error)
{
    const char *node = link_peer_node(agent->link);
    const char *key_id = deployment_node_key(agent->agents->deployment, node);

    if (strcmp(id, node) != 0) {
        return error_set(error, 400, "/id", "\"id\" is %s, but the certificate is %s's", id, node);
    }
    if (!key_id) {
        return error_set(error, 410, NULL, "this node was deleted");
    }
    if (strcmp(key_id, link_peer_key_id(agent->link)) != 0) {
        return error_set(error, 410, NULL, "this node was deleted, and another machine is %s now",
                         node);
    }
    return 0;
}

static void tell_duplicate(struct agent *older, struct agent *newer)
{
    uint64_t now = uv_now(older->agents->loop);
    _cleanup_free_ char *name = xasprintf("node:%s", older->id);
    _cleanup_free_ char *subject = xasprintf("nodes/%s", older->id);
    _cleanup_free_ char *message =
        xasprintf("a second connection of %s from %s was refused: the one from %s is alive",
                  older->id, link_peer_address(newer->link), link_peer_address(older->link));
    struct actor actor = {
        .name = name, .source = link_peer_address(newer->link), .role = ROLE_NONE};

    if (older->duplicate_told_msec != 0 &&
        now - older->duplicate_told_msec < DUPLICATE_EVENT_MSEC) {
        return;
    }
    older->duplicate_told_msec = now > 0 ? now : 1;
    deployment_event(older->agents->deployment, &actor, "duplicate-agent", subject, message);
    log_warn("duplicate agent", "node", older->id, "address", link_peer_address(newer->link),
             NULL);
}

/* Makes room for a newer link of the same process; any other has to wait for the older's end,
 * which the probe hastens if its peer is gone. */
static int check_duplicate(struct agent *agent, const struct message_hello *hello,
                           struct error *error)
{
    struct agent *older = omap_get(&agent->agents->by_node, hello->id);

    if (!older) {
        return 0;
    }
    if (older->started == hello->started) {
        omap_del(&agent->agents->by_node, hello->id);
        struct error replaced;
        error_set(&replaced, 409, NULL, "a newer connection of this agent took the place");
        agent_refuse(older, &replaced);
        return 0;
    }
    agent_send(older, json_pack("{s:s}", "type", "pong"));
    tell_duplicate(older, agent);
    return error_set(error, 409, NULL, "another agent of %s is connected", hello->id);
}

static void report_seen(struct agent *agent)
{
    const char *address = link_peer_address(agent->link);
    _cleanup_free_ char *server =
        xasprintf("%s:%u", link_local_address(agent->link), agents_port(agent->agents));
    uint32_t number;

    if (ip4_parse(address, &number) == 0) { /* facts are IPv4 so far */
        json_t *facts =
            json_pack("{s:{s:s, s:s}}", "core.seen", "address", address, "server", server);
        deployment_report(agent->agents->deployment, agent->id, facts, 1, NULL, NULL);
        json_decref(facts);
    }
}

static void welcome(struct agent *agent, const struct message_hello *hello)
{
    struct deployment *d = agent->agents->deployment;
    char now[CLOCK_TEXT_SIZE], digest[DIGEST_HEX_SIZE];

    agent_send(agent,
               json_pack("{s:s,s:i,s:s,s:s,s:s,s:s}", "type", "welcome", "version", LINK_VERSION,
                         "id", agent->id, "time", clock_format(clock_now_usec(), now), "address",
                         link_peer_address(agent->link), "authority",
                         pki_authority_id(agent->agents->pki, PKI_AGENT)));
    agent->sent_revision = hello->revision;
    if (strcmp(hello->digest, deployment_digest(d, agent->id, digest)) == 0) {
        agent_send_sync(agent);
    } else {
        agent_send_changes(agent);
    }
}

static int on_hello(struct agent *agent, const json_t *message, struct error *error)
{
    struct message_hello hello;
    int rc = message_hello(message, &hello, error);

    rc = rc < 0 ? rc : check_node(agent, hello.id, error);
    rc = rc < 0 ? rc : check_duplicate(agent, &hello, error);
    if (rc < 0) {
        return rc;
    }
    agent->id = xstrdup(hello.id);
    agent->version = xstrdup(hello.agent_version);
    agent->started = hello.started;
    agent->state = AGENT_SYNCED;
    omap_put(&agent->agents->by_node, agent->id, agent);
    fleet_connected(agent->agents->deployment, agent->id, link_peer_address(agent->link));
    log_info("agent connected", "node", agent->id, "address", link_peer_address(agent->link),
             "version", agent->version, NULL);
    welcome(agent, &hello);
    report_seen(agent);
    return 0;
}

/* --- facts --- */

struct report {
    struct agent *agent;
    json_t *names;
};

static void on_reported(void *arg, int rc, const struct write_result *result,
                        const struct error *error)
{
    struct report *report = arg;

    report->agent->reports--;
    if (rc < 0) {
        json_t *detail = json_string(error->detail); /* NULL if cut within a character */
        agent_send(report->agent,
                   json_pack("{s:s,s:O,s:o}", "type", "refused", "facts", report->names, "detail",
                             detail ? detail : json_string("not taken")));
    }
    json_decref(report->names);
    agent_unref(report->agent);
    free(report);
}

static int on_facts(struct agent *agent, const json_t *message, struct error *error)
{
    const json_t *facts, *value;
    const char *name;
    int rc = message_facts(message, &facts, error);

    if (rc < 0) {
        return rc;
    }
    if (agent->reports >= AGENT_REPORTS_MAX) {
        return error_set(error, 429, NULL, "too many reports at once");
    }
    struct report *report = xnew(struct report);
    report->agent = agent_ref(agent);
    report->names = json_array();
    json_object_foreach ((json_t *)facts, name, value) {
        json_array_append_new(report->names, json_string(name));
    }
    agent->reports++;
    deployment_report(agent->agents->deployment, agent->id, facts, 0, on_reported, report);
    return 0;
}

/* --- the rest --- */

static int on_ack(struct agent *agent, const json_t *message, struct error *error)
{
    struct message_ack ack;
    int rc = message_ack(message, &ack, error);

    if (rc < 0) {
        return rc;
    }
    if (ack.revision > agent->sent_revision) {
        return error_set(error, 400, "/revision",
                         "\"revision\" %" JSON_INTEGER_FORMAT " was never sent", ack.revision);
    }
    agent->resyncs = 0;
    fleet_acked(agent->agents->deployment, agent->id, ack.revision, ack.errors);
    return 0;
}

static int on_status(struct agent *agent, const json_t *message, struct error *error)
{
    const json_t *status;
    int rc = message_status(message, &status, error);

    if (rc < 0) {
        return rc;
    }
    json_t *copy = json_deep_copy(status);
    if (!json_object_get(copy, "agentVersion")) {
        json_object_set_new(copy, "agentVersion", json_string(agent->version));
    }
    fleet_status(agent->agents->deployment, agent->id, copy);
    json_decref(copy);
    return 0;
}

static int on_counters(struct agent *agent, const json_t *message, struct error *error)
{
    const json_t *values;
    int rc = message_counters(message, &values, error);

    if (rc == 0) {
        fleet_counters(agent->agents->deployment, agent->id, values);
    }
    return rc;
}

static int on_resync(struct agent *agent, const json_t *message, struct error *error)
{
    if (++agent->resyncs > AGENT_RESYNCS_MAX) {
        return error_set(error, 429, NULL, "%d snapshots in a row didn't help", AGENT_RESYNCS_MAX);
    }
    log_warn("agent's replica differs: sending a snapshot", "node", agent->id, NULL);
    agent_send_snapshot(agent);
    return 0;
}

static void on_left(void *arg, int rc, const struct write_result *result,
                    const struct error *error)
{
    struct agent *agent = arg;

    if (rc < 0) {
        agent->state = AGENT_SYNCED;
        agent_refuse(agent, error);
    } else {
        agent_send(agent, json_pack("{s:s}", "type", "left"));
        if (agent->link) {
            link_close(agent->link);
        }
    }
    agent_unref(agent);
}

static int on_leave(struct agent *agent, const json_t *message, struct error *error)
{
    _cleanup_free_ char *name = xasprintf("node:%s", agent->id);
    const struct actor actor = {
        .name = name, .source = link_peer_address(agent->link), .role = ROLE_NONE};
    const struct write write = {.verb = WRITE_DELETE, .kind = "nodes", .id = agent->id};

    agent->state = AGENT_LEAVING;
    deployment_write(agent->agents->deployment, &actor, &write, on_left, agent_ref(agent));
    return 0;
}

static const struct {
    const char *type;
    int (*handle)(struct agent *agent, const json_t *message, struct error *error);
} MESSAGES[] = {
    {"ack", on_ack},           {"facts", on_facts},      {"status", on_status},
    {"resync", on_resync},     {"renew", agent_renew},   {"leave", on_leave},
    {"counters", on_counters}, {"answer", agent_answer},
};

static int handle_node(struct agent *agent, const char *type, const json_t *message,
                       struct error *error)
{
    if (agent->state == AGENT_NEW) {
        return strcmp(type, "hello") == 0
                   ? on_hello(agent, message, error)
                   : error_set(error, 400, "/type", "\"type\" must be \"hello\" at first");
    }
    for (size_t i = 0; i < ARRAY_LEN(MESSAGES); i++) {
        if (strcmp(type, MESSAGES[i].type) == 0) {
            return MESSAGES[i].handle(agent, message, error);
        }
    }
    return error_set(error, 400, "/type", "\"type\" is \"%s\", which isn't known here", type);
}

static int handle_stranger(struct agent *agent, const char *type, const json_t *message,
                           struct error *error)
{
    if (strcmp(type, "join") != 0 || agent->state != AGENT_NEW) {
        return error_set(error, 400, "/type",
                         "\"type\" must be \"join\", once: there is no client certificate");
    }
    return agent_join(agent, message, error);
}

void agent_message(struct link *link, void *arg, const char *type, const json_t *message)
{
    struct agent *agent = arg;
    struct error error = {0};

    if (agent->state == AGENT_LEAVING) {
        return; /* nothing that it says matters any more */
    }
    int rc = link_peer_node(link) ? handle_node(agent, type, message, &error)
                                  : handle_stranger(agent, type, message, &error);
    if (rc < 0) {
        agent_refuse(agent, &error);
    }
}
