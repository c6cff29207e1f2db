/* openflow-test.c - the codec. The bytes are what ovs-ofctl and ovs-vswitchd 3.1 have sent. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/ip.h"
#include "lib/mem.h"
#include "openflow/flow.h"
#include "openflow/hello.h"
#include "openflow/refusal.h"
#include "openflow/switch.h"
#include "openflow/wire.h"

/* Hex, with blanks anywhere, into bytes of exactly that size. */
static uint8_t *bytes(const char *hex, size_t *ret_size)
{
    uint8_t *data = xcalloc(strlen(hex) / 2 + 1, 1);
    size_t digits = 0;

    for (; *hex; hex++) {
        if (*hex != ' ') {
            const char digit[2] = {*hex, 0};
            data[digits / 2] = (uint8_t)(data[digits / 2] << 4 | strtoul(digit, NULL, 16));
            digits++;
        }
    }
    *ret_size = digits / 2;
    return data;
}

/* --- matches --- */

static void match_is_canonical(void **state)
{
    struct of_match a = {0}, b = {0};

    of_match_set_masked(&a, OF_IPV4_DST, 0x0a4d0503, 0xffff0000);
    of_match_set_masked(&b, OF_IPV4_DST, 0x0a4d0000, 0xffff0000);
    assert_true(of_match_equal(&a, &b));
    of_match_set_masked(&a, OF_TCP_DST, 80, 0);
    assert_false(of_match_has(&a, OF_TCP_DST));
    assert_true(of_match_equal(&a, &b));
    of_match_set(&a, OF_TCP_DST, 0x10050);
    assert_true(a.value[OF_TCP_DST] == 80 && a.mask[OF_TCP_DST] == 0xffff);
    assert_false(of_match_equal(&a, &b));
    of_match_set_masked(&a, OF_TCP_DST, 1, 0);
    assert_true(of_match_equal(&a, &b));
    b.unknown_len = 1;
    assert_false(of_match_equal(&b, &b));
}

static void fields_have_names(void **state)
{
    enum of_field found;

    for (enum of_field field = 0; field < OF_FIELD_LEN; field++) {
        assert_int_equal(of_field_find(of_field_name(field), &found), 0);
        assert_int_equal(found, field);
        assert_in_range(of_field_bits(field), 1, 64);
    }
    assert_int_equal(of_field_find("tcp_dts", &found), -ENOENT);
    assert_true(of_field_is_maskable(OF_TCP_DST));
    assert_false(of_field_is_maskable(OF_IP_PROTO));
}

static void refused(const struct of_match *match, const char *pointer, const char *words)
{
    struct error error;

    assert_int_equal(of_match_check(match, &error), -EINVAL);
    assert_string_equal(error.pointer, pointer);
    assert_string_equal(error.detail, words);
}

static void impossible_matches_are_named(void **state)
{
    struct of_match match = {0};

    of_match_set(&match, OF_TCP_DST, 80);
    refused(&match, "/tcp_dst", "tcp_dst needs eth_type=0x800");
    of_match_set(&match, OF_ETH_TYPE, 0x0800);
    refused(&match, "/tcp_dst", "tcp_dst needs ip_proto=0x6");
    of_match_set(&match, OF_IP_PROTO, 6);
    assert_int_equal(of_match_check(&match, NULL), 0);
    of_match_set(&match, OF_IP_FRAG, OF_FRAG_ANY | OF_FRAG_LATER);
    refused(&match, "/tcp_dst",
            "tcp_dst isn't in a fragment but the first, ip_frag must not have bit 0x2");
    of_match_set(&match, OF_IP_FRAG, OF_FRAG_ANY);
    of_match_set_masked(&match, OF_IP_PROTO, 6, 0x0f);
    refused(&match, "/ip_proto", "ip_proto must be exact; its mask can only be 0xff");
    match = (struct of_match){0};
    of_match_set(&match, OF_VLAN_PCP, 3);
    refused(&match, "/vlan_pcp", "vlan_pcp needs a tag, vlan_vid with bit 0x1000");
    match = (struct of_match){0};
    of_match_set(&match, OF_ETH_TYPE, 0x0800);
    of_match_set(&match, OF_ARP_OP, 1);
    refused(&match, "/arp_op", "arp_op needs eth_type=0x806");
}

/* --- ranges --- */

/* The fewest prefixes, by trying: a block is taken whole or halved. */
static size_t fewest(uint32_t first, uint32_t last, uint32_t start, uint32_t size)
{
    if (start > last || start + size - 1 < first) {
        return 0;
    }
    if (start >= first && start + size - 1 <= last) {
        return 1;
    }
    return fewest(first, last, start, size / 2) + fewest(first, last, start + size / 2, size / 2);
}

