/* The promises of store.h about transactions, reading and watching. Files: store-file-test.c. */
#include <errno.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>

#include "lib/buf.h"
#include "lib/mem.h"
#include "store/store-test.h"

#define OP(key_, text_)                                                                           \
    {                                                                                             \
        .key = (key_), .value = (text_), .size = strlen(text_)                                    \
    }

static void revisions_count_changes(void **state)
{
    struct fixture *f = *state;
    struct outcome o;
    int64_t revision;

    assert_int_equal(store_revision(f->store), 0);
    assert_int_equal(put(f, "a", "1").revision, 1);
    assert_int_equal(put(f, "b", "2").revision, 2);
    o = put(f, "a", "3");
    assert_int_equal(o.rc, 0);
    assert_int_equal(o.calls, 1);
    assert_int_equal(o.revision, 3);
    assert_int_equal(store_revision(f->store), 3);

    /* What changes nothing has the present revision. */
    o = put(f, "absent", NULL);
    assert_int_equal(o.rc, 0);
    assert_int_equal(o.revision, 3);
    assert_int_equal(put(f, "b", NULL).revision, 4);

    _cleanup_free_ char *value = get(f, "a", &revision);
    assert_string_equal(value, "3");
    assert_int_equal(revision, 3);
    assert_null(get(f, "b", NULL));
}

static void values_are_bytes(void **state)
{
    struct fixture *f = *state;
    const char bytes[] = {'x', 0, 'y', (char)0xff};
    struct store_op ops[] = {{"bytes", bytes, sizeof bytes}, {"none", "", 0}};
    struct outcome o = {0};

    assert_int_equal(store_txn(f->store, NULL, 0, ops, 2, note_outcome, &o), 0);
    assert_int_equal(wait_outcome(f, &o).rc, 0);
    fixture_close(f);
    fixture_open(f);
    _cleanup_free_ char *none = get(f, "none", NULL);
    assert_non_null(none);
    assert_int_equal(none[0], '\0');
}

static void note_bytes(void *arg, const struct store_entry *entry)
{
    struct buf *buf = arg;

    buf_append(buf, entry->value, entry->size);
    assert_non_null(entry->value);
}

static void values_come_back_whole(void **state)
{
    struct fixture *f = *state;
    const char bytes[] = {'x', 0, 'y', (char)0xff};
    struct store_op op = {"bytes", bytes, sizeof bytes};
    struct outcome o = {0};
    _cleanup_buf_ struct buf buf = BUF_INIT(100);

    assert_int_equal(store_txn(f->store, NULL, 0, &op, 1, note_outcome, &o), 0);
    wait_outcome(f, &o);
    assert_int_equal(store_range(f->store, "", note_bytes, &buf), 0);
    assert_int_equal(buf.size, sizeof bytes);
    assert_memory_equal(buf.data, bytes, sizeof bytes);
}

static void compares_guard_a_transaction(void **state)
{
    struct fixture *f = *state;
    struct store_compare absent = {"a", 0}, wrong = {"a", 7}, right = {"a", 1};
    struct store_compare second_wrong[] = {{"a", 1}, {"b", 5}};
    struct store_op op = OP("a", "x"), two[] = {OP("new", "n"), OP("a", "y")};
    struct outcome o = {0};

    assert_int_equal(store_txn(f->store, &absent, 1, &op, 1, note_outcome, &o), 0);
    assert_int_equal(wait_outcome(f, &o).rc, 0);

    const struct store_compare *const bad[] = {&absent, &wrong, second_wrong};
    const size_t bad_len[] = {1, 1, 2};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        o = (struct outcome){0};
        assert_int_equal(store_txn(f->store, bad[i], bad_len[i], two, 2, note_outcome, &o), 0);
        assert_int_equal(wait_outcome(f, &o).rc, -ECANCELED);
        assert_int_equal(o.revision, 1);
    }
    _cleanup_free_ char *before = dump(f);
    assert_string_equal(before, "a=x@1 ");

    o = (struct outcome){0};
    assert_int_equal(store_txn(f->store, &right, 1, two, 2, note_outcome, &o), 0);
    assert_int_equal(wait_outcome(f, &o).rc, 0);
    _cleanup_free_ char *after = dump(f);
    assert_string_equal(after, "a=y@2 new=n@2 ");
}

