#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "server/auth-limit.h"

enum {
    SEC = 1000000,
};

static void burst_then_refill(void **state)
{
    struct limit limit = {.burst = 3, .refill_sec = 6};

    for (int i = 0; i < 3; i++) {
        assert_int_equal(limit_take(&limit, "a", SEC), 0);
    }
    assert_int_equal(limit_take(&limit, "a", SEC), 6);
    assert_int_equal(limit_take(&limit, "b", SEC), 0);
    assert_int_equal(limit_take(&limit, "a", 3 * SEC), 4);
    assert_int_equal(limit_take(&limit, "a", 7 * SEC), 0);
    assert_int_equal(limit_take(&limit, "a", 7 * SEC), 6);
    limit_done(&limit);
}

static void refund_is_no_more_than_full(void **state)
{
    struct limit limit = {.burst = 2, .refill_sec = 6};

    for (int i = 0; i < 5; i++) {
        limit_refund(&limit, "a", SEC);
    }
    assert_int_equal(limit_take(&limit, "a", SEC), 0);
    assert_int_equal(limit_take(&limit, "a", SEC), 0);
    assert_int_equal(limit_take(&limit, "a", SEC), 6);
    limit_refund(&limit, "a", SEC);
    assert_int_equal(limit_take(&limit, "a", SEC), 0);
    limit_done(&limit);
}

static void memory_is_bounded(void **state)
{
    struct limit limit = {.burst = 1, .refill_sec = 6};
    char name[16];

    for (int i = 0; i < LIMIT_NAMES_MAX; i++) {
        snprintf(name, sizeof name, "%d", i);
        assert_int_equal(limit_take(&limit, name, SEC), 0);
    }
    assert_int_equal(limit_take(&limit, "x", SEC), 0);
    assert_int_equal(limit_take(&limit, "y", SEC), 6); /* shares with x */
    assert_int_equal(limit.buckets.len, LIMIT_NAMES_MAX + 1);
    limit_purge(&limit, 2 * SEC);
    assert_int_equal(limit.buckets.len, LIMIT_NAMES_MAX + 1);
    limit_purge(&limit, 7 * SEC);
    assert_int_equal(limit.buckets.len, 0);
    assert_int_equal(limit_take(&limit, "y", 7 * SEC), 0);
    limit_done(&limit);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(burst_then_refill),
        cmocka_unit_test(refund_is_no_more_than_full),
        cmocka_unit_test(memory_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