static void check_range(uint32_t first, uint32_t last)
{
    struct of_port_mask masks[OF_PORT_MASKS_MAX];
    size_t len = of_port_masks((uint16_t)first, (uint16_t)last, masks);
    uint32_t next = first;

    assert_in_range(len, 1, OF_PORT_MASKS_MAX);
    assert_int_equal(len, fewest(first, last, 0, 0x10000));
    for (size_t i = 0; i < len; i++) { /* in order, without gaps */
        uint32_t size = 0x10000u - masks[i].mask;
        assert_int_equal(masks[i].value, next);
        assert_int_equal(size & (size - 1), 0);
        assert_int_equal(masks[i].value & ~masks[i].mask, 0);
        next += size;
    }
    assert_int_equal(next, last + 1);
}

static void ranges_are_covered_exactly(void **state)
{
    struct of_port_mask masks[OF_PORT_MASKS_MAX];

    for (uint32_t first = 0; first < 80; first++) {
        for (uint32_t last = first; last < 80; last++) {
            check_range(first, last);
            check_range(0xffff - last, 0xffff - first);
            check_range(first, 0xffff - last);
        }
    }
    check_range(1024, 65535);
    check_range(1919, 1919);
    assert_int_equal(of_port_masks(1, 65534, masks), OF_PORT_MASKS_MAX);
    assert_int_equal(of_port_masks(0, 65535, masks), 1);
    assert_int_equal(masks[0].mask, 0);
    assert_int_equal(of_port_masks(2, 1, masks), 0);
}

/* --- flow mods --- */

/* ovs-ofctl -O OpenFlow14 mod-flows: table=3,in_port=1,actions=output:5 */
#define MODIFY                                                                                    \
    "050e0058 00000002 00000000 00000000 00000000 00000000 03010000 00008000 ffffffff ffffffff "  \
    "ffffffff 00000000 0001000c 80000004 00000001 00000000 00040018 00000000 00000010 00000005 "  \
    "00000000 00000000"
/* del-flows cookie=0x10/0xff */
#define DELETE                                                                                    \
    "050e0038 00000002 00000000 00000010 00000000 000000ff ff030000 00008000 ffffffff ffffffff "  \
    "ffffffff 00000000 00010004 00000000"

static void flow_mods_are_ofctls(void **state)
{
    struct of_flow_mod modify = {.command = OF_MODIFY, .flow = {.table = 3, .priority = 0x8000}};
    struct of_flow_mod delete = {.command = OF_DELETE,
                                 .cookie_mask = 0xff,
                                 .flow = {.table = 0xff, .priority = 0x8000, .cookie = 0x10}};
    _cleanup_buf_ struct buf out = BUF_INIT(4096);
    size_t size, delete_size;
    _cleanup_free_ uint8_t *first = bytes(MODIFY, &size), *second = bytes(DELETE, &delete_size);

    of_match_set(&modify.flow.match, OF_IN_PORT, 1);
    of_flow_output(&modify.flow, 5);
    assert_int_equal(of_flow_mod_encode(&out, OF_VERSION_14, 2, &modify), 0);
    assert_int_equal(out.size, size);
    assert_memory_equal(out.data, first, size);
    assert_int_equal(of_flow_mod_encode(&out, OF_VERSION_14, 2, &delete), 0);
    assert_int_equal(out.size, size + delete_size);
    assert_memory_equal(out.data + size, second, delete_size);
}

static void flow_mods_have_limits(void **state)
{
    _cleanup_buf_ struct buf small = BUF_INIT(40);
    struct of_flow_mod mod = {0};

    assert_int_equal(of_flow_mod_encode(&small, OF_VERSION_14, 1, &mod), -E2BIG);
    assert_int_equal(small.size, 0);
    for (int i = 0; i <= OF_ACTIONS_MAX; i++) {
        of_flow_output(&mod.flow, 1);
    }
    small.limit = 4096;
    assert_int_equal(of_flow_mod_encode(&small, OF_VERSION_14, 1, &mod), -EINVAL);
}

/* Everything that a flow can have fits: nothing is cut, nothing aborts. */
static void largest_flow_fits(void **state)
{
    _cleanup_buf_ struct buf out = BUF_INIT(65536);
    struct of_flow_mod mod = {.flow = {.table = 1, .metadata_mask = 1, .goto_table = 9}}, back;

    for (enum of_field field = 0; field < OF_FIELD_LEN; field++) {
        of_match_set_masked(&mod.flow.match, field, 1, 1);
    }
    for (int i = 0; i < OF_ACTIONS_MAX; i++) {
        of_flow_set_field(&mod.flow, OF_METADATA, UINT64_MAX);
    }
    assert_int_equal(of_flow_mod_encode(&out, OF_VERSION_14, 1, &mod), 0);
    assert_int_equal(of_flow_mod_decode((uint8_t *)out.data, out.size, &back), 0);
    assert_true(of_flow_equal(&mod.flow, &back.flow));
}

