/* What dnsmasq is given, resolv.conf as text, and questions and answers as packets. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "lib/json.h"
#include "lib/mem.h"
#include "services/dns/dns-query.h"
#include "services/dns/dns-resolver.h"
#include "services/dns/dns-set.h"

/* --- what dnsmasq is given --- */

static void put(struct dns_set *set, const char *key, const char *text)
{
    json_t *spec = json_loads(text, 0, NULL);

    assert_non_null(spec);
    assert_int_equal(dns_set_put(set, key, spec, NULL), 0);
    json_decref(spec);
}

/* All files, one after the other. The caller frees it. */
static char *all_files(const struct dns_set *set)
{
    struct buf out = BUF_INIT(1 << 20);

    buf_append(&out, "", 0);
    for (size_t i = 0; i < DNS_FILES; i++) {
        dns_set_write_file(set, i, &out);
    }
    return out.data ? out.data : xstrdup("");
}

static void expect_files(const struct dns_set *set, const char *text)
{
    _cleanup_free_ char *files = all_files(set);

    assert_string_equal(files, text);
}

static size_t changed(struct dns_set *set)
{
    size_t len = 0;

    for (size_t i = 0; i < DNS_FILES; i++) {
        len += set->changed[i];
        set->changed[i] = 0;
    }
    return len;
}

static void an_address_leads_to_the_node_first(void **state)
{
    struct dns_set set;

    dns_set_init(&set);
    dns_set_domain(&set, "cnsmo.internal");
    assert_int_equal(changed(&set), DNS_FILES);
    put(&set, "dns/record/1",
        "{\"name\":\"aa\",\"addresses\":[\"10.77.0.5\"],\"ttl\":0,\"canonical\":false}");
    put(&set, "dns/record/2",
        "{\"name\":\"zz\",\"addresses\":[\"10.77.0.5\"],\"ttl\":0,\"canonical\":true}");
    put(&set, "dns/name/Agent.1", "{\"name\":\"agent-1\",\"address\":\"10.77.0.5\"}");
    assert_int_equal(changed(&set), 1);
    expect_files(&set, "10.77.0.5 agent-1.cnsmo.internal\n10.77.0.5 zz.cnsmo.internal\n"
                       "10.77.0.5 aa.cnsmo.internal\n");
    dns_set_drop(&set, "dns/name/Agent.1");
    dns_set_drop(&set, "dns/record/1");
    dns_set_drop(&set, "dns/record/1");
    expect_files(&set, "10.77.0.5 zz.cnsmo.internal\n");
    put(&set, "dns/record/2",
        "{\"name\":\"www.example.org.\",\"addresses\":[\"10.77.0.5\"],\"ttl\":0}");
    expect_files(&set, "10.77.0.5 www.example.org\n");
    put(&set, "dns/record/2", "{\"name\":\"@\",\"addresses\":[\"10.77.0.5\"],\"ttl\":0}");
    expect_files(&set, "10.77.0.5 cnsmo.internal\n");
    dns_set_done(&set);
}

static void what_files_cant_say_is_configuration(void **state)
{
    _cleanup_buf_ struct buf out = BUF_INIT(1 << 20);
    struct dns_set set;

    dns_set_init(&set);
    dns_set_domain(&set, "d.test");
    put(&set, "dns/record/1", "{\"name\":\"*.a\",\"addresses\":[\"10.0.0.1\"],\"ttl\":0}");
    put(&set, "dns/record/2", "{\"name\":\"t\",\"addresses\":[\"10.0.0.1\"],\"ttl\":7}");
    put(&set, "dns/record/3",
        "{\"name\":\"o\",\"addresses\":[],\"ttl\":9,\"target\":\"www.example.org\"}");
    dns_set_write_special(&set, &out);
    assert_string_equal(
        out.data,
        "local=/*.a.d.test/\naddress=/*.a.d.test/10.0.0.1\nhost-record=t.d.test,10.0.0.1,7\n"
        "cname=o.d.test,www.example.org,9\n");
    expect_files(&set, "");
    put(&set, "dns/record/2", "{\"name\":\"t\",\"addresses\":[\"10.0.0.1\"],\"ttl\":0}");
    expect_files(&set, "10.0.0.1 t.d.test\n");
    dns_set_done(&set);
}

/* A host-record would be an address's first name otherwise, also before the node's. */
static void a_ttl_takes_no_reverse_away(void **state)
{
    _cleanup_buf_ struct buf out = BUF_INIT(1 << 20), after = BUF_INIT(1 << 20);
    struct dns_set set;

    dns_set_init(&set);
    dns_set_domain(&set, "d.test");
    put(&set, "dns/name/A", "{\"name\":\"a\",\"address\":\"10.0.0.1\"}");
    put(&set, "dns/record/1",
        "{\"name\":\"t\",\"addresses\":[\"10.0.0.1\"],\"ttl\":7,\"canonical\":true}");
    put(&set, "dns/record/2",
        "{\"name\":\"u\",\"addresses\":[\"2001:db8::1\"],\"ttl\":7,\"canonical\":true}");
    put(&set, "dns/record/3",
        "{\"name\":\"v\",\"addresses\":[\"2001:db8::1\"],\"ttl\":0,\"canonical\":true}");
    put(&set, "dns/record/4",
        "{\"name\":\"w\",\"addresses\":[\"10.0.0.2\"],\"ttl\":7,\"canonical\":true}");
    put(&set, "dns/record/5",
        "{\"name\":\"x\",\"addresses\":[\"10.0.0.2\"],\"ttl\":0,\"canonical\":false}");
    dns_set_write_special(&set, &out);
    assert_string_equal(strstr(out.data, "ptr-record"),
                        "ptr-record=1.0.0.10.in-addr.arpa,a.d.test\n"
                        "ptr-record=1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0."
                        "2.ip6.arpa,v.d.test\n");
    dns_set_drop(&set, "dns/name/A");
    dns_set_drop(&set, "dns/record/3");
    dns_set_write_special(&set, &after);
    assert_null(strstr(after.data, "ptr-record"));
    dns_set_done(&set);
}

