/* revoke-test.c - certificates are revoked with what they belong to. */
#include "core/deployment-fixture.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/join.h"
#include "core/revoke.h"
#include "lib/clock.h"
#include "lib/json.h"
#include "lib/mem.h"

static const int64_t DAY_USEC = INT64_C(86400) * 1000000;

struct stored {
    int finished, rc;
};

static void on_stored(void *arg, int rc, int64_t revision)
{
    struct stored *stored = arg;

    stored->finished = 1;
    stored->rc = rc;
}

static int try_enrol(struct fixture *f, const char *node, const char *serial, int64_t days)
{
    const struct certificate certificate = {
        .serial = serial, .authority = "a1", .expires_usec = clock_now_usec() + days * DAY_USEC};
    struct stored stored = {0};

    deployment_enrolled(f->d, node, "key", &certificate, on_stored, &stored);
    fixture_run(f, &stored.finished);
    return stored.rc;
}

static void enrol(struct fixture *f, const char *node, const char *serial, int64_t days)
{
    assert_int_equal(try_enrol(f, node, serial, days), 0);
}

static const json_t *revoked(struct fixture *f, const char *serial)
{
    _cleanup_free_ char *key = xasprintf("revoked/%s", serial);

    return tree_value(deployment_tree(f->d), key);
}

static size_t count_revoked(struct fixture *f)
{
    const struct tree *tree = deployment_tree(f->d);
    size_t count = 0;

    for (struct omap_entry *e = tree_first(tree, "revoked/"); e;
         e = tree_next(tree, e, "revoked/")) {
        count++;
    }
    return count;
}

/* A node that joined: with the values that only enrolment gives. */
static void make_joined(struct fixture *f, const char *id)
{
    json_t *sealed = json_pack("{s:s}", "keyId", "key");
    struct write write = {.verb = WRITE_CREATE, .kind = "nodes", .id = id, .sealed = sealed};

    assert_int_equal(do_write(f, write, "{\"services\":[]}").rc, 0);
    json_decref(sealed);
}

static void forget(struct fixture *f, const char *id)
{
    assert_int_equal(
        do_write(f, (struct write){.verb = WRITE_DELETE, .kind = "nodes", .id = id}, NULL).rc, 0);
}

static void a_deleted_nodes_certificates_are_revoked(void **state)
{
    struct fixture *f = *state;

    make_joined(f, "N1");
    make_joined(f, "N2");
    enrol(f, "N1", "01", 90);
    enrol(f, "N1", "02", 90); /* renewed: the older one is still good */
    enrol(f, "N2", "03", 90);
    do_write(f, (struct write){.verb = WRITE_PATCH, .kind = "nodes", .id = "N1"},
             "{\"hub\":true}");
    assert_int_equal(count_revoked(f), 0);
    int64_t before = deployment_revision(f->d);
    forget(f, "N1");
    assert_int_equal(deployment_revision(f->d), before + 1); /* one transaction */
    assert_int_equal(count_revoked(f), 2);
    assert_non_null(revoked(f, "02"));
    const json_t *entry = revoked(f, "01");
    int64_t at;
    assert_string_equal(json_get_string(entry, "authority", ""), "a1");
    assert_string_equal(json_get_string(entry, "owner", ""), "nodes/N1");
    assert_int_equal(clock_parse(json_get_string(entry, "time", ""), &at), 0);
    assert_int_equal(clock_parse(json_get_string(entry, "expires", ""), &at), 0);
}

static void expired_certificates_need_no_revocation(void **state)
{
    struct fixture *f = *state;

    make_joined(f, "N1");
    enrol(f, "N1", "01", -1);
    enrol(f, "N1", "02", 90);
    const json_t *serials = json_object_get(
        json_object_get(tree_value(deployment_tree(f->d), "object/nodes/N1"), "sealed"),
        "serials");
    assert_int_equal(json_array_size(serials), 1);
    enrol(f, "N1", "03", -1);
    forget(f, "N1");
    assert_int_equal(count_revoked(f), 1);
    assert_non_null(revoked(f, "02"));
}

