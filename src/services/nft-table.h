/* nft-table.h - an nftables table of ours as nft lists it. The agent's half.
 *
 * What was put there is compared with what is there in nft's own JSON (libnftables-json(5)),
 * without what the kernel numbers. */
#pragma once

#include <jansson.h>

#include "lib/buf.h"
#include "lib/error.h"

enum {
    NFT_TABLE_TERSE = 1, /* without the elements of sets */
};

/* [{"table":{…}},{"chain":{…}},{"rule":{…}},…] in nft's order, a new reference, without handles
 * and the members `without` (ended by NULL; NULL: none); NULL if there is no such table, or no
 * nft: making one then says what is missing. */
int nft_table_list(const char *family, const char *table, int flags, const char *const *without,
                   json_t **ret_listed, struct error *error);

/* The same as text: neither elements nor what is counted, and no handles. 0, and *text empty if
 * there is no such table. */
int nft_table_text(const char *family, const char *table, struct buf *text, struct error *error);
