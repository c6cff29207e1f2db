/* counters-test.c - totals that never go backwards, and series of bounded length. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/counters.h"
#include "lib/clock.h"
#include "lib/json.h"
#include "lib/mem.h"

enum {
    NOW = 1700000000, /* a multiple of 5, not of 60 */
};

static int put(struct counters *c, const char *node, const char *name, uint64_t packets,
               int64_t now)
{
    return counters_put(c, node, name, (struct count){packets, 10 * packets}, now);
}

static uint64_t packets_of(const struct counters *c, const char *node, const char *name)
{
    struct count total;

    counters_get(c, node, name, &total);
    assert_int_equal(total.bytes, 10 * total.packets);
    return total.packets;
}

static void parts_are_added_up(void **state)
{
    struct counters c = {0};

    assert_int_equal(put(&c, "A", "sdn/filter/7", 0, NOW), 1); /* new */
    assert_int_equal(put(&c, "A", "sdn/filter/7", 0, NOW), 0);
    assert_int_equal(put(&c, "A", "sdn/filter/7", 5, NOW), 1);
    assert_int_equal(put(&c, "A", "sdn/filter/7/public", 3, NOW), 1);
    assert_int_equal(put(&c, "A", "sdn/filter/70", 100, NOW), 1);
    assert_int_equal(packets_of(&c, "A", "sdn/filter/7"), 8);
    assert_int_equal(packets_of(&c, "A", "sdn/filter/7/public"), 8);
    assert_int_equal(packets_of(&c, "A", "sdn/filter/70"), 100);
    assert_int_equal(packets_of(&c, "B", "sdn/filter/7"), 0);
    counters_done(&c);
}

static void a_total_never_goes_backwards(void **state)
{
    struct counters c = {0};

    put(&c, "A", "sdn/filter/7", 5, NOW);
    put(&c, "A", "sdn/filter/7/public", 3, NOW);
    assert_int_equal(put(&c, "A", "sdn/filter/7", 4, NOW), 0);
    assert_int_equal(packets_of(&c, "A", "sdn/filter/7"), 8);
    assert_int_equal(put(&c, "A", "sdn/filter/7", 6, NOW), 1);
    assert_int_equal(counters_gone(&c, "A", "sdn/filter/7/public"), 0);
    assert_int_equal(packets_of(&c, "A", "sdn/filter/7"), 9);
    put(&c, "A", "sdn/filter/7/public", 1, NOW); /* it counts from zero again */
    assert_int_equal(packets_of(&c, "A", "sdn/filter/7"), 10);
    counters_done(&c);
}

static void the_last_part_takes_the_counter_along(void **state)
{
    struct counters c = {0};
    struct count total;

    put(&c, "A", "sdn/filter/7", 5, NOW);
    put(&c, "A", "sdn/filter/7/public", 3, NOW);
    assert_int_equal(counters_gone(&c, "A", "sdn/filter/8"), 0);
    assert_int_equal(counters_gone(&c, "A", "sdn/filter/7/other"), 0);
    assert_int_equal(counters_gone(&c, "A", "sdn/filter/7"), 0);
    assert_int_equal(counters_gone(&c, "A", "sdn/filter/7/public"), 1);
    assert_int_equal(counters_get(&c, "A", "sdn/filter/7", &total), -ENOENT);
    assert_int_equal(c.points, 0);
    assert_int_equal(c.sizes.len, 0);
    counters_done(&c);
}

static void a_counter_has_a_bounded_number_of_parts(void **state)
{
    struct counters c = {0};
    char name[40];

    for (int i = 0; i < COUNTERS_PARTS_MAX; i++) {
        snprintf(name, sizeof name, "sdn/filter/7/%d", i);
        assert_int_equal(put(&c, "A", name, 1, NOW), 1);
    }
    assert_int_equal(put(&c, "A", "sdn/filter/7/more", 1, NOW), -E2BIG);
    assert_int_equal(packets_of(&c, "A", "sdn/filter/7"), COUNTERS_PARTS_MAX);
    assert_int_equal(put(&c, "A", "sdn/filter/7/0", 2, NOW), 1);
    assert_int_equal(counters_gone(&c, "A", "sdn/filter/7/0"), 0);
    assert_int_equal(put(&c, "A", "sdn/filter/7/more", 1, NOW), 1);
    assert_int_equal(counters_drop(&c, "A", "sdn/filter/7"), 1);
    assert_int_equal(counters_drop(&c, "A", "sdn/filter/7"), 0);
    assert_int_equal(c.points, 0);
    assert_int_equal(c.sizes.len, 0);
    counters_done(&c);
}

