#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "agent/connection.h"
#include "agent/identity.h"
#include "agent/routes.h"
#include "lib/file.h"
#include "lib/mem.h"
#include "lib/spawn.h"
#include "pki/pki.h"

/* --- identity --- */

struct fixture {
    char folder[64];
    char *authority;
    struct pki *pki;
};

static int set_up(void **state)
{
    struct fixture *f = xnew(struct fixture);

    snprintf(f->folder, sizeof f->folder, "/tmp/agent-test.XXXXXX");
    assert_non_null(mkdtemp(f->folder));
    f->authority = xasprintf("%s/pki", f->folder);
    assert_int_equal(pki_open(f->authority, &f->pki, NULL), 0);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    const char *remove[] = {"rm", "-r", f->folder, NULL};

    pki_free(f->pki);
    assert_int_equal(spawn_run(&(struct spawn){.argv = remove}), 0);
    free(f->authority);
    free(f);
    return 0;
}

static char *sign(struct fixture *f, const char *key_pem)
{
    char *csr, *chain, *serial;
    int64_t expires;

    assert_int_equal(pki_make_csr_for(key_pem, "x", &csr, NULL), 0);
    assert_int_equal(pki_sign_node(f->pki, csr, "Agent.1", &chain, &serial, &expires, NULL), 0);
    free(csr);
    free(serial);
    return chain;
}

static void make_identity(struct fixture *f, struct identity *identity)
{
    *identity = (struct identity){.id = xstrdup("Agent.1"),
                                  .fingerprint = xstrdup("sha256:00"),
                                  .servers = xcalloc(3, sizeof(char *))};
    identity->servers[0] = xstrdup("192.0.2.1:8444");
    identity->servers[1] = xstrdup("[2001:db8::1]:8444");
    assert_int_equal(identity_key(f->folder, &identity->key_pem, NULL), 0);
    identity->cert_pem = sign(f, identity->key_pem);
}

static void identity_survives_a_restart(void **state)
{
    struct fixture *f = *state;
    struct identity saved, loaded = {0};
    struct error error = {0};

    assert_int_equal(identity_load(f->folder, &loaded, &error), -ENOENT);
    make_identity(f, &saved);
    assert_int_equal(identity_save(f->folder, &saved, NULL), 0);
    assert_int_equal(identity_load(f->folder, &loaded, NULL), 0);
    assert_string_equal(loaded.id, "Agent.1");
    assert_string_equal(loaded.servers[1], "[2001:db8::1]:8444");
    assert_null(loaded.servers[2]);
    assert_string_equal(loaded.key_pem, saved.key_pem);
    assert_string_equal(loaded.cert_pem, saved.cert_pem);
    assert_in_range(identity_days_left(&loaded), PKI_NODE_DAYS - 4, PKI_NODE_DAYS);
    identity_done(&saved);
    identity_done(&loaded);
}

static void secrets_are_for_root_only(void **state)
{
    struct fixture *f = *state;
    struct identity identity;
    struct stat stat_of;

    make_identity(f, &identity);
    assert_int_equal(identity_save(f->folder, &identity, NULL), 0);
    _cleanup_free_ char *path = xasprintf("%s/key.pem", f->folder);
    assert_int_equal(stat(path, &stat_of), 0);
    assert_int_equal(stat_of.st_mode & 0777, 0600);
    identity_done(&identity);
}

/* So that the server sees the same node when a join is tried again. */
static void the_key_of_an_earlier_try_is_kept(void **state)
{
    struct fixture *f = *state;
    char *first, *second;

    assert_int_equal(identity_key(f->folder, &first, NULL), 0);
    assert_int_equal(identity_key(f->folder, &second, NULL), 0);
    assert_string_equal(first, second);
    free(first);
    free(second);
}

