/* sdn-public-driver.h - what the public side of sdn keeps between passes. Private to it.
 *
 *     filter  a resource, or what an earlier agent left of one (not wanted)
 *        │ claims
 *        ▼
 *     row     an element of a set: wanted by some filter, or in the kernel, or both. Several
 *        │    filters may claim one (ranges that overlap); one of them owns it: its comment is the
 *        ▼    owner's, and its packets are counted for it.
 *     set     one for each shape (sdn-public-rules.h)
 *
 * Rows that aren't in the kernel as they are wanted wait in a list, and public_commit() brings all
 * of them there in one transaction. So a change costs what it changes, not what there is. */
#pragma once

#include <jansson.h>
#include <stdint.h>
#include <uv.h>

#include "core/backend.h"
#include "lib/error.h"
#include "lib/netlink.h"
#include "lib/omap.h"
#include "services/nft-kernel.h"
#include "services/sdn/sdn-public-rules.h"

/* Whose comment says nothing of ours: elements that somebody else put there. */
#define PUBLIC_NOBODY "?"

/* There may be some ten thousand of this and of the next but one: no member more than needed. */
struct public_row {
    struct public_set *set;
    struct public_held *owner;
    struct public_row *chain;           /* the next in its bucket */
    struct public_row *next, *previous; /* in the list of those that wait */
    uint64_t packets, bytes;            /* as last read from the kernel */
    unsigned claims : 20;               /* a filter has a few, of a hundred thousand */
    unsigned waits : 1;
    unsigned in_kernel : 1;
    unsigned renamed : 1; /* the kernel's comment is of another filter */
    unsigned seen : 1;    /* by the reading that goes on */
    unsigned key_size : 8;
    uint8_t key[]; /* at most PUBLIC_KEY_SIZE */
};

struct public_set {
    struct public_shape shape;
    struct public_row **buckets;
    size_t bucket_len, rows_len;
    size_t claimed; /* rows with a claim */
    int in_kernel;
};

/* A filter that is held. */
struct public_held {
    struct public_filter filter; /* if it is wanted */
    uint8_t is_wanted;           /* 0: known from the kernel or the file only */
    uint8_t is_public;
    uint8_t is_deaf;          /* wants to filter what leaves, and the kernel can't */
    struct public_row **rows; /* claimed */
    uint32_t rows_len;
    uint32_t waiting;                  /* owned rows that wait */
    uint64_t base_packets, base_bytes; /* counted by elements that are gone */
    uint64_t told_packets, told_bytes; /* until the first reading: what the elements had by the
                                        * file */
    char id[];
};

struct public_nic {
    int index;
    char name[IF_NAMESIZE];
};

struct public
{
    const struct backend_env *env;
    struct netlink *nl;
    struct netlink_watch *watch;
    struct nft_kernel *kernel;
    uv_timer_t *calm, *poll;

    struct omap held; /* key -> struct public_held */
    struct omap sets; /* name of the shape -> struct public_set */
    struct public_row *waiting;
    size_t rows_len;   /* claimed */
    size_t public_len; /* filters with a part here */

    struct ip4_prefix overlay;
    int has_overlay;
    int can_leave; /* filter what leaves? -1: not known yet */

    /* As the host has it. */
    int nics_dirty;
    struct public_nic *nics;
    size_t nics_len;
    uint32_t *own; /* the NICs' addresses, ascending */
    size_t own_len;

    /* As the kernel has our table. */
    int dirty;           /* must be read again */
    uint32_t generation; /* of the ruleset, when it was as we know it */
    int present;
    int intact;  /* chains, rules and sets are as we would make them */
    int *hooked; /* numbers of the NICs with chains */
    size_t hooked_len;
    uint32_t *own_in_kernel; /* ascending */
    size_t own_in_kernel_len;
    int is_faithful;       /* this nft lists things as we make them */
    json_t *made, *listed; /* if not: what we made last, and how it lists that */

