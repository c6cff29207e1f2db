/* The replica's file: what is added to it, what a crash leaves, what isn't believed. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/replica.h"
#include "lib/file.h"
#include "lib/json.h"
#include "lib/mem.h"

enum {
    TEXT_MAX = 4 << 20,
};

struct fixture {
    char folder[64];
    char *path;
    struct replica replica;
};

static int set_up(void **state)
{
    struct fixture *f = xnew(struct fixture);

    snprintf(f->folder, sizeof f->folder, "/tmp/replica-test.XXXXXX");
    assert_non_null(mkdtemp(f->folder));
    f->path = xasprintf("%s/replica.json", f->folder);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    replica_done(&f->replica);
    unlink(f->path);
    assert_int_equal(rmdir(f->folder), 0);
    free(f->path);
    free(f);
    return 0;
}

/* value < 0: delete. */
static void set(struct fixture *f, const char *key, int value)
{
    struct digest sum = f->replica.digest;
    const char *old = omap_get(&f->replica.resources, key);
    json_t *body = value < 0 ? NULL : json_pack("{s:i}", "v", value);
    char hex[33];

    if (old) {
        digest_remove(&sum, digest_of_text(key, old));
    }
    if (body) {
        digest_add(&sum, digest_of(key, body));
    }
    replica_change(&f->replica, key, body);
    json_decref(body);
    assert_true(replica_commit(&f->replica, f->replica.revision + 1, digest_format(sum, hex), NULL,
                               NULL) >= 0);
}

static void save(struct fixture *f)
{
    assert_int_equal(replica_save(&f->replica, f->path), 0);
}

static size_t file_size(const struct fixture *f)
{
    struct stat st;

    assert_int_equal(stat(f->path, &st), 0);
    return (size_t)st.st_size;
}

/* The file says what the replica is. */
static void assert_saved(struct fixture *f)
{
    struct replica loaded = {0};

    assert_int_equal(replica_load(&loaded, f->path, NULL), 0);
    assert_int_equal(loaded.revision, f->replica.revision);
    assert_int_equal(loaded.resources.len, f->replica.resources.len);
    assert_true(loaded.digest.high == f->replica.digest.high &&
                loaded.digest.low == f->replica.digest.low);
    omap_foreach (entry, &f->replica.resources) {
        assert_string_equal(entry->value, omap_get(&loaded.resources, entry->key));
    }
    replica_done(&loaded);
}

/* As a new process finds it. */
static int load_again(struct fixture *f)
{
    replica_done(&f->replica);
    return replica_load(&f->replica, f->path, NULL);
}

static int value_of(struct fixture *f, const char *key)
{
    json_t *body = replica_body(&f->replica, key);
    int value = (int)json_get_integer(body, "v", -1);

    json_decref(body);
    return value;
}

/* --- tests --- */

static void a_change_adds_a_line_of_its_size(void **state)
{
    struct fixture *f = *state;
    char key[16];

    for (int i = 0; i < 1000; i++) {
        snprintf(key, sizeof key, "k/%d", i);
        set(f, key, i);
    }
    save(f);
    size_t before = file_size(f);
    set(f, "k/7", 1);
    set(f, "k/8", -1);
    save(f);
    assert_in_range(file_size(f) - before, 50, 150);
    assert_saved(f);
    assert_int_equal(load_again(f), 0);
    set(f, "k/9", 5); /* a new process goes on where the last one ended */
    save(f);
    assert_in_range(file_size(f) - before, 100, 300);
    assert_saved(f);
    f->replica.revision++;
    save(f);
    assert_saved(f);
}

static void the_file_stays_bounded(void **state)
{
    struct fixture *f = *state;
    char key[2000];
    size_t largest = 0;

    memset(key, 'k', sizeof key);
    key[sizeof key - 1] = '\0';
    for (int i = 0; i < 400; i++) {
        set(f, key, i);
        save(f);
        largest = file_size(f) > largest ? file_size(f) : largest;
    }
    assert_in_range(largest, 200 << 10, 300 << 10);
    assert_saved(f);
}

