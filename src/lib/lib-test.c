#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "lib/buf.h"
#include "lib/clock.h"
#include "lib/file.h"
#include "lib/hash.h"
#include "lib/ip.h"
#include "lib/json.h"
#include "lib/mem.h"
#include "lib/omap.h"

static void ip_parsing_is_strict(void **state)
{
    static const char *const BAD[] = {
        "",         "1.2.3",    "1.2.3.4.5", "256.1.1.1",         "01.2.3.4",
        " 1.2.3.4", "1.2.3.4 ", "1.2.3.-4",  "99999999999.1.1.1", "a.b.c.d"};
    static const char *const BAD_PREFIX[] = {"1.2.3.4", "1.2.3.4/33", "1.2.3.4/", "1.2.3.4/08"};
    uint32_t address = 7;
    struct ip4_prefix prefix;

    for (size_t i = 0; i < ARRAY_LEN(BAD); i++) {
        assert_int_equal(ip4_parse(BAD[i], &address), -EINVAL);
    }
    assert_int_equal(address, 7);
    assert_int_equal(ip4_parse("10.77.0.1", &address), 0);
    assert_int_equal(address, 0x0a4d0001);
    for (size_t i = 0; i < ARRAY_LEN(BAD_PREFIX); i++) {
        assert_int_equal(ip4_prefix_parse(BAD_PREFIX[i], &prefix), -EINVAL);
    }
    char text[IP4_PREFIX_TEXT_SIZE];
    assert_int_equal(ip4_prefix_parse("10.77.3.4/16", &prefix), 0);
    assert_string_equal(ip4_prefix_format(prefix, text), "10.77.3.4/16");
}

static void ports_are_read(void **state)
{
    static const char *const BAD[] = {"", "0", "080", "65536", "x", "-80", "80-", "80-0", "80-x"};
    uint16_t from, to;

    for (size_t i = 0; i < ARRAY_LEN(BAD); i++) {
        assert_null(ip_ports_read(BAD[i], &from, &to));
    }
    assert_string_equal(ip_ports_read("80", &from, &to), "");
    assert_true(from == 80 && to == 80);
    assert_string_equal(ip_ports_read("1-65535,7", &from, &to), ",7");
    assert_true(from == 1 && to == 65535);
    assert_string_equal(ip_ports_read("90-80", &from, &to), ""); /* who reads it says so */
    assert_true(from == 90 && to == 80);
}

static void prefixes_overlap(void **state)
{
    struct ip4_prefix overlay = {0x0a4d0000, 16}, ten = {0x0a000000, 8}, other = {0x0a4e0000, 16};
    struct ip4_prefix all = {0, 0};

    assert_true(ip4_overlaps(overlay, ten));
    assert_true(ip4_overlaps(ten, overlay));
    assert_false(ip4_overlaps(overlay, other));
    assert_true(ip4_overlaps(all, other));
    assert_true(ip4_contains(overlay, 0x0a4dffff));
    assert_false(ip4_contains(overlay, 0x0a4e0000));
}

static void buf_keeps_its_limit(void **state)
{
    _cleanup_buf_ struct buf buf = BUF_INIT(5);

    assert_int_equal(buf_append(&buf, "abc", 3), 0);
    assert_int_equal(buf_append(&buf, "def", 3), -E2BIG);
    assert_string_equal(buf.data, "abc");
    assert_int_equal(buf_printf(&buf, "%d", 42), 0);
    assert_string_equal(buf.data, "abc42");
    buf_consume(&buf, 2);
    assert_string_equal(buf.data, "c42");
}

static void json_border(void **state)
{
    static const char *const BAD[] = {"{\"a\":1,\"a\":2}", "{\"a\":\"\\u0000\"}", "{} x", "",
                                      "\"\xff\"",          "{\"a\":1e999}"};
    struct error error;
    json_t *json;

    for (size_t i = 0; i < ARRAY_LEN(BAD); i++) {
        assert_int_equal(json_parse(BAD[i], strlen(BAD[i]), &json, &error), -EINVAL);
        assert_int_equal(error.status, 400);
    }
    char deep[100];
    memset(deep, '[', sizeof deep);
    assert_int_equal(json_parse(deep, sizeof deep, &json, &error), -EINVAL);
    assert_non_null(strstr(error.detail, "deeper"));
}

