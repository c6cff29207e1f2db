/* fw-rule.h - a rule as a resource says it, in a form to think with. Both halves use it.
 *
 *     {"order":100, "direction":"in", "side":"public", "protocol":"tcp",
 *      "source":["192.0.2.0/24"], "destination":[], "port":"22,8000-8010", "sourcePort":"",
 *      "state":"new", "action":"accept"}
 *
 * Pure. Addresses and ports come out sorted, and without what others of them cover: an empty list
 * is all. */
#pragma once

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/error.h"
#include "lib/ip.h"

enum {
    FW_PORTS_MAX = 16,       /* ranges in one text */
    FW_ADDRESSES_MAX = 1000, /* of a group */
    FW_ID_SIZE = 20,         /* a number's digits and NUL */
};

enum fw_direction { FW_IN, FW_OUT };
enum fw_side { FW_ANY_SIDE, FW_OVERLAY, FW_PUBLIC };
enum fw_protocol { FW_ANY, FW_TCP, FW_UDP, FW_ICMP };
enum fw_state { FW_ANY_STATE, FW_NEW, FW_ESTABLISHED };
enum fw_action { FW_ACCEPT, FW_DROP, FW_REJECT, FW_LOG };

struct fw_range {
    uint16_t from, to;
};

struct fw_ports {
    struct fw_range list[FW_PORTS_MAX];
    size_t len;
};

struct fw_addresses {
    struct ip4_prefix *list;
    size_t len;
};

struct fw_rule {
    char id[FW_ID_SIZE];
    int64_t order;
    enum fw_direction direction;
    enum fw_side side;
    enum fw_protocol protocol;
    enum fw_state state;
    enum fw_action action;
    struct fw_addresses source, destination;
    struct fw_ports port, source_port;
};

/* "", "80", "80,443,8000-8010": 0; -EINVAL, -ERANGE (one ends before it begins), -E2BIG. */
int fw_ports_parse(const char *text, struct fw_ports *ret_ports);

/* 0, or -EINVAL with 400 and what is wrong; then there is nothing to free. */
int fw_rule_parse(const char *id, const json_t *body, struct fw_rule *ret_rule,
                  struct error *error);
void fw_rule_done(struct fw_rule *rule);

/* By order, then by number. */
int fw_rule_compare(const struct fw_rule *a, const struct fw_rule *b);

/* FW_ACCEPT to FW_LOG, or -1. */
int fw_action_parse(const char *word);
