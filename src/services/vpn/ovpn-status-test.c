#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "lib/mem.h"
#include "services/vpn/ovpn-status.h"

#define HEADER                                                                                    \
    "TITLE\tOpenVPN 2.6.14\nTIME\t2026-11-24 23:47:45\t1795564065\n"                              \
    "HEADER\tCLIENT_LIST\tCommon Name\tReal Address\tVirtual Address\tVirtual IPv6 Address\t"     \
    "Bytes Received\tBytes Sent\tConnected Since\tConnected Since (time_t)\tUsername\tClient ID"  \
    "\tPeer ID\tData Channel Cipher\n"
#define ALICE                                                                                     \
    "CLIENT_LIST\talice\t192.0.2.2:57050\t10.9.0.5\t\t2140\t2151\t2026-11-24 23:47:42\t"          \
    "1795564062\tUNDEF\t7\t0\tAES-256-GCM\n"
#define NOBODY                                                                                    \
    "CLIENT_LIST\tUNDEF\t192.0.2.9:40000\t\t\t14\t0\t2026-11-24 23:47:44\t1795564064\tUNDEF\t8\t" \
    "1\t\n"
#define END                                                                                       \
    "HEADER\tROUTING_TABLE\tVirtual Address\tCommon Name\tReal Address\tLast Ref\n"               \
    "ROUTING_TABLE\t10.9.0.5\talice\t192.0.2.2:57050\t2026-11-24 23:47:45\t1795564065\n"          \
    "GLOBAL_STATS\tMax bcast/mcast queue length\t0\n"

static void sessions_are_read(void **state)
{
    _cleanup_free_ struct ovpn_session *sessions = NULL;
    size_t len = 0;

    assert_int_equal(ovpn_status_parse(HEADER ALICE NOBODY END, &sessions, &len, NULL), 0);
    assert_int_equal(len, 1); /* who hasn't shown a certificate is nobody */
    assert_string_equal(sessions[0].name, "alice");
    assert_int_equal(sessions[0].from.address, 0xc0000202);
    assert_int_equal(sessions[0].from.port, 57050);
    assert_int_equal(sessions[0].address, 0x0a090005);
    assert_int_equal(sessions[0].since_sec, 1795564062);
    assert_int_equal(sessions[0].rx_bytes, 2140);
    assert_int_equal(sessions[0].tx_bytes, 2151);
    assert_int_equal(sessions[0].id, 7);
}

static void no_sessions_are_no_failure(void **state)
{
    static const char *const TEXTS[] = {HEADER END, "", "\r\n\r\n"};

    for (size_t i = 0; i < ARRAY_LEN(TEXTS); i++) {
        _cleanup_free_ struct ovpn_session *sessions = NULL;
        size_t len = 9;
        assert_int_equal(ovpn_status_parse(TEXTS[i], &sessions, &len, NULL), 0);
        assert_int_equal(len, 0);
    }
}

static void other_addresses_are_left_out(void **state)
{
    static const char TEXT[] =
        "CLIENT_LIST\tbob\t[2001:db8::1]:57050\t\t\t1\t2\tnow\t3\tUNDEF\t4\r\n";
    _cleanup_free_ struct ovpn_session *sessions = NULL;
    size_t len = 0;

    assert_int_equal(ovpn_status_parse(TEXT, &sessions, &len, NULL), 0);
    assert_int_equal(len, 1);
    assert_int_equal(sessions[0].from.port, 0);
    assert_int_equal(sessions[0].address, 0);
}