static void merge_patch_follows_rfc7396(void **state)
{
    /* Cases of RFC 7396, appendix A. */
    static const char *const CASES[][3] = {
        {"{\"a\":\"b\"}", "{\"a\":\"c\"}", "{\"a\":\"c\"}"},
        {"{\"a\":\"b\",\"b\":\"c\"}", "{\"a\":null}", "{\"b\":\"c\"}"},
        {"{\"a\":{\"b\":\"c\"}}", "{\"a\":{\"b\":\"d\",\"c\":null}}", "{\"a\":{\"b\":\"d\"}}"},
        {"{\"a\":[{\"b\":\"c\"}]}", "{\"a\":[1]}", "{\"a\":[1]}"},
        {"[\"a\",\"b\"]", "[\"c\",\"d\"]", "[\"c\",\"d\"]"},
        {"{\"e\":null}", "{\"a\":1}", "{\"a\":1,\"e\":null}"},
        {"{}", "{\"a\":{\"bb\":{\"ccc\":null}}}", "{\"a\":{\"bb\":{}}}"},
    };

    for (size_t i = 0; i < ARRAY_LEN(CASES); i++) {
        json_t *target, *patch;
        assert_int_equal(json_parse(CASES[i][0], strlen(CASES[i][0]), &target, NULL), 0);
        assert_int_equal(json_parse(CASES[i][1], strlen(CASES[i][1]), &patch, NULL), 0);
        json_t *result = json_merge_patch(target, patch);
        _cleanup_free_ char *text = json_canonical(result);
        assert_string_equal(text, CASES[i][2]);
        json_decref(result);
        json_decref(target);
        json_decref(patch);
    }
}

static void omap_orders_and_finds(void **state)
{
    struct omap map = {0};
    char key[16];

    for (int i = 0; i < 1000; i++) {
        snprintf(key, sizeof key, "k%03d", i * 7919 % 1000);
        assert_null(omap_put(&map, key, &map));
    }
    assert_int_equal(map.len, 1000);
    int at = 0;
    omap_foreach (e, &map) {
        snprintf(key, sizeof key, "k%03d", at++);
        assert_string_equal(e->key, key);
        if (at % 2) {
            assert_ptr_equal(omap_del(&map, key), &map);
        }
    }
    assert_int_equal(at, 1000);
    assert_int_equal(map.len, 500);
    assert_string_equal(omap_first_from(&map, "k500")->key, "k501");
    assert_string_equal(omap_after(&map, "k501")->key, "k503");
    assert_null(omap_first_from(&map, "l"));
    assert_null(omap_get(&map, "k000"));
    omap_clear(&map, NULL);
    assert_null(omap_first_from(&map, ""));
}

static void base64_round_trip(void **state)
{
    /* RFC 4648 section 10. */
    static const char *const CASES[][2] = {
        {"", ""}, {"f", "Zg=="}, {"fo", "Zm8="}, {"foo", "Zm9v"}, {"foob", "Zm9vYg=="}};
    static const char *const BAD[] = {"Z", "Zg=", "Zg===", "Zh==", "Zg==Zg==", "Z*==", "Zm9v\n"};
    uint8_t *data;
    size_t size;

    for (size_t i = 0; i < ARRAY_LEN(CASES); i++) {
        _cleanup_free_ char *text = base64_encode(CASES[i][0], strlen(CASES[i][0]));
        assert_string_equal(text, CASES[i][1]);
        assert_int_equal(base64_decode(text, &data, &size), 0);
        assert_int_equal(size, strlen(CASES[i][0]));
        assert_memory_equal(data, CASES[i][0], size);
        free(data);
    }
    for (size_t i = 0; i < ARRAY_LEN(BAD); i++) {
        assert_int_equal(base64_decode(BAD[i], &data, &size), -EINVAL);
    }
}

static void clock_round_trip(void **state)
{
    char text[CLOCK_TEXT_SIZE];
    int64_t usec;

    assert_int_equal(clock_parse("2026-01-02T03:04:05.678Z", &usec), 0);
    assert_string_equal(clock_format(usec, text), "2026-01-02T03:04:05.678Z");
    assert_int_equal(clock_parse("2026-01-02 03:04:05", &usec), -EINVAL);
    assert_int_equal(clock_parse("2026-01-02T03:04:05+01:00", &usec), -EINVAL);
}

static void file_is_replaced_whole(void **state)
{
    char folder[] = "/tmp/cnsmo-lib-test-XXXXXX";
    assert_non_null(mkdtemp(folder));
    _cleanup_free_ char *path = xasprintf("%s/a/b/file", folder);
    _cleanup_free_ char *parent = xasprintf("%s/a/b", folder);
    _cleanup_buf_ struct buf buf = BUF_INIT(100);
    struct stat st;

    assert_int_equal(file_write_atomic(path, "x", 1, 0600), -ENOENT);
    assert_int_equal(file_make_folder(parent, 0700), 0);
    assert_int_equal(file_write_atomic(path, "old", 3, 0600), 0);
    assert_int_equal(file_write_atomic(path, "newer", 5, 0600), 0);
    assert_int_equal(file_read(path, &buf), 0);
    assert_string_equal(buf.data, "newer");
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    unlink(path);
    assert_int_equal(rmdir(parent), 0); /* no temporary file was left */
    _cleanup_free_ char *top = xasprintf("%s/a", folder);
    rmdir(top);
    rmdir(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ip_parsing_is_strict),  cmocka_unit_test(ports_are_read),
        cmocka_unit_test(prefixes_overlap),      cmocka_unit_test(buf_keeps_its_limit),
        cmocka_unit_test(json_border),           cmocka_unit_test(merge_patch_follows_rfc7396),
        cmocka_unit_test(omap_orders_and_finds), cmocka_unit_test(base64_round_trip),
        cmocka_unit_test(clock_round_trip),      cmocka_unit_test(file_is_replaced_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
