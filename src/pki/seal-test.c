#include "pki/pki-fixture.h"

#include <errno.h>
#include <string.h>

#include "lib/file.h"
#include "lib/hash.h"
#include "lib/mem.h"
#include "lib/spawn.h"
#include "pki/internal.h"

static void what_is_sealed_comes_back(void **state)
{
    static const char SECRET[] = "-----BEGIN PRIVATE KEY-----\n\0with a NUL in it";
    struct pki *pki = pki_fixture_open(state);
    char *sealed = pki_seal(pki, SECRET, sizeof SECRET);
    char *again = pki_seal(pki, SECRET, sizeof SECRET), *plain = NULL;
    size_t size = 0;

    assert_mode(*state, "seal.key", 0600);
    assert_string_not_equal(sealed, again); /* a nonce each */
    assert_null(strstr(sealed, "BEGIN"));
    pki_free(pki);
    pki = pki_fixture_open(state); /* the key is kept */
    assert_int_equal(pki_unseal(pki, sealed, &plain, &size, NULL), 0);
    assert_int_equal(size, sizeof SECRET);
    assert_memory_equal(plain, SECRET, size);
    assert_int_equal(plain[size], '\0');
    free(plain);
    free(sealed);
    free(again);
    sealed = pki_seal(pki, "", 0);
    assert_int_equal(pki_unseal(pki, sealed, &plain, &size, NULL), 0);
    assert_int_equal(size, 0);
    assert_string_equal(plain, "");
    free(plain);
    free(sealed);
    pki_free(pki);
}

static void assert_refused(const struct pki *pki, const char *text)
{
    struct error error = {0};
    char *plain = NULL;
    size_t size;

    assert_int_equal(pki_unseal(pki, text, &plain, &size, &error), -EIO);
    assert_non_null(strstr(error.detail, "damaged"));
    assert_null(plain);
}

/* Every bit counts: version, nonce, text and tag. */
static void damage_is_refused(void **state)
{
    struct pki *pki = pki_fixture_open(state);
    _cleanup_free_ char *sealed = pki_seal(pki, "secret", 6);
    _cleanup_free_ char *large = xcalloc(PKI_SEALED_MAX + 2, 1);
    _cleanup_free_ uint8_t *data = NULL;
    size_t size;

    assert_int_equal(base64_decode(sealed, &data, &size), 0);
    for (size_t bit = 0; bit < 8 * size; bit++) {
        data[bit / 8] ^= (uint8_t)(1 << bit % 8);
        _cleanup_free_ char *damaged = base64_encode(data, size);
        assert_refused(pki, damaged);
        data[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    for (size_t cut = 0; cut < size; cut++) {
        _cleanup_free_ char *damaged = base64_encode(data, cut);
        assert_refused(pki, damaged);
    }
    memset(large, 'A', PKI_SEALED_MAX + 1);
    assert_refused(pki, large);
    assert_refused(pki, "no base64");
    pki_free(pki);
}

static void other_keys_and_bad_key_files_are_told(void **state)
{
    static const char *const BAD[] = {"", "short", "zz", "\n"};
    struct pki *pki = pki_fixture_open(state);
    _cleanup_free_ char *sealed = pki_seal(pki, "secret", 6);
    _cleanup_free_ char *folder = xasprintf("%s/pki", (const char *)*state);
    _cleanup_free_ char *path = xasprintf("%s/seal.key", folder);

    pki_free(pki);
    assert_int_equal(unlink(path), 0);
    pki = pki_fixture_open(state); /* a new key */
    assert_refused(pki, sealed);
    pki_free(pki);
    for (size_t i = 0; i < ARRAY_LEN(BAD); i++) {
        struct error error = {0};
        assert_int_equal(file_write_atomic(path, BAD[i], strlen(BAD[i]), 0600), 0);
        assert_int_equal(pki_open(folder, &pki, &error), -EIO);
        assert_non_null(strstr(error.detail, "seal.key"));
    }
}

static size_t assert_key(const char *text)
{
    _cleanup_free_ uint8_t *data = NULL;
    size_t size = 0;

    assert_int_equal(base64_decode(text, &data, &size), 0);
    return size;
}

/* WireGuard's own program computes the same public key. */
static void wireguard_pairs_belong_together(void **state)
{
    char *private[2], *public[2];

    for (int i = 0; i < 2; i++) {
        assert_int_equal(pki_wireguard_pair(&private[i], &public[i], NULL), 0);
        assert_int_equal(assert_key(private[i]), 32);
        assert_int_equal(assert_key(public[i]), 32);
    }
    assert_string_not_equal(private[0], private[1]);
    assert_string_not_equal(public[0], public[1]);
    for (int i = 0; i < 2; i++) {
        const char *const argv[] = {"wg", "pubkey", NULL};
        struct buf out = BUF_INIT(256);
        const struct spawn spawn = {
            .argv = argv, .input = private[i], .input_size = strlen(private[i]), .out = &out};
        assert_int_equal(spawn_run(&spawn), 0);
        out.data[strcspn(out.data, "\n")] = '\0';
        assert_string_equal(out.data, public[i]);
        buf_done(&out);
        x509_secret_free(&private[i]);
        free(public[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        in_folder(what_is_sealed_comes_back),
        in_folder(damage_is_refused),
        in_folder(other_keys_and_bad_key_files_are_told),
        cmocka_unit_test(wireguard_pairs_belong_together),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
