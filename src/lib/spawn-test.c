#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "lib/clock.h"
#include "lib/fault.h"
#include "lib/file.h"
#include "lib/json.h"
#include "lib/mem.h"
#include "lib/spawn.h"

#define ARGV(...) ((const char *const[]){__VA_ARGS__, NULL})

static void output_and_status_come_back(void **state)
{
    _cleanup_buf_ struct buf out = BUF_INIT(100), err = BUF_INIT(100);
    struct spawn spawn = {.argv = ARGV("sh", "-c", "cat; echo bad >&2; exit 7"),
                          .input = "hello",
                          .input_size = 5,
                          .out = &out,
                          .err = &err};

    assert_int_equal(spawn_run(&spawn), 7);
    assert_string_equal(out.data, "hello");
    assert_string_equal(err.data, "bad\n");
    assert_int_equal(spawn_run(&(struct spawn){.argv = ARGV("true")}), 0);
    assert_int_equal(spawn_run(&(struct spawn){.argv = ARGV("no-such-program")}), -ENOENT);
    assert_int_equal(spawn_run(&(struct spawn){.argv = ARGV("sh", "-c", "kill -9 $$")}), 128 + 9);
}

static void large_input_passes(void **state)
{
    enum {
        SIZE = 3 << 20,
    };
    _cleanup_buf_ struct buf out = BUF_INIT(SIZE);
    _cleanup_free_ char *input = xcalloc(1, SIZE);
    struct spawn spawn = {.argv = ARGV("cat"), .input = input, .input_size = SIZE, .out = &out};

    memset(input, 'x', SIZE);
    assert_int_equal(spawn_run(&spawn), 0);
    assert_int_equal(out.size, SIZE);
    assert_memory_equal(out.data, input, SIZE);
}

static void limits_stop_it(void **state)
{
    _cleanup_buf_ struct buf out = BUF_INIT(1000);

    assert_int_equal(spawn_run(&(struct spawn){.argv = ARGV("yes"), .out = &out}), -E2BIG);
    assert_int_equal(spawn_run(&(struct spawn){.argv = ARGV("sleep", "1000"), .timeout_msec = 50}),
                     -ETIMEDOUT);
    /* Nothing of ours is left to reap: both were killed and waited for. */
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
    assert_int_equal(errno, ECHILD);
}

static void a_grandchild_with_our_pipe_is_not_waited_for(void **state)
{
    _cleanup_buf_ struct buf out = BUF_INIT(100);
    struct spawn spawn = {.argv = ARGV("sh", "-c", "sleep 1000 & echo $!"), .out = &out};

    assert_int_equal(spawn_run(&spawn), 0);
    pid_t grandchild = (pid_t)atoi(out.data);
    assert_true(grandchild > 1);
    assert_int_equal(kill(grandchild, SIGKILL), 0);
}

static void no_descriptor_leaks_into_children(void **state)
{
    _cleanup_buf_ struct buf out = BUF_INIT(1000);
    int fd = dup(0); /* without CLOEXEC */
    struct spawn spawn = {.argv = ARGV("ls", "/proc/self/fd"), .out = &out};

    assert_int_equal(spawn_run(&spawn), 0);
    close(fd);
    assert_string_equal(out.data, "0\n1\n2\n3\n"); /* 3 is the folder that ls reads */
}

static void failures_become_sentences(void **state)
{
    struct spawn spawn = {.argv = ARGV("sh", "-c", "echo 'no way\nmore' >&2; exit 1")};
    struct error error = {0};

    assert_int_equal(spawn_check(&spawn, &error), -EIO);
    assert_string_equal(error.detail, "sh: no way");
    assert_int_equal(spawn_check(&(struct spawn){.argv = ARGV("false")}, &error), -EIO);
    assert_string_equal(error.detail, "false ended with status 1");
    assert_int_equal(spawn_check(&(struct spawn){.argv = ARGV("no-such-program")}, &error),
                     -ENOENT);
    assert_string_equal(error.detail, "no-such-program: No such file or directory");
    fault_arm(1);
    assert_int_equal(spawn_check(&(struct spawn){.argv = ARGV("true")}, &error), -EIO);
    fault_arm(0);
}

/* --- children --- */

struct fixture {
    char folder[64];
    uv_loop_t loop;
    struct children *children;
    int ended, status;
    int again; /* the callback starts it anew */
};