/* All are queued before the writer can have answered one, so most share a batch. */
static void a_failed_compare_hurts_no_other(void **state)
{
    struct fixture *f = *state;
    struct outcome outcomes[60] = {0};

    for (size_t i = 0; i < ARRAY_LEN(outcomes); i++) {
        char key[16];
        snprintf(key, sizeof key, "k%02zu", i);
        struct store_compare compare = {key, i % 3 == 1 ? 99 : 0};
        struct store_op op = OP(key, "v");
        assert_int_equal(store_txn(f->store, &compare, 1, &op, 1, note_outcome, &outcomes[i]), 0);
    }
    wait_outcome(f, &outcomes[ARRAY_LEN(outcomes) - 1]);
    int64_t revision = 0;
    for (size_t i = 0; i < ARRAY_LEN(outcomes); i++) {
        revision += i % 3 != 1;
        assert_int_equal(outcomes[i].calls, 1);
        assert_int_equal(outcomes[i].rc, i % 3 == 1 ? -ECANCELED : 0);
        assert_int_equal(outcomes[i].revision, revision);
    }
    assert_int_equal(store_revision(f->store), 40);
}

/* Of two that compare on the same revision, one wins, in the same batch or not. */
static void a_race_has_one_winner(void **state)
{
    struct fixture *f = *state;
    struct store_compare compare = {"seat", 0};
    struct store_op first = OP("seat", "first"), second = OP("seat", "second");
    struct outcome a = {0}, b = {0};

    store_txn(f->store, &compare, 1, &first, 1, note_outcome, &a);
    store_txn(f->store, &compare, 1, &second, 1, note_outcome, &b);
    wait_outcome(f, &b);
    assert_int_equal(a.rc, 0);
    assert_int_equal(b.rc, -ECANCELED);
    _cleanup_free_ char *value = get(f, "seat", NULL);
    assert_string_equal(value, "first");
}

static void limits_are_kept(void **state)
{
    struct fixture *f = *state;
    struct store_op ops[STORE_OPS_MAX + 1];
    struct store_compare compares[STORE_OPS_MAX + 1];
    static char big[STORE_TXN_BYTES_MAX + 1];
    struct outcome o = {0};

    for (size_t i = 0; i < ARRAY_LEN(ops); i++) {
        ops[i] = (struct store_op)OP("k", "v");
        compares[i] = (struct store_compare){"other", 0};
    }
    assert_int_equal(store_txn(f->store, NULL, 0, ops, STORE_OPS_MAX + 1, note_outcome, &o),
                     -E2BIG);
    assert_int_equal(store_txn(f->store, compares, STORE_OPS_MAX + 1, ops, 1, note_outcome, &o),
                     -E2BIG);
    struct store_op large = {"k", big, STORE_TXN_BYTES_MAX};
    assert_int_equal(store_txn(f->store, NULL, 0, &large, 1, note_outcome, &o), -E2BIG);
    struct store_op halves[] = {{"a", big, STORE_TXN_BYTES_MAX / 2},
                                {"b", big, STORE_TXN_BYTES_MAX / 2}};
    assert_int_equal(store_txn(f->store, NULL, 0, halves, 2, note_outcome, &o), -E2BIG);
    uv_run(&f->loop, UV_RUN_NOWAIT);
    assert_int_equal(o.calls, 0);

    large.size = STORE_TXN_BYTES_MAX - 1;
    assert_int_equal(store_txn(f->store, compares, STORE_OPS_MAX, &large, 1, note_outcome, &o), 0);
    assert_int_equal(wait_outcome(f, &o).rc, 0);
    o = (struct outcome){0};
    assert_int_equal(store_txn(f->store, NULL, 0, ops, STORE_OPS_MAX, note_outcome, &o), 0);
    assert_int_equal(wait_outcome(f, &o).rc, 0);
}

static void keys_are_checked(void **state)
{
    static const char *const BAD[] = {"",
                                      "\xff",
                                      "a\xc0\xaf",
                                      "\xe0\x80\x80",
                                      "\xed\xa0\x80",
                                      "\xf4\x90\x80\x80",
                                      "cut\xe2\x82",
                                      "\x80",
                                      "\xf8\x88\x80\x80\x80"};
    static const char *const GOOD[] = {"a", "\xc3\xa9", "\xe2\x82\xac/x", "\xf0\x9f\x98\x80"};
    struct fixture *f = *state;
    char key[STORE_KEY_MAX + 2];

    for (size_t i = 0; i < ARRAY_LEN(BAD); i++) {
        struct store_op op = OP(BAD[i], "v");
        struct store_compare compare = {BAD[i], 0};
        assert_int_equal(store_txn(f->store, NULL, 0, &op, 1, NULL, NULL), -EINVAL);
        assert_int_equal(store_txn(f->store, &compare, 1, NULL, 0, NULL, NULL), -EINVAL);
    }
    for (size_t i = 0; i < ARRAY_LEN(GOOD); i++) {
        assert_int_equal(put(f, GOOD[i], "v").rc, 0);
    }
    memset(key, 'k', sizeof key);
    key[STORE_KEY_MAX + 1] = '\0';
    struct store_op op = OP(key, "v");
    assert_int_equal(store_txn(f->store, NULL, 0, &op, 1, NULL, NULL), -EINVAL);
    key[STORE_KEY_MAX] = '\0';
    assert_int_equal(put(f, key, "v").rc, 0);
    struct store_compare negative = {"a", -1};
    assert_int_equal(store_txn(f->store, &negative, 1, NULL, 0, NULL, NULL), -EINVAL);
}

