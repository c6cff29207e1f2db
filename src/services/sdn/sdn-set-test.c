/* sdn-set-test.c - who has which flow, how counters go on, and the file in which they are kept. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "lib/mem.h"
#include "services/sdn/sdn-counters.h"
#include "services/sdn/sdn-set.h"

static const struct sdn_rule BOTH = {
    .kind = SDN_FILTER, .priority = 1000, .from = SDN_FROM_TUNNEL | SDN_FROM_NODE};
static const struct sdn_rule IN = {.kind = SDN_FILTER, .priority = 1000, .from = SDN_FROM_TUNNEL};

static struct sdn_object *want(struct sdn_objects *objects, uint64_t number,
                               const struct sdn_rule *rule)
{
    struct sdn_object *object = sdn_object_make(objects, SDN_FILTER, number);

    sdn_want(objects, object, rule);
    return object;
}

/* The switch has what is wanted of all, each flow with this count. */
static void read_all(struct sdn_objects *objects, uint64_t packets, int is_baseline)
{
    struct of_flow_stats stats = {.packets = packets, .bytes = packets * 100};
    int rc;

    sdn_found_begin(objects, NULL, 0);
    sdn_objects_foreach (object, objects) {
        for (size_t i = 0; (rc = sdn_object_flow(objects, object, i, &stats.flow)) != 0; i++) {
            if (rc > 0) {
                assert_true(sdn_found_flow(objects, &stats));
            }
        }
    }
    sdn_found_end(objects, NULL, 0, is_baseline);
}

static void lower_number_has_the_flow(void **state)
{
    struct sdn_objects objects = {0};
    struct sdn_object *five = want(&objects, 5, &IN);

    assert_int_equal(five->wanted_len, 1);
    struct sdn_object *three = want(&objects, 3, &BOTH);
    assert_int_equal(three->wanted_len, 2);
    assert_int_equal(five->wanted_len, 0);
    assert_int_equal(objects.shadowed_len, 1);
    read_all(&objects, 0, 0);
    assert_true(sdn_is_in_force(three));
    assert_true(sdn_is_in_force(five));
    sdn_unwant(&objects, three);
    assert_int_equal(five->wanted_len, 1);
    assert_int_equal(objects.shadowed_len, 0);
    assert_false(sdn_is_in_force(five));
    sdn_object_drop(&objects, three);
    assert_null(sdn_object_get(&objects, SDN_FILTER, 3));
    sdn_objects_done(&objects);
}

/* Whatever comes and goes, in whatever order: each wanted flow has one owner, the lowest. */
static void many_come_and_go(void **state)
{
    struct sdn_objects objects = {0};
    struct sdn_rule rule = BOTH;
    unsigned random = 7;

    for (int i = 0; i < 5000; i++) {
        random = random * 1103515245 + 12345;
        uint64_t number = random >> 8 & 255;
        struct sdn_object *object = sdn_object_get(&objects, SDN_FILTER, number);
        rule.priority = (uint16_t)(1 + (number & 31));
        rule.from = random >> 20 & 1 ? SDN_FROM_TUNNEL : SDN_FROM_TUNNEL | SDN_FROM_NODE;
        if (object && random >> 21 & 1) {
            sdn_object_drop(&objects, object);
        } else {
            want(&objects, number, &rule);
        }
    }
    size_t owned = 0;
    uint64_t owners[2][33] = {{0}};
    sdn_objects_foreach (object, &objects) {
        struct of_flow flow;
        int rc;
        for (size_t i = 0; (rc = sdn_object_flow(&objects, object, i, &flow)) != 0; i++) {
            uint64_t *owner =
                &owners[flow.match.value[OF_IN_PORT] == SDN_PORT_TUNNEL][flow.priority];
            if (rc > 0) {
                assert_int_equal(*owner, 0);
                *owner = object->number + 1;
                owned++;
            }
        }
    }
    sdn_objects_foreach (object, &objects) {
        assert_true(owners[1][object->rule.priority] <= object->number + 1);
    }
    assert_true(owned > 32);
    sdn_objects_done(&objects);
}

static void counts_from_its_baseline(void **state)
{
    struct sdn_objects objects = {0};
    struct sdn_object *object = want(&objects, 1, &BOTH);

    object->needs_baseline = 1;
    read_all(&objects, 10, 1);
    assert_true(sdn_is_in_force(object));
    assert_int_equal(object->packets, 0);
    read_all(&objects, 15, 0);
    assert_int_equal(object->packets, 10); /* 5 on each side */
    assert_int_equal(object->bytes, 1000);
    sdn_objects_done(&objects);
}

