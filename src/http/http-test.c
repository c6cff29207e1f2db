/* The whole server over TLS: our loop in this thread, a plain GnuTLS client in another. */
#include <arpa/inet.h>
#include <errno.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>

#include "http/http.h"
#include "lib/mem.h"

struct fixture {
    uv_loop_t loop;
    struct http_server *server;
    struct http_request *late;
    struct http_stream *stream;
    int gone;
    char *certificate, *key;
};

/* --- a certificate --- */

static void make_certificate(const char *name, char **ret_certificate, char **ret_key)
{
    gnutls_x509_privkey_t key;
    gnutls_x509_crt_t crt;
    gnutls_datum_t pem;
    static unsigned serial;

    gnutls_x509_privkey_init(&key);
    gnutls_x509_privkey_generate(key, GNUTLS_PK_ECDSA,
                                 GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP256R1), 0);
    gnutls_x509_crt_init(&crt);
    serial++;
    gnutls_x509_crt_set_serial(crt, &serial, 1);
    gnutls_x509_crt_set_dn_by_oid(crt, GNUTLS_OID_X520_COMMON_NAME, 0, name,
                                  (unsigned)strlen(name));
    gnutls_x509_crt_set_activation_time(crt, time(NULL) - 3600);
    gnutls_x509_crt_set_expiration_time(crt, time(NULL) + 3600);
    gnutls_x509_crt_set_key(crt, key);
    gnutls_x509_crt_set_version(crt, 3);
    assert_int_equal(gnutls_x509_crt_sign2(crt, crt, key, GNUTLS_DIG_SHA256, 0), 0);
    gnutls_x509_crt_export2(crt, GNUTLS_X509_FMT_PEM, &pem);
    *ret_certificate = xstrndup((char *)pem.data, pem.size);
    gnutls_free(pem.data);
    gnutls_x509_privkey_export2(key, GNUTLS_X509_FMT_PEM, &pem);
    *ret_key = xstrndup((char *)pem.data, pem.size);
    gnutls_free(pem.data);
    gnutls_x509_crt_deinit(crt);
    gnutls_x509_privkey_deinit(key);
}

/* --- the client --- */

struct call {
    struct fixture *f;
    const char *send;
    const char *until; /* stop reading after this; NULL: at the end */
    const char *priorities;
    size_t size; /* of what is sent; 0: strlen */
    char answer[65536];
    size_t answer_size;
    char subject[64];
    int failed;
    int finished;
    uv_async_t wake;
};

static void exchange(struct call *call, gnutls_session_t session)
{
    size_t size = call->size ? call->size : strlen(call->send);

    for (size_t at = 0; at < size;) {
        ssize_t n = gnutls_record_send(session, call->send + at, size - at);
        if (n < 0) {
            break; /* refused early: the answer says why */
        }
        at += (size_t)n;
    }
    for (;;) {
        ssize_t n = gnutls_record_recv(session, call->answer + call->answer_size,
                                       sizeof call->answer - 1 - call->answer_size);
        if (n == GNUTLS_E_AGAIN || n == GNUTLS_E_INTERRUPTED) {
            continue;
        }
        if (n <= 0) {
            break;
        }
        call->answer_size += (size_t)n;
        if (call->until && strstr(call->answer, call->until)) {
            break;
        }
    }
}

static void note_subject(struct call *call, gnutls_session_t session)
{
    unsigned len;
    const gnutls_datum_t *der = gnutls_certificate_get_peers(session, &len);
    gnutls_x509_crt_t crt;
    size_t size = sizeof call->subject;

    gnutls_x509_crt_init(&crt);
    gnutls_x509_crt_import(crt, der, GNUTLS_X509_FMT_DER);
    gnutls_x509_crt_get_dn_by_oid(crt, GNUTLS_OID_X520_COMMON_NAME, 0, 0, call->subject, &size);
    gnutls_x509_crt_deinit(crt);
}