static void arguments_are_copied(void **state)
{
    struct fixture *f = *state;
    char key[] = "key", value[] = "value";
    struct store_op op = {key, value, strlen(value)};
    struct outcome o = {0};

    assert_int_equal(store_txn(f->store, NULL, 0, &op, 1, note_outcome, &o), 0);
    memset(key, 'x', strlen(key));
    memset(value, 'x', strlen(value));
    wait_outcome(f, &o);
    _cleanup_free_ char *text = dump(f);
    assert_string_equal(text, "key=value@1 ");
}

static void ranges_are_prefixes_in_byte_order(void **state)
{
    static const char *const KEYS[] = {"b", "a/2", "a/10", "a", "a/\xc3\xa9", "a0", "A"};
    struct fixture *f = *state;
    _cleanup_buf_ struct buf keys = BUF_INIT(1000);

    for (size_t i = 0; i < ARRAY_LEN(KEYS); i++) {
        put(f, KEYS[i], KEYS[i]);
    }
    assert_int_equal(store_range(f->store, "a/", note_bytes, &keys), 0);
    assert_string_equal(keys.data, "a/10a/2a/\xc3\xa9");
    buf_done(&keys);
    assert_int_equal(store_range(f->store, "", note_bytes, &keys), 0);
    assert_string_equal(keys.data, "Aaa/10a/2a/\xc3\xa9"
                                   "a0b");
    buf_done(&keys);
    assert_int_equal(store_range(f->store, "zz", note_bytes, &keys), 0);
    assert_int_equal(keys.size, 0);
}

/* --- watching --- */

struct witness {
    struct fixture *f;
    struct buf log; /* what happened, in order */
};

static void on_change(void *arg, int64_t revision, const struct store_entry *entries, size_t len)
{
    struct witness *w = arg;

    buf_printf(&w->log, "%lld:", (long long)revision);
    for (size_t i = 0; i < len; i++) {
        assert_int_equal(entries[i].revision, revision);
        buf_printf(&w->log, "%s%s=%.*s", i ? "," : "", entries[i].key, (int)entries[i].size,
                   entries[i].value ? (const char *)entries[i].value : "");
        buf_printf(&w->log, "%s", entries[i].value ? "" : "(deleted)");
    }
    buf_printf(&w->log, " ");
    assert_int_equal(store_revision(w->f->store), revision);
}

static void on_done(void *arg, int rc, int64_t revision)
{
    struct witness *w = arg;

    buf_printf(&w->log, "done%d@%lld ", rc, (long long)revision);
}

static void watch_comes_before_done(void **state)
{
    struct fixture *f = *state;
    struct witness w = {.f = f, .log = BUF_INIT(4000)};
    struct store_op ops[] = {OP("a", "1"), {"absent", NULL, 0}, OP("b", "2"), {"a", NULL, 0}};
    struct store_compare wrong = {"b", 9};

    assert_int_equal(store_watch(f->store, 0, on_change, &w), 0);
    store_txn(f->store, NULL, 0, ops, 4, on_done, &w);
    store_txn(f->store, &wrong, 1, ops, 1, on_done, &w);
    store_txn(f->store, NULL, 0, &ops[1], 1, on_done, &w);
    store_txn(f->store, NULL, 0, ops, 1, on_done, &w);
    put(f, "last", "x");
    assert_string_equal(w.log.data, "1:a=1,b=2,a=(deleted) done0@1 done-125@1 done0@1 "
                                    "2:a=1 done0@2 3:last=x ");
    buf_done(&w.log);
}