/* What a broken or hostile agent tells: a sum must not begin anew, nor be negative in JSON. */
static void sums_end_at_the_largest_number(void **state)
{
    const struct count huge = {INT64_MAX, INT64_MAX};
    struct counters c = {0};
    struct count total;

    counters_put(&c, "A", "sdn/filter/7", huge, NOW);
    counters_put(&c, "A", "sdn/filter/7/public", huge, NOW);
    counters_put(&c, "B", "sdn/filter/7", huge, NOW);
    counters_get(&c, "A", "sdn/filter/7", &total);
    assert_true(total.packets == INT64_MAX && total.bytes == INT64_MAX);
    assert_true(counters_each(&c, "sdn/filter/7", NULL, NULL).packets == INT64_MAX);
    counters_gone(&c, "A", "sdn/filter/7/public");
    assert_int_equal(counters_put(&c, "A", "sdn/filter/7/public", huge, NOW), 0);
    json_t *series = counters_series(&c, NULL, "sdn/filter/7", 5, NOW);
    assert_true(json_get_integer(json_array_get(json_object_get(series, "points"), 0), "packets",
                                 0) == INT64_MAX);
    json_decref(series);
    counters_done(&c);
}

static void note_node(void *arg, const char *node, struct count total)
{
    char *text = arg;

    snprintf(text + strlen(text), 64 - strlen(text), "%s=%d ", node, (int)total.packets);
}

static void nodes_are_counted_apart_and_forgotten(void **state)
{
    struct counters c = {0};
    char text[64] = "";

    put(&c, "A", "sdn/filter/7", 1, NOW);
    put(&c, "B", "sdn/filter/7", 2, NOW);
    put(&c, "B", "sdn/node/in", 9, NOW);
    assert_int_equal(counters_each(&c, "sdn/filter/7", note_node, text).packets, 3);
    assert_string_equal(text, "A=1 B=2 ");
    counters_forget(&c, "B");
    assert_int_equal(counters_each(&c, "sdn/filter/7", NULL, NULL).packets, 1);
    assert_int_equal(packets_of(&c, "B", "sdn/node/in"), 0);
    counters_forget(&c, "A");
    assert_int_equal(c.points, 0);
    assert_int_equal(c.by_name.len, 0);
    counters_done(&c);
}

static void a_node_has_a_bounded_number(void **state)
{
    struct counters c = {0};
    char name[32];

    for (int i = 0; i < COUNTERS_NODE_MAX; i++) {
        snprintf(name, sizeof name, "sdn/filter/%d", i);
        assert_int_equal(put(&c, "A", name, 0, NOW), 1);
    }
    assert_int_equal(put(&c, "A", "sdn/flow/1", 0, NOW), -E2BIG);
    assert_int_equal(put(&c, "A", "sdn/filter/1/public", 1, NOW), 1);
    assert_int_equal(counters_gone(&c, "A", "sdn/filter/0"), 1);
    assert_int_equal(put(&c, "A", "sdn/flow/1", 0, NOW), 1);
    assert_int_equal(c.points, 2); /* only of the one that isn't zero */
    counters_done(&c);
}

/* --- series --- */

/* "+0=0 +5=3 ": seconds after NOW and packets. */
static const char *text_of(const struct counters *c, const char *node, unsigned step, int64_t now)
{
    static char text[256];
    json_t *series = counters_series(c, node, "sdn/filter/7", step, now), *point;
    size_t i;
    int64_t usec;

    assert_int_equal(json_get_integer(series, "step", 0), step);
    text[0] = '\0';
    json_array_foreach (json_object_get(series, "points"), i, point) {
        assert_int_equal(clock_parse(json_get_string(point, "time", ""), &usec), 0);
        size_t used = strlen(text);
        snprintf(text + used, sizeof text - used, "%+d=%d ", (int)(usec / 1000000 - NOW),
                 (int)json_get_integer(point, "packets", -1));
    }
    json_decref(series);
    return text;
}