static void nonsense_is_refused(void **state)
{
    char longest[2000];
    const char *texts[] = {
        "CLIENT_LIST\talice\t192.0.2.2:57050\n",
        "CLIENT_LIST\t\t192.0.2.2:5\t10.9.0.5\t\t1\t2\tnow\t3\tUNDEF\t4\n",
        "CLIENT_LIST\tbob\t192.0.2.2:5\t10.9.0.5\t\t-1\t2\tnow\t3\tUNDEF\t4\n",
        "CLIENT_LIST\tbob\t192.0.2.2:5\t10.9.0.5\t\t1\t18446744073709551616\tnow\t3\tUNDEF\t4\n",
        "CLIENT_LIST\tbob\t192.0.2.2:5\t10.9.0.5\t\t1\t2\tnow\tnow\tUNDEF\t4\n",
        longest,
    };

    snprintf(longest, sizeof longest, "CLIENT_LIST\t%01900d\n", 7);
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        struct ovpn_session *sessions = NULL;
        struct error error = {0};
        size_t len = 9;
        assert_int_equal(ovpn_status_parse(texts[i], &sessions, &len, &error), -EINVAL);
        assert_null(sessions);
        assert_int_equal(len, 9);
        assert_true(error.detail[0] != '\0');
    }
}

static void states_are_read(void **state)
{
    struct ovpn_state_line line;

    assert_int_equal(
        ovpn_state_parse("1795564062,CONNECTED,SUCCESS,10.9.0.5,192.0.2.1,1194,,\r\n", &line), 0);
    assert_string_equal(line.name, "CONNECTED");
    assert_string_equal(line.description, "SUCCESS");
    assert_int_equal(line.peer.address, 0xc0000201);
    assert_int_equal(line.peer.port, 1194);
    assert_int_equal(line.since_sec, 1795564062);
    assert_int_equal(ovpn_state_parse("1795564070,RECONNECTING,ping-restart,,,,,", &line), 0);
    assert_string_equal(line.name, "RECONNECTING");
    assert_int_equal(line.peer.port, 0);
    assert_int_equal(ovpn_state_parse("1,WAIT", &line), 0);
    assert_string_equal(line.description, "");
}

static void other_states_are_refused(void **state)
{
    static const char *const LINES[] = {"",    "END",   "now,CONNECTED,,",
                                        "1,,", ",WAIT", "1,ANAMETHATISMUCHTOOLONG,,"};

    for (size_t i = 0; i < ARRAY_LEN(LINES); i++) {
        struct ovpn_state_line line;
        assert_int_equal(ovpn_state_parse(LINES[i], &line), -EINVAL);
    }
}

#define ENV ">CLIENT:ENV,tls_serial_hex_0="

static void serials_are_read(void **state)
{
    char serial[OVPN_SERIAL_SIZE];

    assert_int_equal(ovpn_serial_parse(ENV "00:0a:ED:27", serial), 0);
    assert_string_equal(serial, "0aed27");
    assert_int_equal(ovpn_serial_parse(ENV "0a:00:27", serial), 0);
    assert_string_equal(serial, "0a0027");
    assert_int_equal(ovpn_serial_parse(ENV "01:02:03:04:05:06:07:08:09:10:11:12:13:14:15:16:17:18:"
                                           "19:20",
                                       serial),
                     0);
    assert_int_equal(strlen(serial), 40);
}

static void other_serials_are_refused(void **state)
{
    static const char *const LINES[] = {"",
                                        ">CLIENT:ENV,tls_serial_hex_1=01",
                                        ">CLIENT:ENV,tls_serial_0=1",
                                        ENV,
                                        ENV "0",
                                        ENV "01:",
                                        ENV "01:2",
                                        ENV "01,02",
                                        ENV "0102",
                                        ENV "zz:01",
                                        ENV "00",
                                        ENV "01:02:03:04:05:06:07:08:09:10:11:12:13"
                                            ":14:15:16:17:18:19:20:21"};

    for (size_t i = 0; i < ARRAY_LEN(LINES); i++) {
        char serial[OVPN_SERIAL_SIZE] = "as before";
        assert_int_equal(ovpn_serial_parse(LINES[i], serial), -EINVAL);
        assert_string_equal(serial, "as before");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sessions_are_read),
        cmocka_unit_test(no_sessions_are_no_failure),
        cmocka_unit_test(other_addresses_are_left_out),
        cmocka_unit_test(nonsense_is_refused),
        cmocka_unit_test(states_are_read),
        cmocka_unit_test(other_states_are_refused),
        cmocka_unit_test(serials_are_read),
        cmocka_unit_test(other_serials_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