static void watch_from_the_present_tells_no_past(void **state)
{
    struct fixture *f = *state;
    struct witness w = {.f = f, .log = BUF_INIT(4000)};

    put(f, "a", "1");
    put(f, "b", "");
    put(f, "a", NULL);
    fixture_close(f);
    fixture_open(f);
    w.f = f;
    put(f, "c", "4");

    assert_int_equal(store_watch(f->store, 4, on_change, &w), 0);
    assert_int_equal(w.log.size, 0);
    assert_int_equal(store_watch(f->store, 5, on_change, &w), -ESTALE);
    put(f, "d", "5");
    assert_int_equal(w.log.size, 0);
}

static void on_past(void *arg, int64_t revision, const struct store_entry *entries, size_t len)
{
    struct buf *log = arg;

    for (size_t i = 0; i < len; i++) {
        buf_printf(log, "%lld:%s=%s ", (long long)revision, entries[i].key,
                   entries[i].value ? "put" : "deleted");
    }
}

static void the_past_is_told_once(void **state)
{
    struct fixture *f = *state;
    _cleanup_buf_ struct buf log = BUF_INIT(4000);
    struct outcome o = {0};
    struct store_op op = OP("d", "5");

    put(f, "a", "1");
    put(f, "b", "");
    put(f, "a", NULL);
    assert_int_equal(store_watch(f->store, 1, on_past, &log), 0);
    assert_string_equal(log.data, "2:b=put 3:a=deleted ");
    buf_done(&log);

    /* A change that is committed but not delivered yet comes exactly once, too. */
    store_txn(f->store, NULL, 0, &op, 1, note_outcome, &o);
    assert_int_equal(store_watch(f->store, 3, on_past, &log), 0);
    wait_outcome(f, &o);
    assert_string_equal(log.data, "4:d=put ");
    buf_done(&log);

    assert_int_equal(store_watch(f->store, 0, NULL, NULL), 0);
    put(f, "e", "6");
    assert_int_equal(log.size, 0);
}

static void what_is_compacted_is_stale(void **state)
{
    struct fixture *f = *state;
    _cleanup_buf_ struct buf log = BUF_INIT(4000);

    for (int i = 0; i < 10; i++) {
        put(f, i % 2 ? "odd" : "even", "v");
    }
    assert_int_equal(store_compact(f->store, 11), -EINVAL);
    assert_int_equal(store_compact(f->store, 7), 0);
    assert_int_equal(store_watch(f->store, 6, on_past, &log), -ESTALE);
    assert_int_equal(store_watch(f->store, 7, on_past, &log), 0);
    assert_string_equal(log.data, "8:odd=put 9:even=put 10:odd=put ");
    fixture_close(f);
    fixture_open(f);
    assert_int_equal(store_watch(f->store, 6, on_past, &log), -ESTALE);
    assert_int_equal(store_revision(f->store), 10);

    /* Compacting everything keeps the values and the counter. */
    assert_int_equal(store_compact(f->store, 10), 0);
    fixture_close(f);
    fixture_open(f);
    assert_int_equal(store_revision(f->store), 10);
    _cleanup_free_ char *values = dump(f);
    assert_string_equal(values, "even=v@9 odd=v@10 ");
    assert_int_equal(put(f, "even", "w").revision, 11);
}

/* More rows than one slice, so that the writer goes on by itself. */
static void compaction_frees_the_log(void **state)
{
    struct fixture *f = *state;
    struct store_op ops[STORE_OPS_MAX];
    int64_t rows = -1;
    sqlite3 *db;
    sqlite3_stmt *statement;

    for (size_t i = 0; i < ARRAY_LEN(ops); i++) {
        ops[i] = (struct store_op)OP("k", "v");
    }
    for (int i = 0; i < 9; i++) {
        store_txn(f->store, NULL, 0, ops, ARRAY_LEN(ops), NULL, NULL);
    }
    put(f, "last", "v");
    assert_int_equal(store_compact(f->store, 9), 0);
    fixture_close(f);
    assert_int_equal(sqlite3_open(f->path, &db), SQLITE_OK);
    sqlite3_prepare_v2(db, "SELECT count(*) FROM log", -1, &statement, NULL);
    assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
    rows = sqlite3_column_int64(statement, 0);
    sqlite3_finalize(statement);
    sqlite3_close(db);
    assert_int_equal(rows, 1);
}

/* --- callbacks that call --- */

struct chain {
    struct fixture *f;
    int left;
    struct outcome end;
};

static void next_in_chain(void *arg, int rc, int64_t revision)
{
    struct chain *chain = arg;
    struct store_op op = OP("chain", "x");

    assert_int_equal(rc, 0);
    if (--chain->left == 0) {
        note_outcome(&chain->end, rc, revision);
        return;
    }
    assert_int_equal(store_txn(chain->f->store, NULL, 0, &op, 1, next_in_chain, chain), 0);
}

