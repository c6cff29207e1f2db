/* The generations of the intermediates: made, retired, and whole after a crash at any step. */
#include "pki/pki-fixture.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include "lib/clock.h"
#include "lib/fault.h"
#include "lib/mem.h"
#include "pki/internal.h"

static struct pki *reopen(void **state, struct pki *pki)
{
    pki_free(pki);
    return pki_fixture_open(state);
}

static unsigned count_lists(const char *pem)
{
    unsigned count = 0;

    for (const char *at = pem; (at = strstr(at, "BEGIN X509 CRL")); at++) {
        count++;
    }
    return count;
}

/* Who has signed it, and is it good? */
static void assert_issuer(const struct pki *pki, const struct issued *issued, const char *id)
{
    gnutls_x509_crt_t certs[4];
    char issuer[PKI_ID_SIZE];
    unsigned len = pki_fixture_import(issued->chain, certs);

    assert_int_equal(pki_fixture_verify(certs, len, pki_root_pem(pki), GNUTLS_KP_TLS_WWW_CLIENT),
                     0);
    pki_fixture_free(certs, len);
    assert_int_equal(pki_issuer_id(issued->chain, issuer), 0);
    assert_string_equal(issuer, id);
}

static void assert_states(const struct pki *pki, enum pki_role role, const char *states)
{
    static const char LETTERS[] = {[PKI_ACTIVE] = 'a', [PKI_RETIRING] = 'o', [PKI_RETIRED] = 'x'};
    char seen[8] = "";
    size_t len = 0;

    for (const struct pki_generation *g; (g = pki_generation_at(pki, role, len)); len++) {
        seen[len] = LETTERS[g->state];
    }
    assert_string_equal(seen, states);
}

static void roll(struct pki *pki, enum pki_role role)
{
    assert_int_equal(pki_rollover(pki, role, NULL), 0);
}

static void new_certificates_come_from_the_new_one(void **state)
{
    struct pki *pki = pki_fixture_open(state);

    for (int i = PKI_AGENT; i <= PKI_CLIENT; i++) {
        enum pki_role role = (enum pki_role)i;
        _cleanup_free_ char *first = xstrdup(pki_authority_id(pki, role));
        struct issued old = pki_fixture_issue(pki, role, "x");
        roll(pki, role);
        assert_states(pki, role, "ao");
        pki = reopen(state, pki);
        assert_states(pki, role, "ao");
        struct issued new = pki_fixture_issue(pki, role, "x");
        assert_string_not_equal(pki_authority_id(pki, role), first);
        assert_issuer(pki, &new, pki_authority_id(pki, role));
        assert_issuer(pki, &old, first); /* nothing happens to those that are there */
        pki_fixture_issued_done(&old);
        pki_fixture_issued_done(&new);
    }
    assert_states(pki, PKI_SERVER, "a"); /* the others aren't touched */
    pki_free(pki);
}

static void one_rollover_at_a_time(void **state)
{
    struct pki *pki = pki_fixture_open(state);
    struct error error = {0};

    assert_int_equal(pki_retire(pki, PKI_AGENT, NULL, 0, NULL), 0); /* nothing to do */
    assert_states(pki, PKI_AGENT, "a");
    roll(pki, PKI_AGENT);
    assert_true(pki_rollover(pki, PKI_AGENT, &error) < 0);
    assert_int_equal(error.status, 409);
    roll(pki, PKI_CLIENT);
    assert_int_equal(pki_retire(pki, PKI_AGENT, NULL, 0, NULL), 0);
    assert_states(pki, PKI_AGENT, "ax");
    roll(pki, PKI_AGENT);
    assert_states(pki, PKI_AGENT, "aox");
    assert_states(pki, PKI_CLIENT, "ao");
    pki = reopen(state, pki);
    assert_states(pki, PKI_AGENT, "aox");
    pki_free(pki);
}

static void listener_gets_a_new_certificate_at_once(void **state)
{
    struct pki *pki = pki_fixture_open(state);
    char *cert[3], *key, issuer[PKI_ID_SIZE];

    for (int i = 0; i < 3; i++) {
        if (i == 1) {
            roll(pki, PKI_SERVER);
        }
        assert_int_equal(pki_server_certificate(pki, PKI_TEST_NAMES, &cert[i], &key, NULL), 0);
        x509_secret_free(&key);
        assert_int_equal(pki_issuer_id(cert[i], issuer), 0);
        assert_string_equal(issuer, pki_authority_id(pki, PKI_SERVER));
    }
    assert_string_not_equal(cert[0], cert[1]);
    assert_string_equal(cert[1], cert[2]);
    for (int i = 0; i < 3; i++) {
        free(cert[i]);
    }
    pki_free(pki);
}