static int set_up(void **state)
{
    struct fixture *f = xnew(struct fixture);

    snprintf(f->folder, sizeof f->folder, "/tmp/spawn-test.XXXXXX");
    assert_non_null(mkdtemp(f->folder));
    uv_loop_init(&f->loop);
    assert_int_equal(children_new(&f->loop, f->folder, f->folder, &f->children, NULL), 0);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    children_stop(f->children, "a", 0);
    children_stop(f->children, "b", 0);
    children_free(f->children);
    uv_run(&f->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&f->loop), 0);
    spawn_run(&(struct spawn){.argv = ARGV("rm", "-r", f->folder)});
    free(f);
    return 0;
}

/* As if the process had ended and another one begun. */
static void new_supervisor(struct fixture *f)
{
    children_free(f->children);
    assert_int_equal(children_new(&f->loop, f->folder, f->folder, &f->children, NULL), 0);
}

static void on_ended(void *arg, const char *name, int status)
{
    struct fixture *f = arg;

    f->ended++;
    f->status = status;
    if (f->again) {
        f->again = 0;
        assert_int_equal(
            children_ensure(f->children, name, ARGV("sleep", "1000"), on_ended, f, NULL), 1);
    }
}

static int ensure(struct fixture *f, const char *name, const char *const *argv)
{
    return children_ensure(f->children, name, argv, on_ended, f, NULL);
}

static void wait_ended(struct fixture *f, int times)
{
    int64_t deadline = clock_monotonic_usec() + 10000000;

    while (f->ended < times) {
        assert_true(clock_monotonic_usec() < deadline);
        uv_run(&f->loop, UV_RUN_NOWAIT);
    }
}

static void a_child_is_started_once(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(children_pid(f->children, "a"), 0);
    assert_int_equal(ensure(f, "a", ARGV("sleep", "1000")), 1);
    pid_t pid = children_pid(f->children, "a");
    assert_true(pid > 1);
    assert_int_equal(getsid(pid), pid);
    assert_int_equal(ensure(f, "a", ARGV("sleep", "1000")), 0);
    assert_int_equal(children_pid(f->children, "a"), pid);
}

static void a_running_child_is_adopted(void **state)
{
    struct fixture *f = *state;

    ensure(f, "a", ARGV("sleep", "1000"));
    pid_t pid = children_pid(f->children, "a");
    new_supervisor(f);
    assert_int_equal(ensure(f, "a", ARGV("sleep", "1000")), 0);
    assert_int_equal(children_pid(f->children, "a"), pid);
    kill(pid, SIGKILL);
    wait_ended(f, 1);
    assert_int_equal(children_pid(f->children, "a"), 0);
}

static void other_arguments_replace_it(void **state)
{
    struct fixture *f = *state;

    ensure(f, "a", ARGV("sleep", "1000"));
    pid_t pid = children_pid(f->children, "a");
    new_supervisor(f);
    assert_int_equal(ensure(f, "a", ARGV("sleep", "1001")), 1);
    assert_int_not_equal(children_pid(f->children, "a"), pid);
    assert_int_equal(kill(pid, 0), -1);
    assert_int_equal(f->ended, 0);
}

static void its_end_is_told_and_it_can_start_again(void **state)
{
    struct fixture *f = *state;

    f->again = 1;
    ensure(f, "a", ARGV("sh", "-c", "exit 3"));
    wait_ended(f, 1);
    assert_int_equal(f->status, 3);
    kill(children_pid(f->children, "a"), SIGTERM);
    wait_ended(f, 2);
    assert_int_equal(f->status, 128 + SIGTERM);
}

/* A pid that now belongs to another process must never be adopted, or killed. */
static void a_stranger_is_not_adopted(void **state)
{
    struct fixture *f = *state;
    char text[200];

    _cleanup_free_ char *path = xasprintf("%s/children.json", f->folder);
    snprintf(text, sizeof text,
             "{\"a\":{\"pid\":%d,\"start\":1,\"exe\":\"/bin/sleep\",\"argv\":[\"sleep\",\"9\"]}}",
             (int)getpid());
    assert_int_equal(file_write_atomic(path, text, strlen(text), 0600), 0);
    assert_int_equal(children_pid(f->children, "a"), 0);
    assert_int_equal(children_stop(f->children, "a", 0), 0);
    assert_int_equal(file_write_atomic(path, "{\"a\": [", 7, 0600), 0);
    assert_int_equal(ensure(f, "a", ARGV("sleep", "1000")), 1);
    new_supervisor(f);
    assert_int_equal(ensure(f, "a", ARGV("sleep", "1000")), 0);
}