static void cut_messages_are_refused(void **state)
{
    size_t size;
    _cleanup_free_ uint8_t *whole = bytes(MODIFY, &size);
    struct of_flow_mod mod;

    assert_int_equal(of_flow_mod_decode(whole, size, &mod), 0);
    for (size_t cut = 0; cut < size; cut++) {
        uint8_t *part = xcalloc(cut ? cut : 1, 1); /* so that reading past its end is seen */
        memcpy(part, whole, cut);
        int rc = of_flow_mod_decode(part, cut, &mod);
        assert_int_equal(rc, cut == 64 ? 0 : -EBADMSG); /* there the instructions begin */
        free(part);
    }
}

static void wrong_matches_are_refused(void **state)
{
    static const char *const WRONG[] = {
        "00000004 00000000",                                     /* not OXM */
        "00010003 00000000",                                     /* shorter than its header */
        "0001000c 80000004 00000001",                            /* its padding is missing */
        "0001000b 80000003 00000100 00000000",                   /* in_port with three bytes */
        "00010014 80000004 00000001 80000004 00000001 00000000", /* in_port twice */
        "0001000c 8000190a 0a4d0000 ffff0000",                   /* masked, the wrong length */
        "00010010 80001708 0a4d0001 ffff0000",                   /* bits outside of the mask */
        "00010009 80001001 ff000000 00000000",                   /* dscp of eight bits */
        "00010006 80000000 00000000",                            /* rubbish at the end */
    };
    static const char HEAD[] =
        "050e0000 00000002 00000000 00000000 00000000 00000000 03010000 00008000 ffffffff "
        "ffffffff ffffffff 00000000";
    struct of_flow_mod mod;

    for (size_t i = 0; i < ARRAY_LEN(WRONG); i++) {
        _cleanup_free_ char *hex = xasprintf("%s%s", HEAD, WRONG[i]);
        size_t size;
        _cleanup_free_ uint8_t *data = bytes(hex, &size);
        if (of_flow_mod_decode(data, size, &mod) != -EBADMSG) {
            fail_msg("taken: %s", WRONG[i]);
        }
    }
}

/* --- hello and refusals --- */

static void versions_are_agreed(void **state)
{
    static const struct {
        const char *hex;
        int version; /* 0: none */
    } HELLOS[] = {
        {"05000010 00000001 00010008 00000030", 5}, /* 1.3 and 1.4 */
        {"04000010 00000001 00010008 00000010", 4},
        {"06000010 00000001 00010008 00000050", 4}, /* 1.3 and 1.5 */
        {"06000008 00000001", 5},                   /* all up to 1.5 */
        {"01000008 00000001", 0},
        {"06000010 00000001 00010008 00000040", 0},
        {"05000018 00000001 00770005 00000000 00010008 00000010", 4}, /* an unknown element */
        {"0500000c 00000001 00010008", 0},                            /* cut */
        {"0500000c 00000001 00010003", 0},
    };

    for (size_t i = 0; i < ARRAY_LEN(HELLOS); i++) {
        uint8_t version = 0;
        struct error error = {0};
        size_t size;
        _cleanup_free_ uint8_t *data = bytes(HELLOS[i].hex, &size);
        int rc = of_hello_decode(data, size, &version, &error);
        assert_int_equal(version, HELLOS[i].version);
        assert_int_equal(rc < 0, HELLOS[i].version == 0);
        assert_int_equal(error.detail[0] != '\0', rc < 0);
    }
}

static void explained(const char *hex, const char *words, uint32_t xid)
{
    struct of_refusal refusal;
    struct error error;
    size_t size;
    _cleanup_free_ uint8_t *data = bytes(hex, &size);

    assert_int_equal(of_refusal_decode(data, size, &refusal), 0);
    of_refusal_explain(&refusal, &error);
    assert_string_equal(error.detail, words);
    assert_int_equal(refusal.xid, xid);
}

