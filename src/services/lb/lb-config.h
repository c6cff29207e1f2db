/* lb-config.h - resources as HAProxy's configuration. The agent's half, pure.
 *
 * A service is one `listen` section, called <service>:<port>-<hash>, where the hash stands for all
 * that is in it but the servers. So what a running HAProxy says of itself (lb-stat.h) tells which
 * services it has and whether they are as they should be, without any memory of ours:
 *
 *     the same hash   servers may differ: added, changed and deleted while it runs
 *     another hash    the section is another: HAProxy is reloaded
 *
 * The servers of a section are called by their node. Source: HAProxy 2.6's configuration manual.
 */
#pragma once

#include <jansson.h>
#include <sys/types.h>

#include "lib/buf.h"
#include "lib/error.h"

enum {
    LB_NAME_SIZE = 64, /* of a service or a node, with NUL */
    LB_HASH_SIZE = 13,
    LB_PROXY_SIZE = LB_NAME_SIZE + 6 + LB_HASH_SIZE,
    LB_BACKENDS_MAX = 10000,
    LB_CONFIG_MAX = 64 << 20,
};

#define LB_KEY_PREFIX "lb/service/"

/* The service's name in "lb/service/<name>/<node>"; -EINVAL if the key is no such. */
int lb_key_parse(const char *key, const char *node, char ret_name[LB_NAME_SIZE]);

/* Is the resource one that a section can be made from, member by member? */
int lb_spec_check(const json_t *spec, struct error *error);

/* The section's name. `name` and `spec` have been checked, here and below. */
void lb_proxy_name(const char *name, const json_t *spec, char ret_proxy[LB_PROXY_SIZE]);

/* Does the front port speak TLS? Its certificate is in the file lb_certificate_name(). */
int lb_has_tls(const json_t *spec);
void lb_certificate_name(const char *proxy, char *ret_file, size_t size);

struct lb_paths {
    const char *folder; /* where the certificates are */
    const char *socket; /* for commands */
    const char *state;  /* what is known of servers' health at a reload */
    const char *chroot; /* an empty folder */
    uid_t uid;
    gid_t gid;
};

/* Everything before the sections; then each service's. */
void lb_config_global(struct buf *out, const struct lb_paths *paths);
void lb_config_section(struct buf *out, const char *proxy, const json_t *spec,
                       const struct lb_paths *paths);

/* What stands after "server <node>" and "add server <section>/<node>". */
void lb_config_server(struct buf *out, const json_t *spec, const json_t *backend);
