#include "agent/exchange.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "agent/identity.h"
#include "lib/json.h"
#include "lib/mem.h"
#include "link/message.h"

struct talk {
    const struct exchange *exchange;
    struct link *link;
    uv_timer_t deadline;
    int asked, ended, refused;
    json_t *answer;
    struct error error;
};

static void ask(struct talk *talk, struct link *link)
{
    talk->asked = 1;
    link_send(link, talk->exchange->question);
}

static void on_opened(struct link *link, void *arg)
{
    struct talk *talk = arg;

    if (talk->exchange->first) {
        link_send(link, talk->exchange->first);
    }
    if (!talk->exchange->greeting) {
        ask(talk, link);
    }
}

static void on_message(struct link *link, void *arg, const char *type, const json_t *message)
{
    struct talk *talk = arg;
    const struct exchange *exchange = talk->exchange;

    if (talk->ended) {
        return;
    }
    if (exchange->greeting && strcmp(type, exchange->greeting) == 0) {
        ask(talk, link);
        return;
    }
    if (strcmp(type, exchange->answer) == 0) {
        talk->answer = json_deep_copy(message);
    } else if (strcmp(type, "error") == 0) {
        talk->refused = 1;
        message_read_error(message, &talk->error);
    } else {
        return; /* resources, for instance */
    }
    talk->ended = 1;
    link_close(link);
}

static void on_closed(struct link *link, void *arg, const struct error *error)
{
    struct talk *talk = arg;

    talk->link = NULL;
    if (!talk->ended && error) {
        talk->error = *error;
    }
    talk->ended = 1;
    uv_close((uv_handle_t *)&talk->deadline, NULL);
}

static const struct link_handler HANDLER = {
    .opened = on_opened,
    .message = on_message,
    .closed = on_closed,
};

static void on_deadline(uv_timer_t *timer)
{
    struct talk *talk = timer->data;

    if (!talk->ended) {
        talk->ended = 1;
        error_set(&talk->error, 408, NULL, "no answer within %d s", EXCHANGE_MSEC / 1000);
    }
    link_close(talk->link);
}

static void talk_with(struct talk *talk, const char *host, uint16_t port)
{
    const struct exchange *exchange = talk->exchange;
    struct link_client_config config = {.address = host,
                                        .port = port,
                                        .fingerprint = exchange->fingerprint,
                                        .certificate_pem = exchange->certificate_pem,
                                        .key_pem = exchange->key_pem};
    uv_loop_t loop;

    uv_loop_init(&loop);
    uv_timer_init(&loop, &talk->deadline);
    talk->deadline.data = talk;
    uv_timer_start(&talk->deadline, on_deadline, EXCHANGE_MSEC, 0);
    talk->link = link_connect(&loop, &config, &HANDLER, talk);
    uv_run(&loop, UV_RUN_DEFAULT);
    uv_loop_close(&loop);
}

static int try_server(const struct exchange *exchange, const char *server, json_t **ret_answer,
                      int *ret_refused, struct error *error)
{
    struct talk talk = {.exchange = exchange};
    _cleanup_free_ char *host = NULL;
    uint16_t port;

    if (identity_server_parse(server, &host, &port) < 0) {
        return error_set(error, 503, NULL, "%s isn't host:port", server);
    }
    talk_with(&talk, host, port);
    if (talk.answer) {
        *ret_answer = talk.answer;
        return 0;
    }
    *ret_refused = talk.refused;
    if (talk.refused) {
        int rc = error_set(error, talk.error.status, talk.error.pointer, "%s", talk.error.detail);
        return talk.asked ? rc : -ECONNREFUSED;
    }
    return error_set(error, 503, NULL, "%s: %.400s", server, talk.error.detail);
}

int exchange_run(const struct exchange *exchange, json_t **ret_answer, struct error *error)
{
    int rc = error_set(error, 503, NULL, "no server is known");
    int refused = 0;

    for (char *const *server = exchange->servers; *server && rc < 0 && !refused; server++) {
        rc = try_server(exchange, *server, ret_answer, &refused, error);
    }
    return rc;
}
