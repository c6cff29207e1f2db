#include "services/match.h"

#include <errno.h>
#include <string.h>

#include "lib/json.h"
#include "lib/mem.h"

/* --- reading --- */

int ports_parse(const char *text, struct ports *ret_ports)
{
    struct ports ports = {0};

    if (*text) {
        const char *end = ip_ports_read(text, &ports.from, &ports.to);
        if (!end || *end) {
            return -EINVAL;
        }
        if (ports.to < ports.from) {
            return -ERANGE;
        }
    }
    *ret_ports = ports;
    return 0;
}

int prefix_parse(const char *text, struct ip4_prefix *ret_prefix)
{
    struct ip4_prefix prefix = {.len = 32};
    int rc =
        strchr(text, '/') ? ip4_prefix_parse(text, &prefix) : ip4_parse(text, &prefix.address);

    if (rc == 0) {
        *ret_prefix = prefix;
    }
    return rc;
}

/* --- rules --- */

int match_check_prefix(const json_t *object, const char *name, const char *pointer,
                       struct error *error)
{
    const char *text = json_get_string(object, name, NULL);
    struct ip4_prefix prefix;
    char right[IP4_PREFIX_TEXT_SIZE];

    if (!text) {
        return 0;
    }
    if (strchr(text, ':')) {
        return error_set(error, 400, pointer, "\"%s\" must be IPv4: the overlay has no IPv6 yet",
                         name);
    }
    if (prefix_parse(text, &prefix) < 0) {
        return error_set(error, 400, pointer,
                         "\"%s\" must be an IPv4 address or prefix, such as 10.77.0.2 or "
                         "10.77.0.0/24",
                         name);
    }
    if ((prefix.address & ~ip4_mask(prefix.len)) != 0) {
        prefix.address &= ip4_mask(prefix.len);
        return error_set(error, 400, pointer, "\"%s\" %s has host bits set; the prefix is %s",
                         name, text, ip4_prefix_format(prefix, right));
    }
    return 0;
}

int match_check_port(const json_t *spec, struct error *error)
{
    const char *text = json_get_string(spec, "port", "");
    const char *protocol = json_get_string(spec, "protocol", "any");
    struct ports ports;
    int rc = ports_parse(text, &ports);

    if (rc == -ERANGE) {
        return error_set(error, 400, "/port", "\"port\" %s ends before it begins", text);
    }
    if (rc < 0) {
        return error_set(error, 400, "/port",
                         "\"port\" must be a port from 1 to 65535, or a range such as 8000-8010");
    }
    if (*text && strcmp(protocol, "tcp") != 0 && strcmp(protocol, "udp") != 0) {
        return error_set(error, 400, "/port",
                         "\"port\" needs the protocol tcp or udp, and it is %s", protocol);
    }
    return 0;
}

int match_check_claim(struct view *view, const char *claim, const struct kind *kind,
                      const char *id, struct error *error)
{
    _cleanup_free_ char *key = xasprintf("claim/%s", claim);
    const char *owner = json_get_string(view_get(view, key), "owner", NULL);
    const char *other = owner ? strrchr(owner, '/') + 1 : NULL;

    return !owner || strcmp(other, id) == 0
               ? 0
               : error_set(error, 409, NULL, "%s %s is the same", kind->singular, other);
}
