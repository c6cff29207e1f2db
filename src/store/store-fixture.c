#include "store/store-test.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/buf.h"
#include "lib/mem.h"

int fixture_setup(void **state)
{
    struct fixture *f = xnew(struct fixture);

    strcpy(f->folder, "/tmp/store-test-XXXXXX");
    assert_non_null(mkdtemp(f->folder));
    snprintf(f->path, sizeof f->path, "%s/cnsmod.db", f->folder);
    assert_int_equal(uv_loop_init(&f->loop), 0);
    *state = f;
    fixture_open(f);
    return 0;
}

static void remove_folder(const char *path)
{
    DIR *folder = opendir(path);

    for (struct dirent *e; folder && (e = readdir(folder));) {
        _cleanup_free_ char *file = xasprintf("%s/%s", path, e->d_name);
        unlink(file);
    }
    if (folder) {
        closedir(folder);
    }
    rmdir(path);
}

int fixture_teardown(void **state)
{
    struct fixture *f = *state;

    fixture_close(f);
    assert_int_equal(uv_loop_close(&f->loop), 0);
    remove_folder(f->folder);
    free(f);
    return 0;
}

void fixture_open(struct fixture *f)
{
    int rc = store_open(&f->loop, f->path, &f->store, &f->error);

    if (rc < 0) {
        fail_msg("cannot open: %s", f->error.detail);
    }
}

void fixture_close(struct fixture *f)
{
    store_close(f->store);
    f->store = NULL;
    uv_run(&f->loop, UV_RUN_DEFAULT);
}

char *fixture_file(const struct fixture *f, const char *name)
{
    return xasprintf("%s/%s", f->folder, name);
}

void note_outcome(void *arg, int rc, int64_t revision)
{
    struct outcome *outcome = arg;

    outcome->calls++;
    outcome->rc = rc;
    outcome->revision = revision;
}

static void on_deadline(uv_timer_t *timer)
{
    fail_msg("no outcome within 20 s");
}

struct outcome wait_outcome(struct fixture *f, struct outcome *outcome)
{
    uv_timer_t deadline;

    uv_timer_init(&f->loop, &deadline);
    uv_timer_start(&deadline, on_deadline, 20000, 0);
    while (outcome->calls == 0) {
        uv_run(&f->loop, UV_RUN_ONCE);
    }
    uv_close((uv_handle_t *)&deadline, NULL);
    uv_run(&f->loop, UV_RUN_NOWAIT);
    return *outcome;
}

struct outcome put(struct fixture *f, const char *key, const char *value)
{
    struct store_op op = {.key = key, .value = value, .size = value ? strlen(value) : 0};
    struct outcome outcome = {0};

    assert_int_equal(store_txn(f->store, NULL, 0, &op, 1, note_outcome, &outcome), 0);
    return wait_outcome(f, &outcome);
}

struct wanted {
    const char *key;
    char *value;
    int64_t revision;
};

static void on_wanted(void *arg, const struct store_entry *entry)
{
    struct wanted *wanted = arg;

    if (strcmp(entry->key, wanted->key) == 0) {
        wanted->value = xstrndup(entry->value, entry->size);
        wanted->revision = entry->revision;
    }
}

char *get(struct fixture *f, const char *key, int64_t *ret_revision)
{
    struct wanted wanted = {.key = key};

    assert_int_equal(store_range(f->store, key, on_wanted, &wanted), 0);
    if (ret_revision) {
        *ret_revision = wanted.revision;
    }
    return wanted.value;
}

static void on_dump(void *arg, const struct store_entry *entry)
{
    buf_printf(arg, "%s=%.*s@%lld ", entry->key, (int)entry->size, (const char *)entry->value,
               (long long)entry->revision);
}

char *dump(struct fixture *f)
{
    struct buf buf = BUF_INIT(16 << 20);

    buf_append(&buf, "", 0);
    assert_int_equal(store_range(f->store, "", on_dump, &buf), 0);
    return buf.data ? buf.data : xstrdup("");
}
