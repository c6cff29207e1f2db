/* nft-kernel.h - reads nftables from the kernel, where running nft would cost too much.
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

enum nft_kernel_family {
    NFT_KERNEL_INET = 1, /* NFPROTO_INET of linux/netfilter.h */
    NFT_KERNEL_NETDEV = 5,
};

struct nft_kernel;

int nft_kernel_new(struct nft_kernel **ret_kernel);
struct nft_kernel *nft_kernel_free(struct nft_kernel *kernel);

/* The number of the ruleset as it is now; each transaction adds one. */
int nft_kernel_generation(struct nft_kernel *kernel, uint32_t *ret_generation);

struct nft_kernel_element {
    const uint8_t *key;
    size_t key_size;
    const char *comment; /* "" if there is none */
    uint64_t packets, bytes;
};

typedef void nft_kernel_element_fn(void *arg, const struct nft_kernel_element *element);

/* All elements of a set. -ENOENT if there is no such set. An element may come twice when the set
 * changes meanwhile, or the call fails with -EAGAIN. */
int nft_kernel_elements(struct nft_kernel *kernel, enum nft_kernel_family family,
                        const char *table, const char *set, nft_kernel_element_fn *each,
                        void *arg);

/* All named counters of a table; none if there is no such table. */
typedef void nft_kernel_counter_fn(void *arg, const char *name, uint64_t packets, uint64_t bytes);
int nft_kernel_counters(struct nft_kernel *kernel, enum nft_kernel_family family,
                        const char *table, nft_kernel_counter_fn *each, void *arg);