static void *client(void *arg)
{
    struct call *call = arg;
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons(http_server_port(call->f->server)),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    _cleanup_close_ int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    gnutls_certificate_credentials_t credentials;
    gnutls_session_t session;

    gnutls_certificate_allocate_credentials(&credentials);
    gnutls_init(&session, GNUTLS_CLIENT | GNUTLS_NO_SIGNAL);
    gnutls_priority_set_direct(session, call->priorities ? call->priorities : "NORMAL", NULL);
    gnutls_credentials_set(session, GNUTLS_CRD_CERTIFICATE, credentials);
    call->failed = connect(fd, (struct sockaddr *)&address, sizeof address) < 0;
    gnutls_transport_set_int(session, fd);
    if (!call->failed) {
        int rc;
        do {
            rc = gnutls_handshake(session);
        } while (rc < 0 && !gnutls_error_is_fatal(rc));
        call->failed = rc < 0;
    }
    if (!call->failed) {
        note_subject(call, session);
        exchange(call, session);
    }
    gnutls_deinit(session);
    gnutls_certificate_free_credentials(credentials);
    uv_async_send(&call->wake);
    return NULL;
}

static void on_wake(uv_async_t *wake)
{
    ((struct call *)wake->data)->finished = 1;
}

static void perform(struct fixture *f, struct call *call)
{
    pthread_t thread;

    call->f = f;
    uv_async_init(&f->loop, &call->wake, on_wake);
    call->wake.data = call;
    pthread_create(&thread, NULL, client, call);
    while (!call->finished) {
        uv_run(&f->loop, UV_RUN_ONCE);
    }
    pthread_join(thread, NULL);
    uv_close((uv_handle_t *)&call->wake, NULL);
    uv_run(&f->loop, UV_RUN_NOWAIT);
}

static struct call ask(struct fixture *f, const char *text)
{
    struct call call = {.send = text};

    perform(f, &call);
    return call;
}

/* --- the server --- */

static void on_echo(struct http_request *request, void *arg)
{
    json_t *json;
    struct error error;

    if (http_body_json(request, &json, &error) < 0) {
        http_reply_problem(request, &error);
        return;
    }
    json_t *answer = json_pack("{s:o, s:s, s:s?, s:s?, s:s}", "body", json, "path",
                               http_path(request), "id", http_param(request, "id"), "q",
                               http_query(request, "q"), "source", http_source(request));
    http_set_header(request, "ETag", "\"7\"");
    http_reply_json(request, 200, answer);
    json_decref(answer);
}

static void answer_late(uv_timer_t *timer)
{
    struct fixture *f = timer->data;

    http_reply(f->late, 200, "text/plain", "late", 4);
    f->late = NULL;
    uv_close((uv_handle_t *)timer, (uv_close_cb)free);
}

static void on_late(struct http_request *request, void *arg)
{
    struct fixture *f = arg;
    uv_timer_t *timer = xnew(uv_timer_t);

    f->late = request;
    timer->data = f;
    uv_timer_init(&f->loop, timer);
    uv_timer_start(timer, answer_late, 20, 0);
}

static void on_never(struct http_request *request, void *arg)
{
    ((struct fixture *)arg)->late = request;
    uv_stop(&((struct fixture *)arg)->loop);
}

static void on_gone(void *arg)
{
    ((struct fixture *)arg)->gone++;
}

static void send_second(uv_timer_t *timer)
{
    struct fixture *f = timer->data;

    http_stream_send(f->stream, "put", "2", "{\"b\":2}");
    http_stream_end(f->stream);
    uv_close((uv_handle_t *)timer, (uv_close_cb)free);
}

static void on_stream(struct http_request *request, void *arg)
{
    struct fixture *f = arg;
    uv_timer_t *timer = xnew(uv_timer_t);

    f->stream = http_stream_begin(request, 1000, on_gone, f);
    http_stream_send(f->stream, "put", "1", "{\"a\":1}");
    http_stream_send(f->stream, NULL, NULL, "alive");
    timer->data = f;
    uv_timer_init(&f->loop, timer);
    uv_timer_start(timer, send_second, 20, 0);
}

static void on_flood(struct http_request *request, void *arg)
{
    struct fixture *f = arg;

    f->stream = http_stream_begin(request, 1000, on_gone, f);
    for (int i = 0; i < 100; i++) {
        http_stream_send(f->stream, "put", NULL, "{\"text\":\"more than a queue holds\"}");
    }
}