static void a_callback_may_write(void **state)
{
    struct chain chain = {.f = *state, .left = 20};
    struct store_op op = OP("chain", "x");

    store_txn(chain.f->store, NULL, 0, &op, 1, next_in_chain, &chain);
    assert_int_equal(wait_outcome(chain.f, &chain.end).revision, 20);
}

static void closing_callback(void *arg, int rc, int64_t revision)
{
    struct chain *chain = arg;
    struct store_op op = OP("late", "x");

    store_close(chain->f->store);
    assert_int_equal(store_txn(chain->f->store, NULL, 0, &op, 1, NULL, NULL), -ESHUTDOWN);
    chain->f->store = NULL;
    note_outcome(&chain->end, rc, revision);
}

static void close_in_the_past(void *arg, int64_t revision, const struct store_entry *entries,
                              size_t len)
{
    struct chain *chain = arg;

    assert_int_equal(revision, 1);
    chain->left++;
    store_close(chain->f->store);
    chain->f->store = NULL;
}

static void a_watcher_may_close(void **state)
{
    struct chain chain = {.f = *state};

    put(chain.f, "a", "1");
    put(chain.f, "b", "2");
    assert_int_equal(store_watch(chain.f->store, 0, close_in_the_past, &chain), 0);
    assert_int_equal(chain.left, 1);
}

static void a_callback_may_close(void **state)
{
    struct chain chain = {.f = *state};
    struct store_op op = OP("k", "x");
    struct outcome others[10] = {0};

    store_txn(chain.f->store, NULL, 0, &op, 1, closing_callback, &chain);
    for (size_t i = 0; i < ARRAY_LEN(others); i++) {
        store_txn(chain.f->store, NULL, 0, &op, 1, note_outcome, &others[i]);
    }
    wait_outcome(chain.f, &chain.end);
    for (size_t i = 0; i < ARRAY_LEN(others); i++) {
        assert_int_equal(others[i].calls, 1);
        assert_int_equal(others[i].rc, 0);
    }
}

static void close_finishes_what_is_queued(void **state)
{
    struct fixture *f = *state;
    struct outcome outcomes[200] = {0};

    for (size_t i = 0; i < ARRAY_LEN(outcomes); i++) {
        char key[16];
        snprintf(key, sizeof key, "k%03zu", i);
        struct store_op op = OP(key, "v");
        store_txn(f->store, NULL, 0, &op, 1, note_outcome, &outcomes[i]);
    }
    fixture_close(f);
    for (size_t i = 0; i < ARRAY_LEN(outcomes); i++) {
        assert_int_equal(outcomes[i].calls, 1);
        assert_int_equal(outcomes[i].rc, 0);
        assert_int_equal(outcomes[i].revision, (int64_t)i + 1);
    }
    fixture_open(f);
    assert_int_equal(store_revision(f->store), 200);
    store_close(NULL);
}

/* 64 MiB pass through; what SQLite holds afterwards is its page cache. */
static void values_are_not_kept_in_memory(void **state)
{
    struct fixture *f = *state;
    static char value[1 << 20];

    for (int i = 0; i < 64; i++) {
        char key[16];
        snprintf(key, sizeof key, "big%02d", i);
        struct store_op op = {key, value, sizeof value - 16};
        struct outcome o = {0};
        assert_int_equal(store_txn(f->store, NULL, 0, &op, 1, note_outcome, &o), 0);
        assert_int_equal(wait_outcome(f, &o).rc, 0);
    }
    assert_in_range(sqlite3_memory_used(), 1, 6 << 20);
}

#define T(test) cmocka_unit_test_setup_teardown(test, fixture_setup, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(revisions_count_changes),
        T(values_are_bytes),
        T(values_come_back_whole),
        T(compares_guard_a_transaction),
        T(a_failed_compare_hurts_no_other),
        T(a_race_has_one_winner),
        T(limits_are_kept),
        T(keys_are_checked),
        T(arguments_are_copied),
        T(ranges_are_prefixes_in_byte_order),
        T(watch_comes_before_done),
        T(watch_from_the_present_tells_no_past),
        T(the_past_is_told_once),
        T(what_is_compacted_is_stale),
        T(compaction_frees_the_log),
        T(a_callback_may_write),
        T(a_watcher_may_close),
        T(a_callback_may_close),
        T(close_finishes_what_is_queued),
        T(values_are_not_kept_in_memory),
    };

    return cmocka_run_group_tests_name("store", tests, NULL, NULL);
}