/* Agents are let in with what they have, until a generation's last certificate has expired. */
static void listener_trusts_what_may_be_unexpired(void **state)
{
    static const unsigned WANTED[] = {2, 3, 3, 2};
    struct pki *pki = pki_fixture_open(state);

    for (int i = 0; i < 4; i++) {
        gnutls_x509_crt_t certs[4];
        if (i == 1) {
            roll(pki, PKI_AGENT);
        } else if (i == 2) {
            assert_int_equal(pki_retire(pki, PKI_AGENT, NULL, 0, NULL), 0);
        } else if (i == 3) {
            pki->roles[PKI_AGENT].items[0].public.spent_usec = clock_now_usec() - 1;
            authority_describe(pki);
        }
        unsigned len = pki_fixture_import(pki_agent_chain_pem(pki), certs);
        assert_int_equal(len, WANTED[i]);
        pki_fixture_free(certs, len);
    }
    pki_free(pki);
}

/* The last list of a retired one stays. */
static void retired_one_leaves_its_list(void **state)
{
    struct pki *pki = pki_fixture_open(state);
    _cleanup_free_ char *old = xstrdup(pki_authority_id(pki, PKI_AGENT));
    struct issued node = pki_fixture_issue(pki, PKI_AGENT, "x");
    /* Whatever the clock said: what is on it is on it. */
    const struct pki_revoked revoked = {node.serial, old, clock_now_usec() + 10000000};
    _cleanup_free_ char *before = NULL, *after = NULL;

    roll(pki, PKI_AGENT);
    assert_int_equal(pki_retire(pki, PKI_AGENT, &revoked, 1, NULL), 0);
    _cleanup_free_ char *key = xasprintf("%s/pki/agent-ca.key", (const char *)*state);
    assert_int_equal(access(key, F_OK), -1);
    pki = reopen(state, pki);
    assert_int_equal(pki_crl(pki, NULL, 0, &before, NULL), 0);
    assert_int_equal(pki_crl(pki, &revoked, 1, &after, NULL), 0);
    assert_int_equal(count_lists(before), 1 + PKI_ROLES + 1);
    assert_int_equal(count_lists(after), 1 + PKI_ROLES + 1);
    _cleanup_free_ char *root = pki_fixture_file(*state, "root.pem", pki_root_pem(pki));
    _cleanup_free_ char *leaf = pki_fixture_file(*state, "leaf.pem", node.chain);
    _cleanup_free_ char *list = pki_fixture_file(*state, "crl.pem", before);
    const char *const argv[] = {"openssl",  "verify", "-crl_check_all", "-CAfile", root,
                                "-CRLfile", list,     "-untrusted",     leaf,      leaf,
                                NULL};
    assert_output(argv, "certificate revoked");
    pki_fixture_issued_done(&node);
    pki_free(pki);
}

/* One whose every certificate has expired is named by the root's list, and has none any more. */
static void spent_one_is_trusted_no_more(void **state)
{
    struct pki *pki = pki_fixture_open(state);
    struct issued node = pki_fixture_issue(pki, PKI_AGENT, "x");
    char *pem = NULL;

    roll(pki, PKI_AGENT);
    assert_int_equal(pki_retire(pki, PKI_AGENT, NULL, 0, NULL), 0);
    assert_int_equal(pki->roles[PKI_AGENT].items[1].public.spent_usec, INT64_MAX);
    assert_int_equal(pki->roles[PKI_AGENT].items[0].public.spent_usec -
                         pki->roles[PKI_AGENT].items[1].public.created_usec,
                     PKI_NODE_DAYS * INT64_C(86400) * 1000000);
    pki->roles[PKI_AGENT].items[0].public.spent_usec = clock_now_usec() - 1;
    assert_int_equal(pki_crl(pki, NULL, 0, &pem, NULL), 0);
    assert_int_equal(count_lists(pem), 1 + PKI_ROLES);
    _cleanup_free_ char *root = pki_fixture_file(*state, "root.pem", pki_root_pem(pki));
    _cleanup_free_ char *chain = pki_fixture_file(*state, "chain.pem", node.chain);
    _cleanup_free_ char *authority = xasprintf("%s/pki/agent-ca.pem", (const char *)*state);
    _cleanup_free_ char *list = pki_fixture_file(*state, "crl.pem", pem);
    const char *const argv[] = {"openssl",  "verify", "-crl_check_all", "-CAfile", root,
                                "-CRLfile", list,     authority,        NULL};
    assert_output(argv, "certificate revoked");
    free(pem);
    pki_fixture_issued_done(&node);
    pki_free(pki);
}

/* What is revoked later can't get on its last list: then nothing that it signed is good. What was
 * being stored when that list was made has an earlier time. */
