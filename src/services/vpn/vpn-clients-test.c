/* vpn-clients-test.c - where clients stand, and what is said of those that stand nowhere. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/json.h"
#include "lib/mem.h"
#include "services/vpn/vpn-client-files.h"
#include "services/vpn/vpn-clients.h"

static void put(struct tree *tree, const char *key, const char *text)
{
    json_t *value;

    assert_int_equal(json_parse(text, strlen(text), &value, NULL), 0);
    tree_put(tree, key, 1, value, NULL, NULL);
    json_decref(value);
}

static void fill(struct tree *tree)
{
    put(tree, "object/settings/overlay",
        "{\"spec\":{\"range\":\"10.77.0.0/16\",\"fabric\":\"wireguard\",\"mtu\":0,\"port\":51820,"
        "\"clientPort\":1194}}");
    put(tree, "object/nodes/Hub",
        "{\"spec\":{\"address\":\"10.77.0.1\",\"services\":[\"vpn\"],\"hub\":true,"
        "\"endpoint\":\"192.0.2.1:7\",\"clientRange\":\"10.77.248.0/21\"}}");
    put(tree, "object/nodes/Hidden",
        "{\"spec\":{\"address\":\"10.77.0.2\",\"services\":[\"vpn\"],\"hub\":true,"
        "\"endpoint\":\"\",\"clientRange\":\"10.77.240.0/21\"}}");
    put(tree, "object/nodes/NoHub",
        "{\"spec\":{\"address\":\"10.77.0.3\",\"services\":[\"vpn\"],\"hub\":false}}");
    put(tree, "object/nodes/NoRange",
        "{\"spec\":{\"address\":\"10.77.0.4\",\"services\":[\"vpn\"],\"hub\":true}}");
}

static json_t *spec_of(const char *hub, const char *address)
{
    return json_pack("{s:s, s:s}", "hub", hub, "address", address);
}

static void problems_say_what_to_do(void **state)
{
    static const struct {
        const char *hub, *address, *words;
    } CASES[] = {
        {"Hub", "10.77.248.1", ""},
        {"Gone", "10.77.248.1",
         "its hub Gone was deleted; give it another: cnsmo vpn client set c "},
        {"NoHub", "10.77.248.1", "NoHub isn't a hub that runs vpn any more"},
        {"NoRange", "10.77.248.1", "in the client range (none) of NoRange"},
        {"Hub", "10.77.248.0", "isn't one for clients in the client range 10.77.248.0/21 of Hub"},
        {"Hub", "10.77.251.255", "isn't one for clients"},
        {"Hub", "10.77.252.1", "isn't one for clients"},
        {"Hub", "10.77.240.1", "isn't one for clients"},
        {"Hidden", "10.77.240.1", "cnsmo node set Hidden --endpoint"},
    };
    struct tree tree = {0};
    struct view view = {.tree = &tree};

    fill(&tree);
    for (size_t i = 0; i < ARRAY_LEN(CASES); i++) {
        json_t *spec = spec_of(CASES[i].hub, CASES[i].address);
        _cleanup_free_ char *problem = vpn_client_problem(&view, "c", spec);
        if (CASES[i].words[0] ? !strstr(problem, CASES[i].words) : problem[0] != '\0') {
            fail_msg("%s %s: %s", CASES[i].hub, CASES[i].address, problem);
        }
        json_decref(spec);
    }
    tree_done(&tree);
}

static void both_addresses_are_as_far_into_their_halves(void **state)
{
    struct tree tree = {0};
    struct view view = {.tree = &tree};
    json_t *spec = spec_of("Hub", "10.77.250.7");
    struct vpn_client c;
    char text[IP4_TEXT_SIZE];

    fill(&tree);
    vpn_client_read(&view, spec, &c);
    assert_true(c.is_placed);
    assert_string_equal(ip4_format(c.address, text), "10.77.250.7");
    assert_string_equal(ip4_format(c.wireguard_address, text), "10.77.254.7");
    json_decref(spec);
    tree_done(&tree);
}

/* A declared port is the tunnel's: OpenVPN's clients have one of their own. */
static void remotes_are_declared_then_public(void **state)
{
    struct tree tree = {0};
    struct view view = {.tree = &tree};

    fill(&tree);
    put(&tree, "fact/Hub/core.seen", "{\"address\":\"198.51.100.9\"}");
    put(&tree, "fact/Hub/vpn.self", "{\"port\":51821,\"addresses\":[\"10.0.0.5\"]}");
    put(&tree, "fact/Hidden/core.seen", "{\"address\":\"198.51.100.8\"}");
    put(&tree, "fact/Hidden/vpn.self", "{\"port\":51821,\"addresses\":[\"198.51.100.8\"]}");
    for (int wireguard = 0; wireguard < 2; wireguard++) {
        json_t *declared = vpn_client_remotes(&view, "Hub", wireguard);
        json_t *public = vpn_client_remotes(&view, "Hidden", wireguard);
        assert_int_equal(json_array_size(declared), 1);
        assert_true(json_array_has(declared, wireguard ? "192.0.2.1:7" : "192.0.2.1:1194"));
        assert_int_equal(json_array_size(public), 1);
        assert_true(
            json_array_has(public, wireguard ? "198.51.100.8:51821" : "198.51.100.8:1194"));
        json_decref(declared);
        json_decref(public);
    }
    tree_done(&tree);
}

static void no_file_leads_nowhere(void **state)
{
    struct tree tree = {0};
    struct view view = {.tree = &tree};
    json_t *spec = spec_of("Gone", "10.77.248.1");
    struct vpn_client_parts parts = {
        .id = "c", .spec = spec, .root = "r", .certificate = "c", .key = "k"};
    struct buf out = BUF_INIT(VPN_CLIENT_FILE_MAX);
    struct error error = {0};

    fill(&tree);
    assert_true(vpn_client_openvpn(&view, &parts, 1, &out, &error) < 0);
    assert_int_equal(error.status, 409);
    assert_true(vpn_client_wireguard(&view, &parts, &out, &error) < 0);
    assert_int_equal(error.status, 409);
    assert_int_equal(out.size, 0);
    json_decref(spec);
    buf_done(&out);
    tree_done(&tree);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(problems_say_what_to_do),
        cmocka_unit_test(both_addresses_are_as_far_into_their_halves),
        cmocka_unit_test(remotes_are_declared_then_public),
        cmocka_unit_test(no_file_leads_nowhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