static void a_line_cut_short_is_passed_over(void **state)
{
    struct fixture *f = *state;
    _cleanup_buf_ struct buf text = BUF_INIT(TEXT_MAX);

    set(f, "k/a", 1);
    save(f);
    set(f, "k/a", 2);
    save(f);
    size_t whole = file_size(f);
    set(f, "k/a", 3);
    save(f);
    assert_int_equal(file_read(f->path, &text), 0);
    for (size_t size = whole; size < text.size; size++) {
        assert_int_equal(file_write_atomic(f->path, text.data, size, 0600), 0);
        assert_int_equal(load_again(f), 0);
        assert_int_equal(value_of(f, "k/a"), 2);
        set(f, "k/b", 1);
        save(f);
        assert_saved(f);
    }
    memset(text.data + whole, 0, 20); /* a block that never came to the disk */
    assert_int_equal(file_write_atomic(f->path, text.data, text.size, 0600), 0);
    assert_int_equal(load_again(f), 0);
    assert_int_equal(value_of(f, "k/a"), 2);
}

/* Any other damage anywhere: it isn't believed. */
static void a_damaged_line_is_not_believed(void **state)
{
    struct fixture *f = *state;
    _cleanup_buf_ struct buf text = BUF_INIT(TEXT_MAX);
    unsigned refused = 0;

    for (int i = 1; i < 4; i++) {
        set(f, "k/a", i);
        save(f);
    }
    assert_int_equal(file_read(f->path, &text), 0);
    for (char *at = text.data; (at = strstr(at, "\"v\":"));) {
        at += 4;
        char was = *at;
        *at = '7';
        assert_int_equal(file_write_atomic(f->path, text.data, text.size, 0600), 0);
        assert_int_equal(load_again(f), -EINVAL);
        assert_int_equal(f->replica.resources.len, 0);
        *at = was;
        refused++;
    }
    assert_int_equal(refused, 3);
    for (char *end = text.data; (end = strchr(end, '\n')) && end[1]; end++) {
        char was = end[1];
        end[1] = 'x'; /* no JSON */
        assert_int_equal(file_write_atomic(f->path, text.data, text.size, 0600), 0);
        assert_int_equal(load_again(f), -EINVAL);
        end[1] = was;
        refused++;
    }
    assert_int_equal(refused, 5);
}

static void a_file_of_one_line_without_end_is_read(void **state)
{
    struct fixture *f = *state;
    _cleanup_buf_ struct buf text = BUF_INIT(TEXT_MAX);

    set(f, "k/a", 1);
    save(f);
    assert_int_equal(file_read(f->path, &text), 0);
    assert_int_equal(file_write_atomic(f->path, text.data, text.size - 1, 0600), 0);
    assert_int_equal(load_again(f), 0);
    set(f, "k/a", 2);
    save(f);
    assert_saved(f);
}

static void a_file_that_is_gone_or_another_is_written_anew(void **state)
{
    struct fixture *f = *state;

    set(f, "k/a", 1);
    save(f);
    unlink(f->path);
    set(f, "k/b", 1);
    save(f);
    assert_saved(f);
    assert_int_equal(file_write_atomic(f->path, "{}", 2, 0600), 0);
    set(f, "k/c", 1);
    save(f);
    assert_saved(f);
}

static void what_could_not_be_saved_goes_with_the_next(void **state)
{
    struct fixture *f = *state;

    set(f, "k/a", 1);
    save(f);
    _cleanup_free_ char *away = xasprintf("%s/missing/replica.json", f->folder);
    set(f, "k/b", 1);
    assert_int_equal(replica_save(&f->replica, away), -ENOENT);
    set(f, "k/c", 1);
    save(f);
    assert_saved(f);
    assert_int_equal(f->replica.unsaved.len, 0);
}

#define REPLICA_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        REPLICA_TEST(a_change_adds_a_line_of_its_size),
        REPLICA_TEST(the_file_stays_bounded),
        REPLICA_TEST(a_line_cut_short_is_passed_over),
        REPLICA_TEST(a_damaged_line_is_not_believed),
        REPLICA_TEST(a_file_of_one_line_without_end_is_read),
        REPLICA_TEST(a_file_that_is_gone_or_another_is_written_anew),
        REPLICA_TEST(what_could_not_be_saved_goes_with_the_next),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
