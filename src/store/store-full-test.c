/* A real disk that is full: a small tmpfs in a mount namespace of this process. Needs root. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "lib/mem.h"
#include "store/store-test.h"

enum {
    WRITES = 40,
};

static int setup(void **state)
{
    fixture_setup(state);
    struct fixture *f = *state;
    fixture_close(f);
    unlink(f->path);
    if (mount("none", f->folder, "tmpfs", 0, "size=24m") < 0) {
        fail_msg("cannot mount a tmpfs: %s", strerror(errno));
    }
    fixture_open(f);
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    fixture_close(f);
    umount2(f->folder, MNT_DETACH);
    return fixture_teardown(state);
}

/* Takes all the space that is left, but for `spare` bytes. */
static void fill_disk(const char *path, off_t spare)
{
    static const char block[4096];
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

    while (write(fd, block, sizeof block) > 0) {
    }
    assert_int_equal(errno, ENOSPC);
    assert_int_equal(ftruncate(fd, lseek(fd, 0, SEEK_CUR) - spare), 0);
    close(fd);
}

/* Writes of all sizes, many in one batch. */
static void write_many(struct fixture *f, const char *round, struct outcome *outcomes)
{
    static char value[200000];

    for (int i = 0; i < WRITES; i++) {
        char key[32];
        snprintf(key, sizeof key, "%s/%02d", round, i);
        struct store_op op = {key, value, (size_t)i * 100 + (i % 4 == 3 ? 150000 : 0)};
        outcomes[i] = (struct outcome){0};
        assert_int_equal(store_txn(f->store, NULL, 0, &op, 1, note_outcome, &outcomes[i]), 0);
    }
    wait_outcome(f, &outcomes[WRITES - 1]);
}

/* What was acknowledged is there at its revision, what failed isn't. Returns how many failed. */
static int check_round(struct fixture *f, const char *round, const struct outcome *outcomes)
{
    int failed = 0;

    for (int i = 0; i < WRITES; i++) {
        char key[32];
        int64_t revision = -1;
        snprintf(key, sizeof key, "%s/%02d", round, i);
        _cleanup_free_ char *value = get(f, key, &revision);
        assert_int_equal(outcomes[i].calls, 1);
        assert_true(outcomes[i].rc == 0 || outcomes[i].rc == -ENOSPC);
        assert_int_equal(value != NULL, outcomes[i].rc == 0);
        if (value) {
            assert_int_equal(revision, outcomes[i].revision);
        }
        failed += outcomes[i].rc < 0;
    }
    return failed;
}

static void a_full_disk_loses_nothing(void **state)
{
    struct fixture *f = *state;
    struct outcome first[WRITES], full[WRITES], after[WRITES];
    _cleanup_free_ char *filler = fixture_file(f, "filler"), *copy = fixture_file(f, "copy");
    struct outcome o = {0};

    assert_int_equal(put(f, "a", "1").rc, 0);
    write_many(f, "first", first);
    assert_int_equal(check_round(f, "first", first), 0);
    fill_disk(filler, 500000);
    write_many(f, "full", full);
    assert_in_range(check_round(f, "full", full), 1, WRITES);
    assert_int_equal(store_backup(f->store, copy, note_outcome, &o), 0);
    assert_int_equal(wait_outcome(f, &o).rc, -ENOSPC);
    assert_int_equal(access(copy, F_OK), -1);

    /* The server may be restarted while the disk is full. */
    fixture_close(f);
    fixture_open(f);
    check_round(f, "first", first);
    check_round(f, "full", full);

    unlink(filler);
    write_many(f, "after", after);
    assert_int_equal(check_round(f, "after", after), 0);
    assert_int_equal(put(f, "end", "x").rc, 0);
    fixture_close(f);
    fixture_open(f);
    check_round(f, "first", first);
    check_round(f, "full", full);
    check_round(f, "after", after);
}

/* One that can't fit doesn't take with it those that it shares a batch with. */
static void what_fits_is_committed(void **state)
{
    struct fixture *f = *state;
    static char value[900000];
    struct outcome outcomes[3][4] = {0};
    int64_t committed = 0;
    _cleanup_free_ char *filler = fixture_file(f, "filler");

    fill_disk(filler, 4 << 20);
    for (int i = 0; i < 4; i++) {
        struct store_op small = {"small", "v", 1}, large = {"large", value, sizeof value};
        store_txn(f->store, NULL, 0, &small, 1, note_outcome, &outcomes[0][i]);
        store_txn(f->store, NULL, 0, &large, 1, note_outcome, &outcomes[1][i]);
        store_txn(f->store, NULL, 0, &small, 1, note_outcome, &outcomes[2][i]);
    }
    wait_outcome(f, &outcomes[2][3]);
    for (int i = 0; i < 4; i++) {
        for (int j = 0; j < 3; j++) {
            assert_true(outcomes[j][i].rc == 0 || (j == 1 && outcomes[j][i].rc == -ENOSPC));
            committed += outcomes[j][i].rc == 0;
            assert_int_equal(outcomes[j][i].revision, committed);
        }
    }
    assert_int_equal(outcomes[1][3].rc, -ENOSPC);
}

/* Root restores for a server that runs as another user. */
static void a_restored_file_belongs_to_the_folders_owner(void **state)
{
    struct fixture *f = *state;
    _cleanup_free_ char *copy = fixture_file(f, "copy");
    struct outcome o = {0};
    struct stat st;

    store_backup(f->store, copy, note_outcome, &o);
    assert_int_equal(wait_outcome(f, &o).rc, 0);
    fixture_close(f);
    assert_int_equal(chown(f->folder, 12345, 54321), 0);
    assert_int_equal(store_restore(copy, f->path, &f->error), 0);
    assert_int_equal(stat(f->path, &st), 0);
    assert_int_equal(st.st_uid, 12345);
    assert_int_equal(st.st_gid, 54321);
    assert_int_equal(st.st_mode & 0777, 0600);
}

#define T(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(a_full_disk_loses_nothing),
        T(what_fits_is_committed),
        T(a_restored_file_belongs_to_the_folders_owner),
    };

    if (unshare(CLONE_NEWNS) < 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0) {
        perror("cannot make a mount namespace");
        return 1;
    }
    return cmocka_run_group_tests_name("store-full", tests, NULL, NULL);
}