static void refusals_are_sentences(void **state)
{
    struct of_refusal refusal;

    /* What ovs-vswitchd answers in the middle of a bundle; with 1.4 and with 1.3. */
    explained("05010074 00000003 00040009 05220068 00000003 00000000 00000003 050e0058 00000003 "
              "00000000 00000000 00000000 00000000 03000000 00000063",
              "the switch refused to add a flow: a field that the match needs is missing or has "
              "another value (OFPBMC_BAD_PREREQ, message 0x3)",
              3);
    explained(
        "0401007c 00000003 00040009 04040070 00000003 4f4e4600 000008fd 00000000 00000003 "
        "040e0058 00000003 00000000 00000000 00000000 00000000 03040000 00000063",
        "the switch refused to delete a flow: a field that the match needs is missing or has "
        "another value (OFPBMC_BAD_PREREQ, message 0x3)",
        3);
    explained("0401001c 00000009 ffff0909 4f4e4600 04040018 00000009 4f4e4600 000008fc",
              "the switch refused a bundle: a message of the bundle can't be carried out "
              "(OFPBFC_MSG_FAILED, message 0x9)",
              9);
    explained("0501000c 00000009 00050001",
              "the switch refused us: the table is full (OFPFMFC_TABLE_FULL, message 0x9)", 9);
    explained(
        "05010014 00000009 ffff0001 00002320 05120010",
        "the switch refused us: for a reason of its own (error 65535/1, experimenter 0x2320, "
        "message 0x9)",
        9);
    assert_int_equal(of_refusal_decode((const uint8_t *)"\5\1\0\10\0\0\0\0", 8, &refusal),
                     -EBADMSG);
}

/* --- what a switch says of itself --- */

static void ports_are_read_in_both_versions(void **state)
{
    struct of_port port;
    size_t size, taken;
    _cleanup_free_ uint8_t *data14 =
        bytes("fffffffe 00480000 c2ef958f 35470000 62723000 00000000 00000000 00000000 00000001 "
              "00000001 00000020 00000000 00000840 00000000 00000000 00000000 00989680 00000000",
              &size);

    assert_int_equal(of_port_decode(OF_VERSION_14, data14, size, &port, &taken), 0);
    assert_int_equal(taken, size);
    assert_true(port.number == OF_PORT_LOCAL);
    assert_string_equal(port.name, "br0");
    assert_memory_equal(port.hardware, "\xc2\xef\x95\x8f\x35\x47", 6);
    assert_int_equal(port.config, OF_PORT_IS_DOWN);
    assert_int_equal(port.state, OF_PORT_NO_LINK);
    assert_int_equal(of_port_decode(OF_VERSION_14, data14, size - 1, &port, &taken), -EBADMSG);
    _cleanup_free_ uint8_t *data13 =
        bytes("fffffffe 00000000 c2ef958f 35470000 62723000 00000000 00000000 00000000 00000001 "
              "00000001 00000840 00000000 00000000 00000000 00989680 00000000",
              &size);
    port = (struct of_port){0};
    assert_int_equal(of_port_decode(OF_VERSION_13, data13, size, &port, &taken), 0);
    assert_int_equal(taken, size);
    assert_string_equal(port.name, "br0");
    assert_int_equal(port.config, OF_PORT_IS_DOWN);
}

static void counters_are_read_in_both_versions(void **state)
{
    struct of_out v13 = {0}, v14 = {0};
    struct of_port_stats stats;
    size_t taken;

    of_put(&v13, 7, 4);
    of_pad(&v13, 4);
    of_put(&v14, 80, 2);
    of_pad(&v14, 2);
    of_put(&v14, 7, 4);
    of_put(&v14, 33, 4); /* duration */
    of_put(&v14, 44, 4);
    for (int i = 1; i <= 8; i++) {
        of_put(&v13, (uint64_t)i, 8);
        of_put(&v14, (uint64_t)i, 8);
    }
    of_pad(&v13, 32);
    of_put(&v13, 33, 4);
    of_put(&v13, 44, 4);
    const struct of_out *both[] = {&v13, &v14};
    for (int i = 0; i < 2; i++) {
        assert_int_equal(of_port_stats_decode(i ? OF_VERSION_14 : OF_VERSION_13, both[i]->bytes,
                                              both[i]->size, &stats, &taken),
                         0);
        assert_int_equal(taken, both[i]->size);
        assert_int_equal(stats.number, 7);
        assert_true(stats.rx_packets == 1 && stats.tx_packets == 2 && stats.rx_bytes == 3);
        assert_true(stats.tx_errors == 8);
        assert_int_equal(stats.duration_sec, 33);
        assert_int_equal(stats.duration_nsec, 44);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(match_is_canonical),
        cmocka_unit_test(fields_have_names),
        cmocka_unit_test(impossible_matches_are_named),
        cmocka_unit_test(ranges_are_covered_exactly),
        cmocka_unit_test(flow_mods_are_ofctls),
        cmocka_unit_test(flow_mods_have_limits),
        cmocka_unit_test(largest_flow_fits),
        cmocka_unit_test(cut_messages_are_refused),
        cmocka_unit_test(wrong_matches_are_refused),
        cmocka_unit_test(versions_are_agreed),
        cmocka_unit_test(refusals_are_sentences),
        cmocka_unit_test(ports_are_read_in_both_versions),
        cmocka_unit_test(counters_are_read_in_both_versions),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