static void retired_one_ends_with_a_later_revocation(void **state)
{
    struct pki *pki = pki_fixture_open(state);
    _cleanup_free_ char *old = xstrdup(pki_authority_id(pki, PKI_AGENT));
    struct issued node = pki_fixture_issue(pki, PKI_AGENT, "x");
    const struct pki_revoked later = {node.serial, old, clock_now_usec() - 10000000};
    _cleanup_free_ char *before = NULL, *after = NULL;

    roll(pki, PKI_AGENT);
    assert_int_equal(pki_retire(pki, PKI_AGENT, NULL, 0, NULL), 0);
    assert_int_equal(pki_crl(pki, NULL, 0, &before, NULL), 0);
    assert_int_equal(pki_crl(pki, &later, 1, &after, NULL), 0);
    assert_int_equal(count_lists(before), 1 + PKI_ROLES + 1);
    assert_int_equal(count_lists(after), 1 + PKI_ROLES);
    for (int i = 0; i < 2; i++) {
        _cleanup_free_ char *root = pki_fixture_file(*state, "root.pem", pki_root_pem(pki));
        _cleanup_free_ char *authority = xasprintf("%s/pki/agent-ca.pem", (const char *)*state);
        _cleanup_free_ char *list = pki_fixture_file(*state, "crl.pem", i ? after : before);
        const char *const argv[] = {"openssl",  "verify", "-crl_check_all", "-CAfile", root,
                                    "-CRLfile", list,     authority,        NULL};
        assert_output(argv, i ? "certificate revoked" : ": OK");
    }
    pki_fixture_issued_done(&node);
    pki_free(pki);
}

/* --- crashes --- */

static int rollover_and_retire(struct pki *pki)
{
    int rc = pki_rollover(pki, PKI_AGENT, NULL);

    return rc < 0 ? rc : pki_retire(pki, PKI_AGENT, NULL, 0, NULL);
}

/* Whatever happened before: it can sign, make its list, and finish what was begun. */
static void assert_usable(void **state)
{
    struct pki *pki = pki_fixture_open(state);
    struct issued node = pki_fixture_issue(pki, PKI_AGENT, "x");
    char *pem = NULL;

    assert_issuer(pki, &node, pki_authority_id(pki, PKI_AGENT));
    assert_int_equal(pki_crl(pki, NULL, 0, &pem, NULL), 0);
    assert_int_equal(pki_retire(pki, PKI_AGENT, NULL, 0, NULL), 0);
    assert_int_equal(rollover_and_retire(pki), 0);
    free(pem);
    pki_fixture_issued_done(&node);
    pki_free(pki);
}

static void killed_at_any_step_it_is_usable(void **state)
{
    unsigned n = 1;

    for (int is_killed = 1; is_killed; n++) {
        pid_t child = fork();
        if (child == 0) {
            struct pki *pki = pki_fixture_open(state);
            fault_arm_kill(n);
            _exit(rollover_and_retire(pki) < 0);
        }
        int status = 0;
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFEXITED(status));
        is_killed = WEXITSTATUS(status) == FAULT_KILLED;
        assert_true(is_killed || WEXITSTATUS(status) == 0);
        assert_usable(state);
    }
    assert_true(n > 4); /* key, certificate, list, deletion */
}

static void failed_at_any_step_it_goes_on(void **state)
{
    struct pki *pki = pki_fixture_open(state);
    int rc = -1;

    for (unsigned n = 1; rc < 0; n++) {
        assert_int_equal(pki_retire(pki, PKI_AGENT, NULL, 0, NULL), 0);
        fault_arm(n);
        rc = rollover_and_retire(pki);
        fault_arm(0);
        struct issued node = pki_fixture_issue(pki, PKI_AGENT, "x");
        assert_issuer(pki, &node, pki_authority_id(pki, PKI_AGENT));
        pki_fixture_issued_done(&node);
        assert_usable(state); /* another process sees a whole one, too */
        pki = reopen(state, pki);
    }
    pki_free(pki);
}

/* A key that is missing isn't taken for a retirement. */
static void damage_is_told(void **state)
{
    static const char *const FILES[] = {"agent-ca.key", "agent-ca-2.key"};
    struct pki *pki = pki_fixture_open(state);
    _cleanup_free_ char *folder = xasprintf("%s/pki", (const char *)*state);

    roll(pki, PKI_AGENT);
    pki_free(pki);
    for (size_t i = 0; i < ARRAY_LEN(FILES); i++) {
        _cleanup_free_ char *path = xasprintf("%s/%s", folder, FILES[i]);
        _cleanup_free_ char *away = xasprintf("%s/away", (const char *)*state);
        struct error error = {0};
        assert_int_equal(rename(path, away), 0);
        assert_true(pki_open(folder, &pki, &error) < 0);
        assert_non_null(strstr(error.detail, FILES[i]));
        assert_int_equal(rename(away, path), 0);
    }
    pki_free(pki_fixture_open(state));
}

static void issuers_are_read_from_certificates_only(void **state)
{
    char id[PKI_ID_SIZE];

    assert_int_equal(pki_issuer_id("", id), -EINVAL);
    assert_int_equal(pki_issuer_id("nonsense", id), -EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        in_folder(new_certificates_come_from_the_new_one),
        in_folder(one_rollover_at_a_time),
        in_folder(listener_gets_a_new_certificate_at_once),
        in_folder(listener_trusts_what_may_be_unexpired),
        in_folder(retired_one_leaves_its_list),
        in_folder(spent_one_is_trusted_no_more),
        in_folder(retired_one_ends_with_a_later_revocation),
        in_folder(killed_at_any_step_it_is_usable),
        in_folder(failed_at_any_step_it_goes_on),
        in_folder(damage_is_told),
        cmocka_unit_test(issuers_are_read_from_certificates_only),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