static void goes_on_when_flows_are_lost(void **state)
{
    struct sdn_objects objects = {0};
    struct sdn_object *object = want(&objects, 1, &IN);

    read_all(&objects, 40, 0);
    sdn_found_nothing(&objects); /* a switch that restarted */
    assert_int_equal(object->packets, 40);
    assert_false(sdn_is_as_wanted(object));
    read_all(&objects, 2, 0);
    assert_int_equal(object->packets, 42);
    struct of_flow_removed removed = {.packets = 5, .bytes = 500};
    sdn_object_flow(&objects, object, 0, &removed.flow);
    sdn_found_removed(&objects, &removed);
    assert_false(sdn_is_as_wanted(object));
    read_all(&objects, 1, 0);
    assert_int_equal(object->packets, 46); /* 40, 5 at the flow's end, 1 of the new one */
    sdn_objects_done(&objects);
}

/* Another rule under the same number: nothing is lost, and nothing counted twice. */
static void goes_on_when_it_is_changed(void **state)
{
    struct sdn_objects objects = {0};
    struct sdn_object *object = want(&objects, 1, &IN);
    struct of_flow_removed removed = {.packets = 9, .bytes = 900};

    read_all(&objects, 7, 0);
    sdn_object_flow(&objects, object, 0, &removed.flow);
    want(&objects, 1, &BOTH);
    object->needs_baseline = 1;
    sdn_found_removed(&objects, &removed);
    read_all(&objects, 100, 1); /* credited from before */
    assert_int_equal(object->packets, 9);
    read_all(&objects, 101, 0);
    assert_int_equal(object->packets, 11);
    sdn_objects_done(&objects);
}

static void strangers_are_not_ours(void **state)
{
    struct sdn_objects objects = {0};
    struct of_flow_stats stats = {.flow.cookie = 5};

    sdn_found_begin(&objects, NULL, 0);
    assert_false(sdn_found_flow(&objects, &stats));
    stats.flow.cookie = sdn_cookie(SDN_FLOW, 5);
    assert_true(sdn_found_flow(&objects, &stats));
    sdn_found_end(&objects, NULL, 0, 0);
    const struct sdn_object *object = sdn_object_get(&objects, SDN_FLOW, 5);
    assert_non_null(object);
    assert_false(sdn_is_as_wanted(object));
    sdn_objects_done(&objects);
}

/* --- the file --- */

static void file_keeps_totals(void **state)
{
    _cleanup_buf_ struct buf text = BUF_INIT(SDN_COUNTERS_MAX);
    struct sdn_objects objects = {0}, again = {0};
    struct sdn_object *object = want(&objects, 7, &IN);

    object->needs_baseline = 1;
    read_all(&objects, 10, 1);
    read_all(&objects, 50, 0);
    assert_int_equal(sdn_counters_format(&objects, &text), 0);
    assert_int_equal(sdn_counters_parse(&again, text.data, text.size), 0);
    object = sdn_object_get(&again, SDN_FILTER, 7);
    assert_non_null(object);
    assert_int_equal(object->packets, 40);
    want(&again, 7, &IN);
    read_all(&again, 60, 0);
    assert_int_equal(object->packets, 50);
    assert_int_equal(object->bytes, 5000);
    sdn_objects_done(&objects);
    sdn_objects_done(&again);
}

/* Each byte, changed or missing from there on. */
static void damaged_file_is_not_believed(void **state)
{
    _cleanup_buf_ struct buf text = BUF_INIT(SDN_COUNTERS_MAX);
    struct sdn_objects objects = {0}, again = {0};

    want(&objects, 7, &IN);
    read_all(&objects, 10, 1);
    assert_int_equal(sdn_counters_format(&objects, &text), 0);
    for (size_t i = 0; i < text.size; i++) {
        text.data[i] ^= 1;
        assert_int_equal(sdn_counters_parse(&again, text.data, text.size), -EBADMSG);
        text.data[i] ^= 1;
        assert_int_equal(sdn_counters_parse(&again, text.data, i), -EBADMSG);
        assert_int_equal(again.len, 0);
    }
    sdn_objects_done(&objects);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lower_number_has_the_flow),
        cmocka_unit_test(many_come_and_go),
        cmocka_unit_test(counts_from_its_baseline),
        cmocka_unit_test(goes_on_when_flows_are_lost),
        cmocka_unit_test(goes_on_when_it_is_changed),
        cmocka_unit_test(strangers_are_not_ours),
        cmocka_unit_test(file_keeps_totals),
        cmocka_unit_test(damaged_file_is_not_believed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
