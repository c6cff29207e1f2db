#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/ip.h"
#include "lib/mem.h"
#include "services/vpn/vpn-openvpn-config.h"

#define DAY 86400
#define NOW 1800000000

static json_t *peer(const char *cloud, const char *endpoints)
{
    json_t *list = json_loads(endpoints, 0, NULL);

    assert_non_null(list);
    return json_pack("{s:s, s:o}", "cloud", cloud, "endpoints", list);
}

static void assert_remotes(json_t *spec, const char *cloud, const char *wanted)
{
    struct ip4_endpoint remotes[3];
    char text[200] = "", address[IP4_TEXT_SIZE];
    size_t len = openvpn_remotes(spec, cloud, remotes, ARRAY_LEN(remotes));

    for (size_t i = 0; i < len; i++) {
        size_t size = strlen(text);
        snprintf(text + size, sizeof text - size, "%s:%u ",
                 ip4_format(remotes[i].address, address), remotes[i].port);
    }
    assert_string_equal(text, wanted);
    json_decref(spec);
}

#define EVERYTHING                                                                                \
    "[{\"endpoint\":\"10.0.0.1:5\",\"via\":\"local\"},"                                           \
    "{\"endpoint\":\"192.0.2.9:7\",\"via\":\"observed\"},"                                        \
    "{\"endpoint\":\"192.0.2.1:5\",\"via\":\"declared\"},"                                        \
    "{\"endpoint\":\"192.0.2.2:5\",\"via\":\"public\"}]"

static void best_remotes_come_first(void **state)
{
    assert_remotes(peer("x", EVERYTHING), "x", "192.0.2.1:5 192.0.2.2:5 10.0.0.1:5 ");
    assert_remotes(peer("x", EVERYTHING), "y", "192.0.2.1:5 192.0.2.2:5 ");
    assert_remotes(peer("", EVERYTHING), "", "192.0.2.1:5 192.0.2.2:5 ");
}

static void observed_ones_only_in_need(void **state)
{
    static const char ENDPOINTS[] = "[{\"endpoint\":\"10.0.0.1:5\",\"via\":\"local\"},"
                                    "{\"endpoint\":\"192.0.2.9:7\",\"via\":\"observed\"}]";

    assert_remotes(peer("x", ENDPOINTS), "y", "192.0.2.9:7 ");
    assert_remotes(peer("x", ENDPOINTS), "x", "10.0.0.1:5 ");
}

static void what_is_no_endpoint_is_passed_over(void **state)
{
    assert_remotes(peer("x", "[{\"endpoint\":\"example.org:5\",\"via\":\"declared\"},7,"
                             "{\"endpoint\":\"192.0.2.1:0\",\"via\":\"declared\"}]"),
                   "x", "");
    assert_remotes(json_object(), "x", "");
    assert_remotes(peer("x", "[{\"endpoint\":\"192.0.2.1:1\",\"via\":\"public\"},"
                             "{\"endpoint\":\"192.0.2.2:1\",\"via\":\"public\"},"
                             "{\"endpoint\":\"192.0.2.3:1\",\"via\":\"public\"},"
                             "{\"endpoint\":\"192.0.2.4:1\",\"via\":\"public\"}]"),
                   "x", "192.0.2.1:1 192.0.2.2:1 192.0.2.3:1 ");
}

static void assert_has(const char *text, const char *line)
{
    _cleanup_free_ char *whole = xasprintf("\n%s\n", line);

    if (!strstr(text, whole)) {
        fail_msg("%s isn't in:\n%s", line, text);
    }
}

static void a_spoke_trusts_its_server_only(void **state)
{
    struct ip4_endpoint remotes[] = {{0xc0000201, 51820}, {0x0a000001, 51821}};
    struct openvpn_config config = {.state_dir = "/var/lib/a \"b\"",
                                    .mtu_bytes = 9000,
                                    .loaded_until_sec = NOW,
                                    .server_id = "Hub.1",
                                    .remotes = remotes,
                                    .remotes_len = 2};
    _cleanup_free_ char *text = openvpn_config_text(&config);

    assert_has(text, "verify-x509-name \"Hub.1\" name");
    assert_has(text, "remote-cert-eku 2.25.201838361293746121.1");
    assert_has(text, "remote 192.0.2.1 51820\nremote 10.0.0.1 51821");
    assert_has(text, "ca \"/var/lib/a \\\"b\\\"/root.pem\"");
    assert_has(text, "tun-mtu 9000");
    assert_null(strstr(text, "lport"));
    assert_null(strstr(text, "persist-key"));
    assert_int_equal(openvpn_loaded_until(text), NOW);
}

static void a_server_takes_nodes_only(void **state)
{
    struct openvpn_config config = {
        .state_dir = "/s", .server = 1, .port = 51821, .mtu_bytes = 1300};
    _cleanup_free_ char *text = openvpn_config_text(&config);

    assert_has(text, "lport 51821");
    assert_has(text, "remote-cert-eku 2.25.201838361293746121.1");
    assert_has(text, "tun-mtu 1500");
    assert_null(strstr(text, "remote 1"));
    assert_int_equal(openvpn_loaded_until(text), 0);
    assert_int_equal(openvpn_loaded_until("dev x\n"), 0);
    assert_true(openvpn_is_server("dev x\nmode server\n"));
    assert_false(openvpn_is_server("dev x\n# mode server\n"));
}

static void a_new_certificate_is_loaded_in_the_last_week(void **state)
{
    const int64_t soon = NOW + 6 * DAY, late = NOW + 8 * DAY, new = NOW + 30 * DAY;

    assert_int_equal(openvpn_choose_until(0, late, NOW), late);
    assert_int_equal(openvpn_choose_until(late, new, NOW), late);
    assert_int_equal(openvpn_choose_until(soon, new, NOW), new);
    assert_int_equal(openvpn_choose_until(soon, soon, NOW), soon);
    assert_int_equal(openvpn_choose_until(soon, 0, NOW), soon); /* it can't be read */
    assert_int_equal(openvpn_choose_until(NOW - DAY, new, NOW), new);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(best_remotes_come_first),
        cmocka_unit_test(observed_ones_only_in_need),
        cmocka_unit_test(what_is_no_endpoint_is_passed_over),
        cmocka_unit_test(a_spoke_trusts_its_server_only),
        cmocka_unit_test(a_server_takes_nodes_only),
        cmocka_unit_test(a_new_certificate_is_loaded_in_the_last_week),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