static void only_a_certificate_for_our_key_is_taken(void **state)
{
    struct fixture *f = *state;
    struct identity identity;
    struct error error = {0};
    char *other_key, *csr;

    make_identity(f, &identity);
    _cleanup_free_ char *before = xstrdup(identity.cert_pem);
    assert_int_equal(pki_make_csr("x", &other_key, &csr, NULL), 0);
    _cleanup_free_ char *foreign = sign(f, other_key);
    assert_int_equal(identity_renew(f->folder, &identity, foreign, &error), -EINVAL);
    assert_int_equal(identity_renew(f->folder, &identity, "nonsense", &error), -EINVAL);
    assert_string_equal(identity.cert_pem, before);
    _cleanup_free_ char *good = sign(f, identity.key_pem);
    assert_int_equal(identity_renew(f->folder, &identity, good, &error), 0);
    assert_string_equal(identity.cert_pem, good);
    free(other_key);
    free(csr);
    identity_done(&identity);
}

static void a_damaged_identity_is_an_error(void **state)
{
    static const char *const BAD[] = {
        "",
        "{",
        "[]",
        "{\"id\":\"\",\"servers\":[\"a:1\"],\"fingerprint\":\"f\"}",
        "{\"id\":\"a\",\"servers\":[],\"fingerprint\":\"f\"}",
        "{\"id\":\"a\",\"servers\":[\"a:1\"]}",
    };
    struct fixture *f = *state;
    struct identity identity = {0};

    _cleanup_free_ char *path = xasprintf("%s/agent.json", f->folder);
    for (size_t i = 0; i < ARRAY_LEN(BAD); i++) {
        assert_int_equal(file_write_atomic(path, BAD[i], strlen(BAD[i]), 0600), 0);
        assert_int_equal(identity_load(f->folder, &identity, NULL), -EINVAL);
        assert_null(identity.id);
    }
}

static void servers_are_host_and_port(void **state)
{
    static const char *const BAD[] = {
        "a",    "a:",   ":1",       "a:0",  "a:65536",
        "a:1x", "a:-1", "::1:8444", "[]:1", "a:18446744073709551617"};
    char *host = NULL;
    uint16_t port;

    for (size_t i = 0; i < ARRAY_LEN(BAD); i++) {
        assert_int_equal(identity_server_parse(BAD[i], &host, &port), -EINVAL);
    }
    assert_int_equal(identity_server_parse("[::1]:8444", &host, &port), 0);
    assert_string_equal(host, "::1");
    assert_int_equal(port, 8444);
    free(host);
    assert_int_equal(identity_server_parse("server.example:65535", &host, &port), 0);
    assert_string_equal(host, "server.example");
    free(host);
}

/* --- the rest --- */

static void routes_of_others_are_found(void **state)
{
    char text[] = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\n"
                  "eth0\t00000000\t0102000A\t0003\t0\t0\t0\t00000000\t0\t0\t0\n"
                  "eth0\t0002000A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n"
                  "eth1\t00004D0A\t0102000A\t0003\t0\t0\t0\t0000FFFF\t0\t0\t0\n"
                  "cnsmo0\t00004E0A\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n"
                  "*\t00004F0A\t00000000\t0201\t0\t0\t0\t0000FFFF\t0\t0\t0\n"
                  "broken line\n";
    json_t *routes = routes_parse(text, "cnsmo0");
    _cleanup_free_ char *found = json_dumps(routes, JSON_COMPACT);

    assert_string_equal(found, "[\"10.0.2.0/24\",\"10.77.0.0/16\"]");
    json_decref(routes);
}

static void waiting_grows_and_has_bounds(void **state)
{
    for (uint32_t random = 0; random < 100000; random += 77) {
        assert_in_range(connection_backoff_msec(0, random), 100, 200);
        assert_in_range(connection_backoff_msec(3, random), 800, 1600);
        assert_in_range(connection_backoff_msec(4000000000u, random), 7500, 15000);
    }
    assert_int_not_equal(connection_backoff_msec(5, 1), connection_backoff_msec(5, 2));
}

#define IDENTITY_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IDENTITY_TEST(identity_survives_a_restart),
        IDENTITY_TEST(secrets_are_for_root_only),
        IDENTITY_TEST(the_key_of_an_earlier_try_is_kept),
        IDENTITY_TEST(only_a_certificate_for_our_key_is_taken),
        IDENTITY_TEST(a_damaged_identity_is_an_error),
        cmocka_unit_test(servers_are_host_and_port),
        cmocka_unit_test(routes_of_others_are_found),
        cmocka_unit_test(waiting_grows_and_has_bounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
