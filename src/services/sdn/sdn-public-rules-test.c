/* What filters become: each case is a resource, and the elements that it must give, as
 * "<set> <key>", one a line. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "lib/buf.h"
#include "lib/json.h"
#include "lib/mem.h"
#include "services/sdn/sdn-public-rules.h"

static const struct {
    const char *spec, *parts;
} CASES[] = {
    {"{}", "arriving_1000 \"ip\"\nleaving_1000 \"ip\"\n"},
    {"{'direction':'in','protocol':'icmp','priority':7}", "arriving_7_proto 1\n"},
    {"{'direction':'out','destination':'192.0.2.7'}", "leaving_1000_d32 \"192.0.2.7\"\n"},
    {"{'direction':'in','source':'198.51.100.0/24','destination':'0.0.0.0/0'}",
     "arriving_1000_s24 \"198.51.100.0\"\n"},
    {"{'direction':'in','protocol':'tcp','destination':'134.157.0.0/16','port':'1919'}",
     "arriving_1000_proto_d16_port16 {\"concat\":[6,\"134.157.0.0\",1919]}\n"},
    /* Behind a 1:1 NAT: the NIC's own address stands for the public one that the prefix has. */
    {"{'protocol':'tcp','destination':'134.157.0.0/16','port':'1919','destinationSelf':true}",
     "arriving_1000_proto_d16_port16 {\"concat\":[6,\"134.157.0.0\",1919]}\n"
     "arriving_1000_proto_dself_port16 {\"concat\":[6,1919]}\n"
     "leaving_1000_proto_d16_port16 {\"concat\":[6,\"134.157.0.0\",1919]}\n"},
    {"{'source':'134.157.0.0/16','sourceSelf':true}", "arriving_1000_s16 \"134.157.0.0\"\n"
                                                      "leaving_1000_s16 \"134.157.0.0\"\n"
                                                      "leaving_1000_sself \"ip\"\n"},
    /* Everything is ourselves, too. */
    {"{'direction':'in','destinationSelf':true}", "arriving_1000 \"ip\"\n"},
    {"{'direction':'out','protocol':'udp','source':'192.0.2.0/24','destination':'203.0.113.9/32',"
     "'port':'53'}",
     "leaving_1000_proto_s24_d32_port16 {\"concat\":[17,\"192.0.2.0\",\"203.0.113.9\",53]}\n"},
    {"{'direction':'in','protocol':'tcp','port':'8000-8010'}",
     "arriving_1000_proto_port13 {\"concat\":[6,8000]}\n"
     "arriving_1000_proto_port15 {\"concat\":[6,8008]}\n"
     "arriving_1000_proto_port16 {\"concat\":[6,8010]}\n"},
    {"{'direction':'in','protocol':'tcp','port':'5-5'}",
     "arriving_1000_proto_port16 {\"concat\":[6,5]}\n"},
    {"{'direction':'in','protocol':'tcp','port':'32768-65535'}",
     "arriving_1000_proto_port1 {\"concat\":[6,32768]}\n"},
};

static json_t *parse(const char *text)
{
    _cleanup_free_ char *copy = xstrdup(text);
    json_t *json = NULL;

    for (char *at = copy; *at; at++) {
        *at = *at == '\'' ? '"' : *at;
    }
    assert_int_equal(json_parse(copy, strlen(copy), &json, NULL), 0);
    return json;
}

static struct public_filter filter_of(const char *text)
{
    struct public_filter filter;
    struct error error = {0};
    json_t *spec = parse(text);

    if (public_filter_parse(spec, &filter, &error) < 0) {
        fail_msg("%s: %s", text, error.detail);
    }
    json_decref(spec);
    return filter;
}

static void describe(const struct public_part *part, struct buf *buf)
{
    char name[PUBLIC_NAME_SIZE];

    buf_printf(buf, "%s ", public_shape_name(&part->shape, name));
    public_key_write(buf, &part->shape, part->key);
    buf_printf(buf, "\n");
}

static void filters_become_elements(void **state)
{
    struct public_part parts[PUBLIC_PARTS_MAX];

    for (size_t i = 0; i < ARRAY_LEN(CASES); i++) {
        _cleanup_buf_ struct buf buf = BUF_INIT(1 << 16);
        struct public_filter filter = filter_of(CASES[i].spec);
        size_t len = public_filter_parts(&filter, parts);
        for (size_t k = 0; k < len; k++) {
            describe(&parts[k], &buf);
        }
        assert_string_equal(buf.data, CASES[i].parts);
    }
}

/* Every port of every range is in exactly one block, and no other port is. */
static void ranges_are_exact(void **state)
{
    static const struct {
        unsigned first, last;
    } RANGES[] = {{1, 65535}, {1, 65534}, {1, 1}, {65535, 65535}, {1023, 1025}, {32767, 49152}};
    struct public_part parts[PUBLIC_PARTS_MAX];

    for (size_t i = 0; i < ARRAY_LEN(RANGES); i++) {
        _cleanup_free_ char *text = xasprintf("{'direction':'in','protocol':'udp','port':'%u-%u'}",
                                              RANGES[i].first, RANGES[i].last);
        struct public_filter filter = filter_of(text);
        size_t len = public_filter_parts(&filter, parts);
        assert_true(len <= 30);
        for (unsigned port = 0; port <= 65535; port++) {
            unsigned hits = 0;
            for (size_t k = 0; k < len; k++) {
                unsigned mask = 0xffff & ~(0xffffU >> parts[k].shape.port_bits);
                unsigned value = (unsigned)(parts[k].key[4] << 8 | parts[k].key[5]);
                hits += (port & mask) == value;
            }
            assert_int_equal(hits, port >= RANGES[i].first && port <= RANGES[i].last);
        }
    }
}