    int unsaved;   /* the file has older numbers */
    int is_urgent; /* and they are nowhere else */
    int64_t saved_usec;
    int loaded; /* the file's numbers have been compared with the kernel's */
};

/* --- sdn-public-rows.c: filters, rows and sets --- */

/* Ids of filters are numbers: the server counts them. */
int public_id_valid(const char *id);
/* By its id; made if there is none. */
struct public_held *public_held_get(struct public *p, const char *id);
/* Takes the filter over as the resource has it: its rows are claimed. */
int public_held_take(struct public *p, const char *key, const json_t *spec, struct error *error);
/* It is to go: its rows are wanted no more. Freed by public_held_sweep(). */
void public_held_drop(struct public *p, struct public_held *held);
/* Frees those that are to go and have nothing in the kernel any more. */
void public_held_sweep(struct public *p, struct public_held *held);
/* All again: the overlay's range is another. */
void public_held_retake(struct public *p);
void public_held_clear(struct public *p);

struct public_set *public_set_get(struct public *p, const struct public_shape *shape);
/* An element that the kernel has, and nobody here knew. */
struct public_row *public_row_found(struct public *p, struct public_set *set,
                                    const struct nft_kernel_element *element);
struct public_row *public_row_find(struct public_set *set, const uint8_t *key, size_t key_size);
/* To be called after each change of a row: puts it into the list or takes it out of it. */
void public_row_changed(struct public *p, struct public_row *row);
/* Its numbers are gone with it: its owner keeps them, and they are in no other place any more. */
void public_row_bank(struct public *p, struct public_row *row);
void public_row_free(struct public *p, struct public_row *row);
/* In no particular order; the one at hand may be freed. */
struct public_row *public_row_first(const struct public_set *set);
struct public_row *public_row_after(const struct public_set *set, const struct public_row *row);
void public_set_free(void *set);

#define public_rows_foreach(row, set)                                                             \
    for (struct public_row *row = public_row_first(set), *row##_next_;                            \
         row && ((row##_next_ = public_row_after((set), row)), 1); row = row##_next_)

/* --- sdn-public-nics.c --- */

/* Looks which NICs and addresses there are: 1 if that is new, 0 if not. */
int public_nics_look(struct public *p, struct error *error);
void public_nics_done(struct public *p);

/* --- sdn-public-table.c: what is in the kernel --- */

/* Reads the table, if it may have changed. */
int public_table_observe(struct public *p, struct error *error);
/* Chains and addresses too are as they must be? Rows have their list. */
int public_table_matches(const struct public *p);
/* What we would make, for the sets and NICs that are wanted or that the kernel has, as nft lists
 * it; a new reference. */
json_t *public_table_document(const struct public *p, int wanted);
/* A document or listing in a form that can be compared; takes the reference `list`. */
json_t *public_table_by_name(json_t *list);
int public_table_list(struct public *p, json_t **ret_listed, struct error *error);
/* An nft transaction. */
int public_nft(const struct buf *commands, int check_only, struct error *error);
void public_table_done(struct public *p);

/* --- sdn-public-commit.c: into the kernel --- */

/* All that waits, in one transaction. */
int public_commit(struct public *p, struct error *error);
/* Does this kernel have the egress hook? */
int public_can_leave(struct public *p);

/* --- sdn-public-counters.c --- */

/* Reads all counters. */
int public_counters_read(struct public *p, struct error *error);
/* Tells totals that are new: 1 if there was one. */
int public_counters_tell(struct public *p);
/* The filter is gone, and so is its counter. */
void public_counters_gone(struct public *p, const struct public_held *held);
void public_counters_load(struct public *p);
/* To be called when the table has been read for the first time after that. */
void public_counters_compare(struct public *p);
/* Not more often than a disk likes, unless `now`. */
void public_counters_save(struct public *p, int now);
int public_counters_forget(struct public *p, struct error *error);
