#include "run-until.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum {
    DEADLINE_MSEC = 20000,
};

static void too_late(uv_timer_t *timer)
{
    fail_msg("nothing happened for %d s", DEADLINE_MSEC / 1000);
}

void run_until(uv_loop_t *loop, const int *value, int wanted)
{
    uv_timer_t deadline;

    uv_timer_init(loop, &deadline);
    uv_timer_start(&deadline, too_late, DEADLINE_MSEC, 0);
    while (*value < wanted) {
        uv_run(loop, UV_RUN_ONCE);
    }
    uv_close((uv_handle_t *)&deadline, NULL);
    uv_run(loop, UV_RUN_NOWAIT);
}