static const struct http_route ROUTES[] = {
    {.method = "POST", .path = "/echo/{id}", .body_max = 20000, .handler = on_echo},
    {.method = "GET", .path = "/late", .handler = on_late},
    {.method = "GET", .path = "/never", .handler = on_never},
    {.method = "GET", .path = "/stream", .handler = on_stream},
    {.method = "GET", .path = "/flood", .handler = on_flood},
    {.method = NULL},
};

static int setup(void **state)
{
    struct fixture *f = xnew(struct fixture);
    struct error error;

    uv_loop_init(&f->loop);
    make_certificate("one", &f->certificate, &f->key);
    struct http_config config = {.address = "127.0.0.1",
                                 .certificate_pem = f->certificate,
                                 .key_pem = f->key,
                                 .connections_max = 20,
                                 .connections_per_source_max = 10,
                                 .idle_sec = 1};
    assert_int_equal(http_server_new(&f->loop, &config, ROUTES, f, &f->server, &error), 0);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    http_server_free(f->server);
    uv_run(&f->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&f->loop), 0);
    free(f->certificate);
    free(f->key);
    free(f);
    return 0;
}

/* --- the tests --- */

static void assert_status(const struct call *call, int status)
{
    char start[32];

    snprintf(start, sizeof start, "HTTP/1.1 %d ", status);
    if (strncmp(call->answer, start, strlen(start)) != 0) {
        print_error("wanted %d, got: %s\n", status, call->answer);
        fail();
    }
}

static void answers_with_headers(void **state)
{
    struct call call = ask(*state, "POST /echo/%41?q=x+y HTTP/1.1\r\nHost: a\r\nContent-Type: "
                                   "application/json\r\nContent-Length: 7\r\n"
                                   "Connection: close\r\n\r\n{\"n\":1}");

    assert_status(&call, 200);
    assert_non_null(strstr(call.answer, "ETag: \"7\"\r\n"));
    assert_non_null(strstr(call.answer, "X-Content-Type-Options: nosniff\r\n"));
    assert_non_null(strstr(call.answer, "Cache-Control: no-store\r\n"));
    assert_non_null(strstr(call.answer, "\"body\":{\"n\":1}"));
    assert_non_null(strstr(call.answer, "\"id\":\"A\",\"q\":\"x y\",\"source\":\"127.0.0.1\""));
}

static void chunked_bodies_and_keepalive(void **state)
{
    struct call call = ask(*state, "POST /echo/1 HTTP/1.1\r\nHost: a\r\nContent-Type: "
                                   "application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
                                   "3\r\n{\"n\r\n4\r\n\":1}\r\n0\r\n\r\n"
                                   "GET /late HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");

    assert_status(&call, 200);
    assert_non_null(strstr(call.answer, "{\"n\":1}"));
    assert_non_null(strstr(call.answer + 20, "HTTP/1.1 200 "));
    assert_string_equal(call.answer + call.answer_size - 4, "late");
}

static void bad_requests_are_refused(void **state)
{
    static const struct {
        int status;
        const char *text;
    } CASES[] = {
        {400,
         "POST /echo/1 HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}x"},
        {400,
         "POST /echo/1 HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\n{}"},
        {400, "POST /echo/1 HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nTransfer-Encoding: "
              "chunked\r\n\r\n0\r\n\r\n"},
        {400,
         "POST /echo/1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"},
        {400, "GET /late HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"},
        {400, "GET /late HTTP/1.1\r\n\r\n"},
        {400, "GET /%2e%2e/late HTTP/1.1\r\nHost: a\r\n\r\n"},
        {400, "GET /late?a=%zz HTTP/1.1\r\nHost: a\r\n\r\n"},
        {404, "GET /nothing HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"},
        {405, "DELETE /late HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"},
        {413, "POST /echo/1 HTTP/1.1\r\nHost: a\r\nContent-Length: 20001\r\nExpect: "
              "100-continue\r\n\r\n"},
        {404, "POST /nothing HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nConnection: close\r\n\r\n"
              "12345"},
        {413, "POST /echo/1 HTTP/1.1\r\nHost: a\r\nContent-Length: 2000001\r\n\r\n"},
        {415,
         "POST /echo/1 HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"},
    };

    for (size_t i = 0; i < ARRAY_LEN(CASES); i++) {
        struct call call = ask(*state, CASES[i].text);
        assert_status(&call, CASES[i].status);
    }
}

