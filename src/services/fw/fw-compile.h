/* fw-compile.h - rules and defaults as an nftables table, in nft's language (nft(8)). Pure.
 *
 *     table inet cnsmo_fw
 *       counters    "r.<hash>.<id>", "p.<hash>.<id>", "s.<hash>": which rules, policies and node
 * the table is made of, each as it was then; those of plain rules count sets        of elements
 * that count, each with the comment "<id>.<hash>" arriving    prerouting, after conntrack and
 * before any DNAT: so what is addressed to this machine is seen as it was sent, whoever will get
 * it leaving     output; forwarded: from containers' bridges, which are the machine's own in, out
 * the rules, and the default
 *
 * Neighbouring rules with one action are a block: in which order they are looked at changes no
 * packet's fate. Those of a block that differ in numbers alone are one set, however many they are:
 * a packet costs as many look-ups as there are shapes. Rules with ranges or long lists stand
 * plain. Of the rules of one block that match a packet, one counts it.
 *
 * Conntrack puts fragments together before they come here, which it does once a rule asks for a
 * state: so the table always has such a rule, and ports are seen. */
#pragma once

#include <stdint.h>

#include "lib/buf.h"
#include "services/fw/fw-verdict.h"

#define FW_TABLE "cnsmo_fw"

enum {
    FW_KEY_SIZE = 44,  /* "255.255.255.255 . 255.255.255.255 . 65535" */
    FW_MARK_SIZE = 38, /* an id, a dot, 16 hex digits, NUL */
    FW_NAME_SIZE = 24,
};

/* A rule, and what it is known by in the kernel. */
struct fw_marked {
    const struct fw_rule *rule;
    uint64_t hash;
};

struct fw_element {
    char key[FW_KEY_SIZE];
    char mark[FW_MARK_SIZE];
    uint32_t rule; /* the index of its rule, once sorted */
};

struct fw_set {
    char name[FW_NAME_SIZE];
    struct fw_element *elements; /* by key */
    size_t len;
};

/* What a table is to be. */
struct fw_document {
    char *frame; /* all but the elements */
    struct fw_set *sets;
    size_t len;
};

/* Sorts `rules`. `marks` are names of counters that are put there too, ended by NULL. */
struct fw_document *fw_compile(struct fw_marked *rules, size_t len, const struct fw_policy *policy,
                               const char *const *marks);
struct fw_document *fw_document_free(struct fw_document *document);

/* A transaction that makes the table, whatever was there; or, if only elements differ from those
 * of `before`, what changes these: 1, and nothing is written if nothing differs. */
int fw_commands(const struct fw_document *before, const struct fw_document *after,
                struct buf *commands);
/* One that takes the table away. */
void fw_commands_remove(struct buf *commands);
