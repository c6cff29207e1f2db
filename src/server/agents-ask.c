/* agents-ask.c - questions to agents: how is the host now?
 *
 *     agents_ask() ── "ask" ──► agent ── "answer" ──► done()
 *                       └── 3 s, or the link's end ──► done() with 503 */
#include <string.h>

#include "lib/json.h"
#include "lib/mem.h"
#include "link/message.h"
#include "server/agents-internal.h"

enum {
    ASK_MSEC = 3000,
    AGENT_QUESTIONS_MAX = 32, /* under way to one agent */
};

struct question {
    struct agent *agent;
    json_int_t id;
    char *service; /* whose state is told when there is no answer */
    uv_timer_t timer;
    agents_answer_fn *done;
    void *arg;
    struct question *next;
};

static void on_closed(uv_handle_t *handle)
{
    struct question *q = handle->data;

    agent_unref(q->agent);
    free(q->service);
    free(q);
}

/* The one answer: from the agent, or instead of it. */
static void end(struct question *q, const json_t *body, const struct error *error)
{
    for (struct question **at = &q->agent->questions; *at; at = &(*at)->next) {
        if (*at == q) {
            *at = q->next;
            q->agent->questions_len--;
            break;
        }
    }
    uv_close((uv_handle_t *)&q->timer, on_closed);
    q->done(q->arg, body, error);
}

static void on_timeout(uv_timer_t *timer)
{
    struct question *q = timer->data;
    json_t *status = deployment_status(q->agent->agents->deployment, "nodes", q->agent->id);
    const json_t *state = json_object_get(json_object_get(status, "services"), q->service);
    const char *message = json_get_string(state, "message", "");
    struct error error;

    if (state) {
        error_set(&error, 503, NULL, "%s did not answer in time; its %s is %s%s%s", q->agent->id,
                  q->service, json_get_string(state, "state", "unknown"), *message ? ": " : "",
                  message);
    } else {
        error_set(&error, 503, NULL, "%s did not answer in time", q->agent->id);
    }
    json_decref(status);
    end(q, NULL, &error);
}

void agents_ask(struct agents *agents, const char *node, const char *what, agents_answer_fn *done,
                void *arg)
{
    struct agent *agent = omap_get(&agents->by_node, node);
    struct question *q;
    struct error error;

    if (!agent || !agent->link || agent->state != AGENT_SYNCED) {
        error_set(&error, 503, NULL, "%s is away", node);
        done(arg, NULL, &error);
        return;
    }
    if (agent->questions_len >= AGENT_QUESTIONS_MAX) {
        error_set(&error, 503, NULL, "%s is asked too much at once", node);
        done(arg, NULL, &error);
        return;
    }
    q = xnew(struct question);
    *q = (struct question){.agent = agent_ref(agent),
                           .id = ++agents->asked,
                           .service = xstrndup(what, strcspn(what, "/")),
                           .done = done,
                           .arg = arg,
                           .next = agent->questions};
    agent->questions = q;
    agent->questions_len++;
    uv_timer_init(agents->loop, &q->timer);
    q->timer.data = q;
    uv_timer_start(&q->timer, on_timeout, ASK_MSEC, 0);
    agent_send(agent, json_pack("{s:s,s:I,s:s}", "type", "ask", "id", q->id, "what", what));
}

/* One that isn't waited for any more comes too late: nothing is wrong with that. */
int agent_answer(struct agent *agent, const json_t *message, struct error *error)
{
    struct message_answer answer;
    struct error told;
    int rc = message_answer(message, &answer, error);

    for (struct question *q = agent->questions; rc == 0 && q; q = q->next) {
        if (q->id == answer.id) {
            if (answer.error) {
                message_read_error(answer.error, &told);
            }
            end(q, answer.body, answer.error ? &told : NULL);
            break;
        }
    }
    return rc;
}

void agent_drop_questions(struct agent *agent)
{
    struct error error;

    error_set(&error, 503, NULL, "%s went away", agent->id ? agent->id : "the agent");
    while (agent->questions) {
        end(agent->questions, NULL, &error);
    }
}