static void nothing_else_gets_into_the_files(void **state)
{
    static const char *const BAD[] = {
        "{\"name\":\"a\\nb\",\"addresses\":[\"10.0.0.1\"]}",
        "{\"name\":\"a b\",\"addresses\":[\"10.0.0.1\"]}",
        "{\"name\":\"\",\"addresses\":[\"10.0.0.1\"]}",
        "{\"name\":\"a\",\"addresses\":[\"10.0.0.1\\nx\"]}",
        "{\"name\":\"a\",\"addresses\":[\"10.0.0.999\"]}",
        "{\"name\":\"a\",\"addresses\":[7]}",
        "{\"name\":\"a\",\"addresses\":\"10.0.0.1\"}",
        "{\"name\":\"a\",\"addresses\":[],\"target\":\"b\\nserver=1.1.1.1\"}",
        "{\"name\":\"a\",\"addresses\":[\"10.0.0.1\"],\"ttl\":-1}",
        "{}",
    };
    struct dns_set set;
    struct error error;

    dns_set_init(&set);
    for (size_t i = 0; i < ARRAY_LEN(BAD); i++) {
        json_t *spec = json_loads(BAD[i], 0, NULL);
        assert_non_null(spec);
        assert_true(dns_set_put(&set, "dns/record/1", spec, &error) < 0);
        json_decref(spec);
        expect_files(&set, "");
    }
    dns_set_done(&set);
}

/* --- resolv.conf --- */

static void resolv_conf_keeps_what_it_can(void **state)
{
    _cleanup_buf_ struct buf out = BUF_INIT(4096), servers = BUF_INIT(4096);
    const char *before = "# theirs\ndomain old.test\nnameserver 192.0.2.1 # one\n"
                         "nameserver 127.0.77.53\n nameserver 2001:db8::1\nnameserver nonsense\n"
                         "nameserver 192.0.2.3\nsearch a.test d.test b.test\noptions edns0\n";

    resolver_rewrite(before, "d.test", &out);
    assert_true(resolver_is_ours(out.data));
    assert_false(resolver_is_ours(before));
    assert_string_equal(strchr(out.data, '\n') + 1,
                        "nameserver 127.0.77.53\nnameserver 192.0.2.1\nnameserver 2001:db8::1\n"
                        "search d.test a.test b.test\noptions edns0\n");
    resolver_nameservers(before, 8, &servers);
    assert_string_equal(servers.data, "nameserver 192.0.2.1\nnameserver 2001:db8::1\n"
                                      "nameserver 192.0.2.3\n");
}

static void an_empty_resolv_conf(void **state)
{
    _cleanup_buf_ struct buf out = BUF_INIT(4096);

    resolver_rewrite("", "d.test", &out);
    assert_string_equal(strchr(out.data, '\n') + 1, "nameserver 127.0.77.53\nsearch d.test\n");
}

/* --- packets --- */

static void questions_and_answers(void **state)
{
    uint8_t packet[DNS_QUERY_SIZE + 32];
    char text[DNS_TEXT_SIZE];
    size_t size = dns_query_make(packet, 0x1234, "hits.bind");

    assert_int_equal(size, 12 + 11 + 4);
    assert_memory_equal(packet + 12, "\4hits\4bind\0\0\20\0\3", 15);
    assert_true(dns_reply_number(packet, size) < 0);
    packet[2] |= 0x80;
    assert_int_equal(dns_reply_number(packet, size), 0x1234);
    assert_true(dns_reply_text(packet, size, text) < 0);
    packet[7] = 1;
    memcpy(packet + size, "\xc0\x0c\0\20\0\3\0\0\0\0\0\3\2\064\062", 15);
    assert_int_equal(dns_reply_text(packet, size + 15, text), 0);
    assert_string_equal(text, "42");
    for (size_t cut = 0; cut < size + 15; cut++) {
        assert_true(dns_reply_text(packet, cut, text) < 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_address_leads_to_the_node_first),
        cmocka_unit_test(what_files_cant_say_is_configuration),
        cmocka_unit_test(a_ttl_takes_no_reverse_away),
        cmocka_unit_test(nothing_else_gets_into_the_files),
        cmocka_unit_test(resolv_conf_keeps_what_it_can),
        cmocka_unit_test(an_empty_resolv_conf),
        cmocka_unit_test(questions_and_answers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
