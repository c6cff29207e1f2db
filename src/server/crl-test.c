/* crl-test.c - the list of revoked certificates follows what is stored. */
#include "server/crl.h"

#include "core/deployment-fixture.h"

#include <gnutls/x509.h>
#include <stdio.h>
#include <string.h>

#include "core/revoke.h"
#include "lib/json.h"
#include "lib/mem.h"
#include "lib/spawn.h"

struct world {
    struct fixture *f;
    char *folder;
    struct pki *pki;
    struct crl *crl;
    struct deployment_listener listener;
    int lists; /* how often one was stored */
    uv_timer_t deadline;
};

static void count_lists(void *arg, const char *key, int64_t revision, const json_t *value)
{
    struct world *w = arg;

    w->lists += strcmp(key, "pki/crl") == 0;
}

static int set_up(void **state)
{
    struct world *w = xnew(struct world);
    void *fixture = NULL;

    fixture_set_up(&fixture);
    w->f = fixture;
    w->folder = xasprintf("%s.pki", w->f->folder);
    assert_int_equal(pki_open(w->folder, &w->pki, NULL), 0);
    uv_timer_init(&w->f->loop, &w->deadline);
    w->listener = (struct deployment_listener){.key_changed = count_lists, .arg = w};
    deployment_listen(w->f->d, &w->listener);
    w->crl = crl_new(&w->f->loop, w->f->d, w->pki);
    *state = w;
    return 0;
}

static int tear_down(void **state)
{
    struct world *w = *state;
    const char *const remove[] = {"rm", "-r", w->folder, NULL};
    void *fixture = w->f;

    crl_free(w->crl);
    uv_close((uv_handle_t *)&w->deadline, NULL);
    deployment_unlisten(w->f->d, &w->listener);
    fixture_tear_down(&fixture);
    pki_free(w->pki);
    assert_int_equal(spawn_run(&(struct spawn){.argv = remove}), 0);
    free(w->folder);
    free(w);
    return 0;
}

/* Entries in all lists of the bundle. */
static int count_entries(const struct world *w)
{
    const char *pem =
        json_get_string(tree_value(deployment_tree(w->f->d), "pki/crl"), "pem", NULL);
    gnutls_datum_t datum = {(unsigned char *)pem, pem ? (unsigned)strlen(pem) : 0};
    gnutls_x509_crl_t *lists;
    unsigned len = 0;
    int count = 0;

    if (!pem) {
        return -1;
    }
    assert_true(gnutls_x509_crl_list_import2(&lists, &len, &datum, GNUTLS_X509_FMT_PEM, 0) >= 0);
    for (unsigned i = 0; i < len; i++) {
        count += gnutls_x509_crl_get_crt_count(lists[i]);
        gnutls_x509_crl_deinit(lists[i]);
    }
    gnutls_free(lists);
    return count;
}

static void too_late(uv_timer_t *timer)
{
    fprintf(stderr, "the deadline passed\n");
    abort();
}

/* Runs the loop until the list has so many entries. */
static void until_entries(struct world *w, int wanted)
{
    uv_timer_start(&w->deadline, too_late, 20000, 0);
    while (count_entries(w) != wanted) {
        uv_run(&w->f->loop, UV_RUN_ONCE);
    }
    uv_timer_stop(&w->deadline);
}

static void put_revoked(struct world *w, const char *serial, const char *authority)
{
    _cleanup_free_ char *key = xasprintf(REVOKED_PREFIX "%s", serial);
    json_t *value = json_pack("{s:s, s:s, s:s, s:s}", "authority", authority, "owner", "nodes/x",
                              "expires", "2999-01-01T00:00:00Z", "time", "2026-01-02T03:04:05Z");

    deployment_put_private(w->f->d, key, value, NULL, NULL);
    json_decref(value);
}

static void there_is_a_list_from_the_start(void **state)
{
    until_entries(*state, 0);
}

static void entries_come_and_go(void **state)
{
    struct world *w = *state;

    until_entries(w, 0);
    put_revoked(w, "0a", pki_authority_id(w->pki, PKI_AGENT));
    until_entries(w, 1);
    put_revoked(w, "0b", pki_authority_id(w->pki, PKI_CLIENT));
    until_entries(w, 2);
    deployment_put_private(w->f->d, REVOKED_PREFIX "0a", NULL, NULL, NULL);
    until_entries(w, 1);
}

/* A damaged entry doesn't keep the others off the list. */
static void what_cannot_be_listed_is_left_out(void **state)
{
    struct world *w = *state;

    put_revoked(w, "not hex", pki_authority_id(w->pki, PKI_AGENT));
    put_revoked(w, "abc", pki_authority_id(w->pki, PKI_AGENT));
    deployment_put_private(w->f->d, REVOKED_PREFIX "0c", json_null(), NULL, NULL);
    put_revoked(w, "0d", pki_authority_id(w->pki, PKI_AGENT));
    until_entries(w, 1);
}

static void many_deletions_make_few_lists(void **state)
{
    enum { MANY = 1000 };
    struct world *w = *state;
    char serial[8];

    until_entries(w, 0);
    w->lists = 0;
    for (int i = 0; i < MANY; i++) {
        snprintf(serial, sizeof serial, "%04x", i);
        put_revoked(w, serial, pki_authority_id(w->pki, PKI_AGENT));
        uv_run(&w->f->loop, UV_RUN_NOWAIT);
    }
    until_entries(w, MANY);
    assert_true(w->lists < MANY / 4);
}

/* The one who reads it is told only of what has changed. */
static void another_start_changes_nothing(void **state)
{
    struct world *w = *state;

    put_revoked(w, "0a", pki_authority_id(w->pki, PKI_AGENT));
    until_entries(w, 1);
    int64_t revision = deployment_revision(w->f->d);
    crl_free(w->crl);
    w->crl = crl_new(&w->f->loop, w->f->d, w->pki);
    for (int i = 0; i < 20; i++) {
        uv_run(&w->f->loop, UV_RUN_NOWAIT);
    }
    assert_int_equal(deployment_revision(w->f->d), revision);
    /* but of another generation it is */
    w->lists = 0;
    assert_int_equal(pki_rollover(w->pki, PKI_AGENT, NULL), 0);
    crl_touch(w->crl);
    while (w->lists == 0) {
        uv_run(&w->f->loop, UV_RUN_ONCE);
    }
    assert_int_equal(count_entries(w), 1);
}

#define WORLD(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WORLD(there_is_a_list_from_the_start),    WORLD(entries_come_and_go),
        WORLD(what_cannot_be_listed_is_left_out), WORLD(many_deletions_make_few_lists),
        WORLD(another_start_changes_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
