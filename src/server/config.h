/* config.h - what cnsmod is told at its start: defaults, a file, flags.
 *
 *     config_init(&config);                                   defaults
 *     config_load(path, &config, &error);                     the file overrides them
 *     config_set(&config, "api_port", "443", &error);         a flag overrides the file
 *     config_check(&config, &error);                          what only the whole can show
 *     ...
 *     config_done(&config);
 *
 * The file has `key = value` lines; blank lines and what follows a `#` (at the line's start or
 * after a blank) are ignored. packaging/cnsmod.conf describes every key. A wrong key, a key that
 * comes twice or a wrong value is refused as "FILE:LINE: reason"; what was read before it stays
 * set, so the program is expected to end. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "lib/error.h"
#include "lib/log.h"

enum {
    CONFIG_FILE_SIZE_MAX = 64 << 10,
    CONFIG_VALUE_SIZE_MAX = 1024,
    CONFIG_ADVERTISE_MAX = 8,
    CONFIG_HOST_SIZE_MAX = 253, /* of a name, RFC 1035 section 2.3.4 */
};

/* Where agents reach this server; also a name in its certificates. */
struct config_host {
    char host[CONFIG_HOST_SIZE_MAX + 1]; /* a name or an IPv4 address */
    uint16_t port;                       /* 0: link_port */
};

/* Strings are owned by the config; NULL only where it says so. */
struct config {
    char *state_dir;
    char *api_address; /* numeric IPv4 or IPv6 */
    uint16_t api_port;
    char *link_address;
    uint16_t link_port;
    struct config_host advertise[CONFIG_ADVERTISE_MAX];
    size_t advertise_len;  /* 0: not told; the host's own addresses */
    char *api_certificate; /* PEM file, NULL: one of our own authority */
    char *api_key;         /* PEM file, NULL exactly if api_certificate is */
    char *cors_origin;     /* "https://host[:port]", NULL: no other origin may call the API */
    enum log_level log_level;
    unsigned connections_max;  /* of people and programs, at once */
    unsigned agents_max;       /* connected at once */
    int metrics_from_loopback; /* /metrics needs no token from this machine */
};

void config_init(struct config *config);
void config_done(struct config *config);

/* -ENOENT if there is no such file (whether that matters is the caller's to say). */
int config_load(const char *path, struct config *config, struct error *error);

/* The same for a text; `name` stands for the file in messages. */
int config_parse(const char *text, size_t size, const char *name, struct config *config,
                 struct error *error);

/* One setting. -EINVAL and "KEY: reason". */
int config_set(struct config *config, const char *key, const char *value, struct error *error);

/* What spans several settings. Call it once, after the file and the flags. */
int config_check(const struct config *config, struct error *error);

/* The i-th key in the order of the sample file, NULL past the last. */
const char *config_key(size_t i);
