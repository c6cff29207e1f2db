#include "services/nft-table.h"

#include <errno.h>
#include <string.h>

#include "lib/buf.h"
#include "lib/json.h"
#include "lib/mem.h"
#include "lib/spawn.h"

enum {
    LISTING_SIZE_MAX = 64 << 20,
};

/* Without what nft adds: metainfo and handles. */
static json_t *strip(const json_t *listing, const char *const *without)
{
    json_t *list = json_array(), *item, *value;
    const char *kind;
    size_t i;

    json_array_foreach (json_object_get(listing, "nftables"), i, item) {
        json_object_foreach (item, kind, value) {
            if (strcmp(kind, "metainfo") == 0) {
                continue;
            }
            json_t *copy = json_copy(value);
            json_object_del(copy, "handle");
            for (size_t k = 0; without && without[k]; k++) {
                json_object_del(copy, without[k]);
            }
            json_array_append_new(list, json_pack("{s:o}", kind, copy));
        }
    }
    return list;
}

/* 0, and an empty buffer if there is no such table. */
static int run_list(const char *const *argv, const char *table, struct buf *out,
                    struct error *error)
{
    _cleanup_buf_ struct buf err = BUF_INIT(4096);
    struct spawn spawn = {.argv = argv, .out = out, .err = &err};
    int rc = spawn_run(&spawn);

    if (rc == -ENOENT || (rc == 1 && err.data && strstr(err.data, "No such file or directory"))) {
        buf_done(out);
        return 0;
    }
    return rc == 0 ? 0
                   : error_set(error, 500, NULL, "cannot list the nftables table %s: %s", table,
                               rc < 0     ? strerror(-rc)
                               : err.data ? err.data
                                          : "nft failed");
}

int nft_table_list(const char *family, const char *table, int flags, const char *const *without,
                   json_t **ret_listed, struct error *error)
{
    const char *const whole[] = {"nft", "-j", "list", "table", family, table, NULL};
    const char *const terse[] = {"nft", "-j", "-t", "list", "table", family, table, NULL};
    _cleanup_buf_ struct buf out = BUF_INIT(LISTING_SIZE_MAX);
    json_t *listing = NULL;

    int rc = run_list(flags & NFT_TABLE_TERSE ? terse : whole, table, &out, error);
    if (rc == 0 && out.size > 0) {
        rc = json_parse(out.data, out.size, &listing, error);
    }
    if (rc == 0) {
        *ret_listed = listing ? strip(listing, without) : NULL;
        json_decref(listing);
    }
    return rc;
}

int nft_table_text(const char *family, const char *table, struct buf *text, struct error *error)
{
    const char *const argv[] = {"nft", "-t", "-s", "list", "table", family, table, NULL};

    return run_list(argv, table, text, error);
}
