/* The laws (core/laws.h), with a real dnsmasq. Each law has an /etc of its own: resolv.conf is
 * what is changed there. */
#include "core/laws.h"
#include "services/dns/dns-backend.h"

#define ARGV(...) ((const char *const[]){__VA_ARGS__, NULL})
#define SELF(address) "\"dns/self/Agent.1\":{\"address\":\"" address "\"}"
#define SETTINGS(domain, upstreams)                                                               \
    ",\"dns/settings\":{\"domain\":\"" domain "\",\"upstreams\":[" upstreams "]}"
#define NAME(node, name, address)                                                                 \
    ",\"dns/name/" node "\":{\"name\":\"" name "\",\"address\":\"" address "\"}"
#define RECORD(id, name, addresses, ttl)                                                          \
    ",\"dns/record/" id "\":{\"name\":\"" name "\",\"addresses\":[" addresses "],\"ttl\":" ttl    \
    ",\"canonical\":true}"

static const char A[] = "{" SELF("10.77.0.5") SETTINGS("cnsmo.internal", "")
    NAME("Agent.1", "agent-1", "10.77.0.5") NAME("Agent.2", "agent-2", "10.77.0.6")
        RECORD("1", "web", "\"192.0.2.1\"", "0") RECORD("2", "*.apps", "\"192.0.2.2\"", "0")
            RECORD("4", "web", "\"2001:db8::4\"", "0") "}";

/* Another domain and address; 1 has another value, 2 is gone, 3 is new, 4 got a TTL. */
static const char B[] = "{" SELF("10.77.0.7") SETTINGS("lab.test", "\"192.0.2.53\"")
    NAME("Agent.1", "agent-1", "10.77.0.7") RECORD("1", "web", "\"192.0.2.9\"", "0")
        RECORD("3", "@", "\"192.0.2.3\"", "0") RECORD("4", "web", "\"2001:db8::4\"", "60") "}";

static const char *const *const FOREIGN[] = {
    ARGV("cp", "-a", "/etc", "/tmp/etc"),
    ARGV("rm", "-f", "/tmp/etc/resolv.conf"),
    ARGV("cp", "/etc/hostname", "/tmp/etc/resolv.conf"),
    ARGV("mount", "--bind", "/tmp/etc", "/etc"),
    ARGV("ip", "link", "set", "lo", "up"),
    NULL,
};

static const struct laws_case CASE = {
    .backend = &BACKEND_DNS, .node = "Agent.1", .a = A, .b = B, .foreign = FOREIGN};

int main(void)
{
    return laws_main(&CASE);
}