/* We were killed before it was written down, or the file was lost. */
static void one_without_record_is_found_by_its_mark(void **state)
{
    struct fixture *f = *state;

    _cleanup_free_ char *path = xasprintf("%s/children.json", f->folder);
    ensure(f, "a", ARGV("sleep", "1000"));
    pid_t pid = children_pid(f->children, "a");
    assert_int_equal(unlink(path), 0);
    new_supervisor(f);
    assert_int_equal(ensure(f, "a", ARGV("sleep", "1000")), 0);
    assert_int_equal(children_pid(f->children, "a"), pid);
    assert_int_equal(access(path, F_OK), 0);
    assert_int_equal(children_stop(f->children, "a", 5000), 0);
    assert_int_equal(kill(pid, 0), -1);
}

static void stop_waits_and_kills(void **state)
{
    struct fixture *f = *state;
    struct stat log;

    ensure(f, "a", ARGV("sh", "-c", "trap '' TERM; echo ready; exec sleep 1000"));
    _cleanup_free_ char *path = xasprintf("%s/a.log", f->folder);
    int64_t deadline = clock_monotonic_usec() + 10000000;
    while (stat(path, &log) < 0 || log.st_size == 0) {
        assert_true(clock_monotonic_usec() < deadline);
    }
    pid_t pid = children_pid(f->children, "a");
    ensure(f, "b", ARGV("sleep", "1000"));
    assert_int_equal(children_stop(f->children, "a", 50), 0);
    assert_int_equal(kill(pid, 0), -1);
    assert_int_equal(children_pid(f->children, "a"), 0);
    assert_true(children_pid(f->children, "b") > 0);
    assert_int_equal(children_stop(f->children, "b", 5000), 0);
    assert_int_equal(f->ended, 0);
}

static void what_cannot_be_recorded_does_not_run(void **state)
{
    struct fixture *f = *state;
    struct error error = {0};

    assert_int_equal(
        children_ensure(f->children, "a", ARGV("no-such-program"), NULL, NULL, &error), -ENOENT);
    assert_non_null(strstr(error.detail, "no-such-program"));
    /* A folder in its place: root may write anywhere, but not rename a file over this. */
    _cleanup_free_ char *path = xasprintf("%s/children.json", f->folder);
    assert_int_equal(mkdir(path, 0700), 0);
    assert_true(children_ensure(f->children, "a", ARGV("sleep", "1000"), NULL, NULL, &error) < 0);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
    assert_int_equal(rmdir(path), 0);
}

static void two_supervisors_share_the_file(void **state)
{
    struct fixture *f = *state;
    struct children *other;

    assert_int_equal(children_new(&f->loop, f->folder, f->folder, &other, NULL), 0);
    ensure(f, "a", ARGV("sleep", "1000"));
    assert_int_equal(children_ensure(other, "b", ARGV("sleep", "1000"), NULL, NULL, NULL), 1);
    children_free(other);
    new_supervisor(f);
    assert_int_equal(ensure(f, "a", ARGV("sleep", "1000")), 0);
    assert_int_equal(ensure(f, "b", ARGV("sleep", "1000")), 0);
}

#define CHILD_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(output_and_status_come_back),
        cmocka_unit_test(large_input_passes),
        cmocka_unit_test(limits_stop_it),
        cmocka_unit_test(a_grandchild_with_our_pipe_is_not_waited_for),
        cmocka_unit_test(no_descriptor_leaks_into_children),
        cmocka_unit_test(failures_become_sentences),
        CHILD_TEST(a_child_is_started_once),
        CHILD_TEST(a_running_child_is_adopted),
        CHILD_TEST(other_arguments_replace_it),
        CHILD_TEST(its_end_is_told_and_it_can_start_again),
        CHILD_TEST(a_stranger_is_not_adopted),
        CHILD_TEST(one_without_record_is_found_by_its_mark),
        CHILD_TEST(stop_waits_and_kills),
        CHILD_TEST(what_cannot_be_recorded_does_not_run),
        CHILD_TEST(two_supervisors_share_the_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