static void chunked_bodies_have_the_limit(void **state)
{
    _cleanup_free_ char *text = xcalloc(30000, 1);
    int size = snprintf(text, 200,
                        "POST /echo/1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: "
                        "chunked\r\n\r\n5DC0\r\n"); /* 24000 */

    memset(text + size, 'x', 24000);
    strcpy(text + size + 24000, "\r\n0\r\n\r\n");
    struct call call = ask(*state, text);
    assert_status(&call, 413);
}

static void streams_send_and_end(void **state)
{
    struct fixture *f = *state;
    struct call call = ask(f, "GET /stream HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");

    assert_status(&call, 200);
    assert_non_null(strstr(call.answer, "Content-Type: text/event-stream\r\n"));
    assert_non_null(strstr(call.answer, "id: 1\nevent: put\ndata: {\"a\":1}\n\n: alive\n\n"));
    assert_non_null(strstr(call.answer, "id: 2\nevent: put\ndata: {\"b\":2}\n\n"));
    assert_int_equal(f->gone, 1);
}

static void slow_readers_are_cut(void **state)
{
    struct fixture *f = *state;
    struct call call = ask(f, "GET /flood HTTP/1.1\r\nHost: a\r\n\r\n");

    assert_null(strstr(call.answer, "more than"));
    assert_int_equal(f->gone, 1);
}

static void silent_clients_are_cut(void **state)
{
    struct call call = {.send = "GET /late HTTP/1.1\r\nHo"};

    perform(*state, &call); /* ends only because the server closes */
    assert_int_equal(call.failed, 0);
    assert_null(strstr(call.answer, "200"));
}

static void tls_is_modern(void **state)
{
    static const char *const GOOD[] = {"NORMAL:-VERS-ALL:+VERS-TLS1.3",
                                       "NORMAL:-VERS-ALL:+VERS-TLS1.2"};

    for (size_t i = 0; i < ARRAY_LEN(GOOD); i++) {
        struct call call = {.priorities = GOOD[i],
                            .send = "GET /late HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"};
        perform(*state, &call);
        assert_status(&call, 200);
    }
    struct call call = {.priorities = "NORMAL:-VERS-ALL:+VERS-TLS1.1", .send = "x"};
    perform(*state, &call);
    assert_int_not_equal(call.failed, 0);
}

static void certificate_can_be_replaced(void **state)
{
    struct fixture *f = *state;
    _cleanup_free_ char *certificate = NULL, *key = NULL;
    struct error error;
    const char *text = "GET /late HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

    struct call call = ask(f, text);
    assert_string_equal(call.subject, "one");
    make_certificate("two", &certificate, &key);
    assert_int_equal(http_server_certificate(f->server, certificate, f->key, &error), -EINVAL);
    assert_int_equal(http_server_certificate(f->server, certificate, key, &error), 0);
    call = ask(f, text);
    assert_string_equal(call.subject, "two");
    assert_status(&call, 200);
}

static void answers_after_the_end_are_dropped(void **state)
{
    struct fixture *f = *state;
    struct call call = {.f = f, .send = "GET /never HTTP/1.1\r\nHost: a\r\n\r\n"};
    pthread_t thread;

    uv_async_init(&f->loop, &call.wake, on_wake);
    call.wake.data = &call;
    pthread_create(&thread, NULL, client, &call);
    uv_run(&f->loop, UV_RUN_DEFAULT); /* until the handler has it */
    assert_non_null(f->late);
    http_server_free(f->server);
    f->server = NULL;
    pthread_join(thread, NULL);
    assert_null(http_header(f->late, "Host"));
    http_reply(f->late, 200, "text/plain", "x", 1);
    assert_int_equal(call.answer_size, 0);
    uv_close((uv_handle_t *)&call.wake, NULL);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(answers_with_headers),        TEST(chunked_bodies_and_keepalive),
        TEST(bad_requests_are_refused),    TEST(chunked_bodies_have_the_limit),
        TEST(streams_send_and_end),        TEST(slow_readers_are_cut),
        TEST(silent_clients_are_cut),      TEST(tls_is_modern),
        TEST(certificate_can_be_replaced), TEST(answers_after_the_end_are_dropped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
