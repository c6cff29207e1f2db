/* fw-driver.h - what the firewall's driver keeps between passes. Private to it.
 *
 *     entry   a resource: wanted, or in the kernel, or both, each with the hash of what it says.
 *             The table itself tells what it is made of (fw-compile.h), so a new agent finds it.
 *     count   a total: what the kernel counts now, and what it counted before it was made anew
 *
 * Whatever changes, fw_commit() brings all of the table to what is wanted, in one transaction: the
 * elements that differ, if nothing else does, else the whole of it. */
#pragma once

#include <jansson.h>
#include <stdint.h>
#include <uv.h>

#include "core/backend.h"
#include "lib/error.h"
#include "lib/hash.h"
#include "lib/netlink.h"
#include "lib/omap.h"
#include "services/fw/fw-compile.h"
#include "services/nft-kernel.h"

enum fw_kind { FW_RULE, FW_POLICY, FW_SELF };

struct fw_entry {
    enum fw_kind kind;
    uint8_t is_wanted, in_kernel;
    uint64_t hash, kernel_hash;
    union {
        struct fw_rule rule;
        struct {
            int64_t rank;
            int in, out; /* actions; -1: says nothing */
        } policy;
        struct {
            uint16_t ports[FW_VPN_PORTS_MAX];
            size_t len;
        } self;
    };
    char id[];
};

struct fw_count {
    uint64_t base_packets, base_bytes;
    uint64_t packets, bytes; /* the kernel's, as last read */
    uint64_t sum_packets, sum_bytes;
    uint64_t told_packets, told_bytes;
};

/* How the table looks: its structure as nft lists it, and its elements added up. */
struct fw_look {
    char structure[SHA256_HEX_SIZE];
    uint64_t elements;
};

struct fw {
    const struct backend_env *env;
    struct netlink_watch *watch;
    struct nft_kernel *kernel;
    uv_timer_t *poll;

    struct omap entries;          /* key -> struct fw_entry */
    struct omap counts;           /* "7", "policy-in" -> struct fw_count */
    struct fw_document *document; /* that the kernel has; NULL: not known */
    char problem[512];            /* why it isn't in force; "": it is */

    /* The table in the kernel. */
    int dirty;           /* must be looked at again */
    uint32_t generation; /* of the ruleset, when it was as we know it */
    int present, intact; /* intact: as we made it */
    json_t *sets;        /* its sets' names */
    struct fw_look made;

    int others_dirty; /* others' tables may drop by default */
    char *others;     /* the first that does, in words; "" */

    int unsaved, is_urgent; /* the file has older numbers; and so has the kernel */
    int64_t saved_usec;
};

/* --- fw-entries.c --- */

/* By its key; made if there is none; NULL if it isn't a key of ours. */
struct fw_entry *fw_entry_get(struct fw *fw, const char *key);
/* Takes the resource over. */
int fw_entry_take(struct fw *fw, const char *key, const json_t *spec, struct error *error);
void fw_entry_drop(struct fw_entry *entry);
/* Frees those that are neither wanted nor in the kernel. */
void fw_entries_sweep(struct fw *fw);
void fw_entries_clear(struct fw *fw);
/* What is wanted as a table; NULL: none. */
struct fw_document *fw_entries_compile(const struct fw *fw);
/* The defaults that hold. */
struct fw_policy fw_entries_policy(const struct fw *fw);

/* --- fw-table.c --- */

/* Looks at the table, if it may have changed. */
int fw_table_observe(struct fw *fw, struct error *error);
/* All that is wanted, in one transaction. */
int fw_commit(struct fw *fw, struct error *error);
void fw_table_load(struct fw *fw);
/* Elements come in no order: their hashes are added up. */
uint64_t fw_element_hash(const char *set, const struct nft_kernel_element *element);

/* --- fw-counters.c --- */

/* Reads all; *ret_elements, unless NULL: what struct fw_look has of them. */
int fw_counters_read(struct fw *fw, uint64_t *ret_elements);
/* Tells totals that are new: 1 if there was one. */
int fw_counters_tell(struct fw *fw);
void fw_counters_gone(struct fw *fw, const char *id);
/* All are gone. */
void fw_counters_clear(struct fw *fw);
void fw_counters_load(struct fw *fw);
/* Not more often than a disk likes, unless `now`. */
void fw_counters_save(struct fw *fw, int now);
int fw_counters_forget(struct fw *fw, struct error *error);

/* --- fw-others.c --- */

/* Other tables that drop by default what ours accepts: a sentence, or "". Borrowed. */
const char *fw_others(struct fw *fw);
