/* A full disk under the agent: the new resources are applied all the same, the error is told, and
 * when there is room again the replica is on the disk. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/digest.h"
#include "core/laws-host.h"
#include "core/reconcile.h"
#include "lib/clock.h"
#include "lib/json.h"
#include "lib/log.h"
#include "lib/mem.h"

#define FOLDER "/tmp/disk"

struct seen {
    unsigned reports;
    int64_t revision;
    char message[512];
};

static void on_applied(void *arg, int64_t revision, const json_t *errors)
{
    struct seen *seen = arg;

    seen->reports++;
    seen->revision = revision;
    snprintf(seen->message, sizeof seen->message, "%s",
             json_get_string(json_array_get(errors, 0), "message", ""));
}

static int fill_disk(void)
{
    static char block[4096];
    int fd = open(FOLDER "/filler", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

    while (write(fd, block, sizeof block) > 0) {
    }
    int rc = errno;
    close(fd);
    return rc;
}

static void on_tick(uv_timer_t *timer)
{
}

static int wait_reports(uv_loop_t *loop, const struct seen *seen, unsigned reports)
{
    int64_t deadline = clock_monotonic_usec() + 20000000;

    while (seen->reports < reports && clock_monotonic_usec() < deadline) {
        uv_run(loop, UV_RUN_ONCE);
    }
    return seen->reports >= reports ? 0 : -1;
}

#define demand(condition)                                                                         \
    do {                                                                                          \
        if (!(condition)) {                                                                       \
            fprintf(stderr, "line %d: not so: %s\n", __LINE__, #condition);                       \
            return 1;                                                                             \
        }                                                                                         \
    } while (0)

static int in_namespace(const void *arg)
{
    static const struct backend *const NONE[] = {NULL};
    struct backend_env env = {.node = "n"};
    struct seen seen = {0};
    struct reconcile *r;
    uv_timer_t ticker; /* so that uv_run() always comes back */
    uv_loop_t loop;
    char hex[33];

    demand(mkdir(FOLDER, 0700) == 0 && mount("tmpfs", FOLDER, "tmpfs", 0, "size=64k") == 0);
    demand(fill_disk() == ENOSPC);
    uv_loop_init(&loop);
    uv_timer_init(&loop, &ticker);
    uv_timer_start(&ticker, on_tick, 1, 1);
    demand(reconcile_new(&loop, FOLDER, NONE, &env, on_applied, &seen, &r, NULL) == 0);
    demand(reconcile_sync(r, 4, digest_format((struct digest){0, 0}, hex)) == 0);
    demand(wait_reports(&loop, &seen, 1) == 0);
    demand(seen.revision == 4 && strstr(seen.message, "No space left on device"));
    demand(access(FOLDER "/replica.json", F_OK) < 0);
    demand(unlink(FOLDER "/filler") == 0);
    demand(wait_reports(&loop, &seen, 2) == 0);
    demand(seen.message[0] == '\0' && access(FOLDER "/replica.json", F_OK) == 0);
    reconcile_free(r);
    uv_close((uv_handle_t *)&ticker, NULL);
    uv_run(&loop, UV_RUN_DEFAULT);
    demand(uv_loop_close(&loop) == 0);
    return 0;
}

static void a_full_disk_is_told_and_recovered_from(void **state)
{
    assert_int_equal(host_run(in_namespace, NULL), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_full_disk_is_told_and_recovered_from)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
