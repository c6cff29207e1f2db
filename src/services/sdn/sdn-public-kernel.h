/* sdn-public-kernel.h - reads nftables from the kernel, where running nft would cost too much.
 *
 * Every change is made by `nft -j -f -`, and the table's structure is listed by nft. But counters
 * are read every few seconds: for 10,000 elements nft takes 0.25 s, this some milliseconds. And
 * each transaction gives the whole ruleset a new generation number, which tells our own changes
 * from others' without listing anything. Nothing here changes anything.
 *
 * Functions return 0 or a negative errno. Sources: linux/netfilter/nf_tables.h; the comment of an
 * element is libnftnl's NFTNL_UDATA_SET_ELEM_COMMENT. */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct public_kernel;

int public_kernel_new(struct public_kernel **ret_kernel);
struct public_kernel *public_kernel_free(struct public_kernel *kernel);

/* The number of the ruleset as it is now; each transaction adds one. */
int public_kernel_generation(struct public_kernel *kernel, uint32_t *ret_generation);

struct public_kernel_element {
    const uint8_t *key;
    size_t key_size;
    const char *comment; /* "" if there is none */
    uint64_t packets, bytes;
};

typedef void public_kernel_element_fn(void *arg, const struct public_kernel_element *element);

/* All elements of a set of family netdev; -ENOENT if there is no such set. An element may come
 * twice when the set changes meanwhile, or the call fails with -EAGAIN. */
int public_kernel_elements(struct public_kernel *kernel, const char *table, const char *set,
                           public_kernel_element_fn *each, void *arg);
