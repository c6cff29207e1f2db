#include "agent/answers.h"

#include <string.h>

#include "lib/json.h"
#include "lib/mem.h"
#include "link/link.h"
#include "link/message.h"

enum {
    QUESTIONS_MAX = 64, /* under way */
    LINE_MARGIN = 256,  /* what stands around a body in its line */
};

struct question {
    struct answers *answers; /* NULL: nobody waits for it any more */
    json_int_t id;
    struct question *next;
};

struct answers {
    struct question *questions;
    size_t len;
    void (*send)(void *arg, json_t *message);
    void *arg;
};

static void send_error(struct answers *answers, json_int_t id, const struct error *error)
{
    json_t *as_message = message_error(error);

    json_object_del(as_message, "type");
    answers->send(answers->arg,
                  json_pack("{s:s, s:I, s:o}", "type", "answer", "id", id, "error", as_message));
}

static void send_body(struct answers *answers, json_int_t id, const json_t *body)
{
    struct error error;

    if (json_dumpb(body, NULL, 0, JSON_COMPACT) > LINK_LINE_MAX - LINE_MARGIN) {
        error_set(&error, 507, NULL, "the answer is longer than a message may be");
        send_error(answers, id, &error);
        return;
    }
    answers->send(answers->arg,
                  json_pack("{s:s, s:I, s:O}", "type", "answer", "id", id, "body", body));
}

static void unlink_question(struct question *q)
{
    for (struct question **at = &q->answers->questions; *at; at = &(*at)->next) {
        if (*at == q) {
            *at = q->next;
            q->answers->len--;
            return;
        }
    }
}

static void on_answer(void *arg, const json_t *body, const struct error *error)
{
    struct question *q = arg;

    if (q->answers) {
        unlink_question(q);
        if (body) {
            send_body(q->answers, q->id, body);
        } else {
            send_error(q->answers, q->id, error);
        }
    }
    free(q);
}

void answers_ask(struct answers *answers, struct reconcile *reconcile, json_int_t id,
                 const char *what)
{
    struct question *q;
    struct error error;

    if (strcmp(what, "link") == 0) {
        json_t *nothing = json_object();
        send_body(answers, id, nothing);
        json_decref(nothing);
        return;
    }
    if (answers->len >= QUESTIONS_MAX) {
        error_set(&error, 429, NULL, "too many questions at once");
        send_error(answers, id, &error);
        return;
    }
    q = xnew(struct question);
    *q = (struct question){.answers = answers, .id = id, .next = answers->questions};
    answers->questions = q;
    answers->len++;
    if (reconcile_ask(reconcile, what, on_answer, q) < 0) {
        error_set(&error, 404, NULL, "this agent can't tell of \"%s\"", what);
        on_answer(q, NULL, &error);
    }
}

void answers_disconnected(struct answers *answers)
{
    for (struct question *q = answers->questions, *next; q; q = next) {
        next = q->next;
        q->answers = NULL;
        q->next = NULL;
    }
    answers->questions = NULL;
    answers->len = 0;
}

struct answers *answers_new(void (*send)(void *arg, json_t *message), void *arg)
{
    struct answers *answers = xnew(struct answers);

    answers->send = send;
    answers->arg = arg;
    return answers;
}

void answers_free(struct answers *answers)
{
    if (answers) {
        answers_disconnected(answers);
        free(answers);
    }
}