static void points_stand_where_the_total_changed(void **state)
{
    struct counters c = {0};

    assert_string_equal(text_of(&c, "A", 5, NOW), "");
    put(&c, "A", "sdn/filter/7", 0, NOW);
    assert_string_equal(text_of(&c, "A", 5, NOW), "");
    put(&c, "A", "sdn/filter/7", 1, NOW + 11);
    put(&c, "A", "sdn/filter/7", 2, NOW + 14);
    put(&c, "A", "sdn/filter/7", 2, NOW + 100);
    put(&c, "A", "sdn/filter/7", 9, NOW + 120);
    assert_string_equal(text_of(&c, "A", 5, NOW + 120), "+5=0 +10=2 +120=9 ");
    assert_string_equal(text_of(&c, "A", 60, NOW + 120), "-20=2 +100=9 ");
    counters_done(&c);
}

static void the_window_begins_with_what_was_before(void **state)
{
    struct counters c = {0};

    put(&c, "A", "sdn/filter/7", 3, NOW);
    put(&c, "A", "sdn/filter/7", 4, NOW + 10);
    put(&c, "A", "sdn/filter/7", 5, NOW + 3600);
    assert_string_equal(text_of(&c, "A", 5, NOW + 3600), "+0=3 +10=4 +3600=5 ");
    assert_string_equal(text_of(&c, "A", 5, NOW + 3700), "+100=4 +3600=5 ");
    put(&c, "A", "sdn/filter/7", 6, NOW + 10000);
    assert_string_equal(text_of(&c, "A", 5, NOW + 10000), "+6400=5 +10000=6 ");
    counters_done(&c);
}

static void nodes_are_added_up(void **state)
{
    struct counters c = {0};

    put(&c, "A", "sdn/filter/7", 3, NOW);
    put(&c, "B", "sdn/filter/7", 10, NOW + 5);
    put(&c, "A", "sdn/filter/7", 4, NOW + 10);
    put(&c, "B", "sdn/filter/7", 11, NOW + 10);
    assert_string_equal(text_of(&c, NULL, 5, NOW + 10), "+0=3 +5=13 +10=15 ");
    assert_string_equal(text_of(&c, "B", 5, NOW + 10), "+5=10 +10=11 ");
    counters_done(&c);
}

static void a_clock_may_be_put_back(void **state)
{
    struct counters c = {0};

    put(&c, "A", "sdn/filter/7", 1, NOW);
    put(&c, "A", "sdn/filter/7", 2, NOW - 1000);
    put(&c, "A", "sdn/filter/7", 3, NOW + 5);
    assert_string_equal(text_of(&c, "A", 5, NOW + 5), "+0=2 +5=3 ");
    counters_done(&c);
}

static void series_have_as_many_points_as_the_window(void **state)
{
    struct counters c = {0};

    for (int i = 0; i < 40000; i++) { /* more than a day of them */
        put(&c, "A", "sdn/filter/7", (uint64_t)i + 1, NOW + 5 * i);
    }
    assert_true(c.points <= 720 + 1440 + 4);
    assert_true(c.points >= 720 + 1440);
    counters_done(&c);
}

/* When all series together are too long each keeps a little. */
static void all_points_are_bounded(void **state)
{
    struct counters c = {.points = COUNTERS_POINTS_MAX};

    for (int i = 0; i < 100; i++) {
        put(&c, "A", "sdn/filter/7", (uint64_t)i + 1, NOW + 60 * i);
    }
    assert_int_equal(c.points, COUNTERS_POINTS_MAX + 2 * COUNTERS_POINTS_MIN);
    c.points -= COUNTERS_POINTS_MAX;
    counters_done(&c);
    assert_int_equal(c.points, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parts_are_added_up),
        cmocka_unit_test(a_total_never_goes_backwards),
        cmocka_unit_test(the_last_part_takes_the_counter_along),
        cmocka_unit_test(a_counter_has_a_bounded_number_of_parts),
        cmocka_unit_test(sums_end_at_the_largest_number),
        cmocka_unit_test(nodes_are_counted_apart_and_forgotten),
        cmocka_unit_test(a_node_has_a_bounded_number),
        cmocka_unit_test(points_stand_where_the_total_changed),
        cmocka_unit_test(the_window_begins_with_what_was_before),
        cmocka_unit_test(nodes_are_added_up),
        cmocka_unit_test(a_clock_may_be_put_back),
        cmocka_unit_test(series_have_as_many_points_as_the_window),
        cmocka_unit_test(all_points_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