/* One that renews all the time makes neither its object nor a transaction too large. */
static void too_many_certificates_lose_the_oldest(void **state)
{
    struct fixture *f = *state;
    char serial[8];

    make_joined(f, "N1");
    for (int i = 0; i < 20; i++) {
        snprintf(serial, sizeof serial, "%04x", i);
        enrol(f, "N1", serial, 90 + i);
    }
    assert_int_equal(count_revoked(f), 12);
    assert_non_null(revoked(f, "0000"));
    assert_null(revoked(f, "0013")); /* the newest is good */
    forget(f, "N1");
    assert_int_equal(count_revoked(f), 20);
}

/* What is revoked is kept while it could be used, and there is room for so many only: a node that
 * renews without a pause doesn't fill it. */
static void too_many_within_a_day_are_refused(void **state)
{
    struct fixture *f = *state;
    char serial[8];

    make_joined(f, "N1");
    for (int i = 0; i < 20; i++) {
        snprintf(serial, sizeof serial, "%04x", i);
        assert_int_equal(try_enrol(f, "N1", serial, 90), i < 8 ? 0 : -EAGAIN);
    }
    assert_int_equal(count_revoked(f), 0);
    enrol(f, "N1", "0a", 91);
    assert_int_equal(count_revoked(f), 1);
    forget(f, "N1");
    assert_int_equal(count_revoked(f), 9);
}

/* Whatever kind it is: sealed.serials is enough. */
static void other_objects_are_covered(void **state)
{
    struct fixture *f = *state;
    const struct certificate certificate = {"c1", "a2", clock_now_usec() + DAY_USEC};
    json_t *sealed = json_pack("{s:s, s:i, s:o}", "secretHash", "x", "used", 0, "serials",
                               certificate_noted(NULL, &certificate));
    struct write write = {.verb = WRITE_CREATE, .kind = "tokens", .id = "t1", .sealed = sealed};

    assert_int_equal(do_write(f, write, "{\"expires\":\"2999-01-01T00:00:00Z\"}").rc, 0);
    json_decref(sealed);
    write = (struct write){.verb = WRITE_DELETE, .kind = "tokens", .id = "t1"};
    assert_int_equal(do_write(f, write, NULL).rc, 0);
    assert_string_equal(json_get_string(revoked(f, "c1"), "owner", ""), "tokens/t1");
    assert_string_equal(json_get_string(revoked(f, "c1"), "authority", ""), "a2");
}

static void put_revoked(struct fixture *f, const char *serial, const char *expires)
{
    _cleanup_free_ char *key = xasprintf("revoked/%s", serial);
    json_t *value = json_pack("{s:s, s:s}", "expires", expires, "authority", "a1");
    struct stored stored = {0};

    deployment_put_private(f->d, key, value, on_stored, &stored);
    fixture_run(f, &stored.finished);
    json_decref(value);
}

static void expired_entries_are_swept(void **state)
{
    struct fixture *f = *state;
    struct stored stored = {0};
    char serial[8], recently[CLOCK_TEXT_SIZE];

    for (int i = 0; i < 120; i++) { /* more than one transaction takes */
        snprintf(serial, sizeof serial, "%04x", i);
        put_revoked(f, serial, "2001-01-01T00:00:00Z");
    }
    put_revoked(f, "aa", "2999-01-01T00:00:00Z");
    /* a host's clock may still say that it's good */
    put_revoked(f, "bb", clock_format(clock_now_usec() - DAY_USEC, recently));
    revoked_sweep(f->d, on_stored, &stored);
    fixture_run(f, &stored.finished);
    assert_int_equal(count_revoked(f), 2);
    assert_non_null(revoked(f, "aa"));
    assert_non_null(revoked(f, "bb"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_deleted_nodes_certificates_are_revoked),
        TEST(expired_certificates_need_no_revocation),
        TEST(too_many_certificates_lose_the_oldest),
        TEST(too_many_within_a_day_are_refused),
        TEST(other_objects_are_covered),
        TEST(expired_entries_are_swept),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
