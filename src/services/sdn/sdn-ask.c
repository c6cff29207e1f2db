/* sdn-ask.c - the answer to "sdn/flows": what is in the switch at this moment. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "lib/mem.h"
#include "services/sdn/sdn-driver.h"
#include "services/sdn/sdn-explain.h"

enum {
    FLOWS_MAX = 2000,
    SIZE_MAX_BYTES = 900 << 10, /* a message of the link is at most 1 MB */
};

struct sdn_ask {
    struct sdn_ask *next;
    struct sdn *sdn;
    backend_answer_fn *done; /* NULL: it has been answered */
    void *arg;
    json_t *flows;
    size_t size; /* of their text */
    int is_truncated;
};

static void on_flow(void *arg, const struct of_flow_stats *stats)
{
    struct sdn_ask *ask = arg;

    if (!ask->done || ask->is_truncated) {
        return;
    }
    json_t *flow = sdn_explain(stats);
    ask->size += json_dumpb(flow, NULL, 0, 0) + 1;
    if (json_array_size(ask->flows) >= FLOWS_MAX || ask->size > SIZE_MAX_BYTES) {
        ask->is_truncated = 1;
        json_decref(flow);
        return;
    }
    json_array_append_new(ask->flows, flow);
}

static void answer(struct sdn_ask *ask, const struct error *error)
{
    struct sdn *s = ask->sdn;
    char id[17];

    if (error) {
        ask->done(ask->arg, NULL, error);
        return;
    }
    snprintf(id, sizeof id, "%016" PRIx64, s->datapath_id);
    json_t *body = json_pack("{s:s, s:s, s:O, s:b}", "datapathId", id, "datapath",
                             s->datapath ? s->datapath : "", "flows", ask->flows, "truncated",
                             ask->is_truncated);
    ask->done(ask->arg, body, NULL);
    json_decref(body);
}

static void on_done(void *arg, const struct error *error)
{
    struct sdn_ask *ask = arg;

    if (ask->done) {
        struct sdn_ask **at = &ask->sdn->asks;
        while (*at != ask) {
            at = &(*at)->next;
        }
        *at = ask->next;
        answer(ask, error);
    }
    json_decref(ask->flows);
    free(ask);
}

int sdn_ask_flows(void *self, const char *what, backend_answer_fn *done, void *arg)
{
    static const struct of_flow_filter ALL = {.table = OF_TABLE_ALL};
    struct error error = {.status = 503, .detail = "the node has no bridge at the moment"};
    struct sdn *s = self;

    if (strcmp(what, "sdn/flows") != 0) {
        return -ENOENT;
    }
    struct sdn_ask *ask = xnew(struct sdn_ask);
    *ask = (struct sdn_ask){
        .next = s->asks, .sdn = s, .done = done, .arg = arg, .flows = json_array()};
    int rc = s->conn ? of_ask_flows(s->conn, &ALL, on_flow, on_done, ask) : -ENOTCONN;
    if (rc == 0) {
        s->asks = ask;
        return 0;
    }
    json_decref(ask->flows);
    free(ask);
    done(arg, NULL, s->of_peer.is_lost ? &s->of_peer.error : &error);
    return 0;
}

void sdn_asks_fail(struct sdn *s, const struct error *error)
{
    while (s->asks) {
        struct sdn_ask *ask = s->asks;
        s->asks = ask->next;
        ask->done(ask->arg, NULL, error);
        ask->done = NULL; /* freed when the connection has closed */
    }
}
