/* Others' tables: each drops for itself, so what ours accepts may still not arrive. That can be
 * told where a chain of theirs drops by default. */
#include <string.h>

#include "lib/json.h"
#include "lib/mem.h"
#include "lib/spawn.h"
#include "services/fw/fw-driver.h"

enum {
    LISTING_SIZE_MAX = 4 << 20,
    NFT_MSEC = 1000,
};

static int is_ours(const char *table)
{
    return strncmp(table, "cnsmo_", 6) == 0;
}

/* A chain through which what we accept goes, too. */
static int drops(const json_t *chain)
{
    const char *hook = json_get_string(chain, "hook", "");

    return strcmp(json_get_string(chain, "policy", ""), "drop") == 0 &&
           (strcmp(hook, "prerouting") == 0 || strcmp(hook, "input") == 0 ||
            strcmp(hook, "output") == 0) &&
           !is_ours(json_get_string(chain, "table", ""));
}

static char *describe(const json_t *listing)
{
    json_t *item;
    size_t i;

    json_array_foreach (json_object_get(listing, "nftables"), i, item) {
        const json_t *chain = json_object_get(item, "chain");
        if (chain && drops(chain)) {
            return xasprintf(
                "the table %s %s of another program drops by default in its chain %s: "
                "what it doesn't accept itself, no rule here can",
                json_get_string(chain, "family", ""), json_get_string(chain, "table", ""),
                json_get_string(chain, "name", ""));
        }
    }
    return xstrdup("");
}

const char *fw_others(struct fw *fw)
{
    const char *const argv[] = {"nft", "-j", "list", "chains", NULL};
    _cleanup_buf_ struct buf out = BUF_INIT(LISTING_SIZE_MAX);
    struct spawn spawn = {.argv = argv, .out = &out, .timeout_msec = NFT_MSEC};
    json_t *listing = NULL;

    if (fw->others_dirty && spawn_run(&spawn) == 0 && out.data &&
        json_parse(out.data, out.size, &listing, NULL) == 0) {
        free(fw->others);
        fw->others = describe(listing);
    }
    fw->others_dirty = 0; /* what fails now would fail again: at the next change */
    json_decref(listing);
    return fw->others ? fw->others : "";
}