static void the_largest_filter_fits(void **state)
{
    struct public_part parts[PUBLIC_PARTS_MAX];
    struct public_filter filter =
        filter_of("{'protocol':'udp','port':'1-65534','source':'192.0.2.0/24','sourceSelf':true,"
                  "'destination':'198.51.100.0/24','destinationSelf':true}");

    assert_int_equal(public_filter_parts(&filter, parts), PUBLIC_PARTS_MAX);
}

static void bad_resources_are_refused(void **state)
{
    static const char *const BAD[] = {"{'direction':'up'}",
                                      "{'protocol':'sctp'}",
                                      "{'source':'10.0.0.0/33'}",
                                      "{'destination':'example.org'}",
                                      "{'protocol':'tcp','port':'80x'}",
                                      "{'protocol':'tcp','port':'0'}",
                                      "{'protocol':'tcp','port':'65536'}",
                                      "{'protocol':'tcp','port':'20-10'}",
                                      "{'protocol':'tcp','port':'10-'}",
                                      "{'protocol':'icmp','port':'80'}",
                                      "{'port':'80'}",
                                      "{'priority':70000}"};
    struct public_filter filter;

    for (size_t i = 0; i < ARRAY_LEN(BAD); i++) {
        json_t *spec = parse(BAD[i]);
        struct error error = {0};
        assert_int_equal(public_filter_parse(spec, &filter, &error), -EINVAL);
        assert_true(error.detail[0] != '\0');
        json_decref(spec);
    }
}

static void overlay_filters_are_not_ours(void **state)
{
    static const struct {
        const char *spec;
        int inside;
    } INSIDE[] = {{"{'source':'10.77.0.5'}", 1},
                  {"{'destination':'10.77.0.0/16'}", 1},
                  {"{'source':'192.0.2.0/24','destination':'10.77.3.0/24'}", 1},
                  {"{'destination':'10.0.0.0/8'}", 0},
                  {"{}", 0},
                  {"{'source':'10.78.0.1'}", 0}};
    struct ip4_prefix overlay;

    ip4_prefix_parse("10.77.0.0/16", &overlay);
    for (size_t i = 0; i < ARRAY_LEN(INSIDE); i++) {
        struct public_filter filter = filter_of(INSIDE[i].spec);
        assert_int_equal(public_filter_is_inside(&filter, overlay), INSIDE[i].inside);
    }
}

static void names_say_the_shape(void **state)
{
    static const char *const NAMES[] = {"arriving_1000", "leaving_30000_proto_s1_dself_port1",
                                        "arriving_1_sself_d32", "arriving_0_proto"};
    static const char *const OTHERS[] = {"own",
                                         "arriving",
                                         "arriving_x",
                                         "arriving_01",
                                         "arriving_1000_d33",
                                         "arriving_1000_port17",
                                         "arriving_1000_d16_s16",
                                         "leaving_1000_proto ",
                                         "arriving_99999"};
    struct public_shape shape;
    char name[PUBLIC_NAME_SIZE];

    for (size_t i = 0; i < ARRAY_LEN(NAMES); i++) {
        assert_int_equal(public_shape_parse(NAMES[i], &shape), 0);
        assert_string_equal(public_shape_name(&shape, name), NAMES[i]);
    }
    for (size_t i = 0; i < ARRAY_LEN(OTHERS); i++) {
        assert_int_equal(public_shape_parse(OTHERS[i], &shape), -EINVAL);
    }
}

static void higher_priorities_stand_first(void **state)
{
    struct public_shape high = {.priority = 2000}, low = {.priority = 30}, wide = {.priority = 30};

    low.has_protocol = 1;
    assert_true(public_shape_compare(&high, &low) < 0);
    assert_true(public_shape_compare(&low, &high) > 0);
    assert_true(public_shape_compare(&low, &wide) != 0);
    assert_int_equal(public_shape_compare(&low, &low), 0);
}

static void chains_and_comments_are_recognised(void **state)
{
    int leaving = 0, index = 0;

    assert_int_equal(public_hook_parse("leaving_12", &leaving, &index), 0);
    assert_int_equal(leaving, 1);
    assert_int_equal(index, 12);
    assert_int_equal(public_hook_parse("arriving", &leaving, &index), -EINVAL);
    assert_int_equal(public_hook_parse("arriving_", &leaving, &index), -EINVAL);
    assert_int_equal(public_hook_parse("arriving_1x", &leaving, &index), -EINVAL);
    assert_string_equal(public_comment_id("filter 7"), "7");
    assert_null(public_comment_id("7"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(filters_become_elements),
        cmocka_unit_test(ranges_are_exact),
        cmocka_unit_test(the_largest_filter_fits),
        cmocka_unit_test(bad_resources_are_refused),
        cmocka_unit_test(overlay_filters_are_not_ours),
        cmocka_unit_test(names_say_the_shape),
        cmocka_unit_test(higher_priorities_stand_first),
        cmocka_unit_test(chains_and_comments_are_recognised),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
