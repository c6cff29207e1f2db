/* The table in the kernel: looked at when somebody else may have changed it, and made.
 *
 * How it looked right after we made it is kept beside it until the next reboot: what looks
 * otherwise, also to a later agent, isn't as we made it, and is made again. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "lib/fault.h"
#include "lib/file.h"
#include "lib/log.h"
#include "lib/mem.h"
#include "lib/spawn.h"
#include "services/fw/fw-driver.h"
#include "services/nft-table.h"

enum {
    COMMANDS_SIZE_MAX = 60 << 20,
    LISTING_SIZE_MAX = 60 << 20,
    LOOK_SIZE_MAX = 4096,
    NFT_MSEC = 3000, /* and as much again for each 600 kB */
    TRIES = 5,
};

/* --- how it looked --- */

static char *path_of(const struct fw *fw)
{
    return xasprintf("%s/fw-table", fw->env->run_dir);
}

void fw_table_load(struct fw *fw)
{
    _cleanup_free_ char *path = path_of(fw);
    _cleanup_buf_ struct buf text = BUF_INIT(LOOK_SIZE_MAX);

    if (file_read(path, &text) == 0 && text.size > SHA256_HEX_SIZE) {
        memcpy(fw->made.structure, text.data, SHA256_HEX_SIZE - 1);
        fw->made.elements = strtoull(text.data + SHA256_HEX_SIZE, NULL, 16);
    }
}

/* A look that can't be kept makes the next agent make the table once more, and no worse. */
static void keep_look(const struct fw *fw)
{
    _cleanup_free_ char *path = path_of(fw);
    char text[SHA256_HEX_SIZE + 20];
    int len =
        snprintf(text, sizeof text, "%s %016" PRIx64 "\n", fw->made.structure, fw->made.elements);
    int rc = !fw->present && unlink(path) < 0 && errno != ENOENT ? -errno : 0;

    if (fw->present) {
        rc = file_write_atomic(path, text, (size_t)len, 0600);
    }
    if (rc < 0) {
        log_warn("the firewall's table can't be noted", "file", path, "error", strerror(-rc),
                 NULL);
    }
}

/* --- looking --- */

struct looking {
    struct fw *fw;
    const char *set;
    uint64_t sum;
};

static uint64_t hash(uint64_t seed, const void *data, size_t size)
{
    const unsigned char *bytes = data;

    for (size_t i = 0; i < size; i++) {
        seed = (seed ^ bytes[i]) * 0x100000001b3;
    }
    return seed;
}

/* Of the table's making: the resource with this hash is in it. */
static void found(struct fw *fw, const char *what, const char *id, size_t id_len,
                  const char *hash_text)
{
    _cleanup_free_ char *key = *what == 's'
                                   ? xasprintf("fw/self/%s", fw->env->node)
                                   : xasprintf("fw/%s/%.*s/%s", *what == 'r' ? "rule" : "policy",
                                               (int)id_len, id, fw->env->node);
    struct fw_entry *entry = fw_entry_get(fw, key);

    entry->in_kernel = 1;
    entry->kernel_hash = strtoull(hash_text, NULL, 16);
}

uint64_t fw_element_hash(const char *set, const struct nft_kernel_element *element)
{
    uint64_t one = hash(0xcbf29ce484222325, set, strlen(set));

    one = hash(one, element->key, element->key_size);
    return hash(one, element->comment, strlen(element->comment));
}

static void on_element(void *arg, const struct nft_kernel_element *element)
{
    struct looking *looking = arg;
    const char *dot = strchr(element->comment, '.');

    looking->sum += fw_element_hash(looking->set, element);
    if (dot) {
        found(looking->fw, "r", element->comment, (size_t)(dot - element->comment), dot + 1);
    }
}

/* "r.<hash>.<id>", "p.<hash>.<id>", "s.<hash>"; policies' ids have dots. */
static void on_counter(void *arg, const char *name, uint64_t packets, uint64_t bytes)
{
    const char *dot = name[0] && name[1] == '.' ? strchr(name + 2, '.') : NULL;

    if (dot && strchr("rp", name[0])) {
        found(arg, name, dot + 1, strlen(dot + 1), name + 2);
    } else if (strncmp(name, "s.", 2) == 0) {
        found(arg, name, "", 0, name + 2);
    }
}

static int read_elements(struct fw *fw, uint64_t *ret_sum)
{
    struct looking looking = {.fw = fw};
    json_t *set;
    size_t i;
    int rc = 0;

    json_array_foreach (fw->sets, i, set) {
        looking.set = json_string_value(set);
        if (rc == 0) {
            rc = nft_kernel_elements(fw->kernel, NFT_KERNEL_INET, FW_TABLE, looking.set,
                                     on_element, &looking);
        }
    }
    *ret_sum = looking.sum;
    return rc;
}

/* "\tset in1_0 {" */
static void take_sets(struct fw *fw, const char *text)
{
    static const char BEGIN[] = "\n\tset ";

    json_decref(fw->sets);
    fw->sets = json_array();
    for (const char *s = strstr(text, BEGIN); s; s = strstr(s, BEGIN)) {
        s += sizeof BEGIN - 1;
        json_array_append_new(fw->sets, json_stringn(s, strcspn(s, " ")));
    }
}

static int list_structure(struct fw *fw, char hex[SHA256_HEX_SIZE], struct error *error)
{
    _cleanup_buf_ struct buf text = BUF_INIT(LISTING_SIZE_MAX);
    int rc = nft_table_text("inet", FW_TABLE, &text, error);

    if (rc == 0) {
        fw->present = text.size > 0;
        hash_text_hex(text.size > 0 ? text.data : "", hex);
        take_sets(fw, text.size > 0 ? text.data : "");
    }
    return rc;
}

static int look_once(struct fw *fw, struct error *error)
{
    struct fw_look look = {.elements = 0};
    int rc = list_structure(fw, look.structure, error);

    if (rc < 0) {
        return rc;
    }
    omap_foreach (e, &fw->entries) {
        ((struct fw_entry *)e->value)->in_kernel = 0;
    }
    if (fw->present) {
        rc = nft_kernel_counters(fw->kernel, NFT_KERNEL_INET, FW_TABLE, on_counter, fw);
    }
    rc = rc < 0 ? rc : read_elements(fw, &look.elements);
    fw->intact = rc == 0 && strcmp(look.structure, fw->made.structure) == 0 &&
                 look.elements == fw->made.elements;
    /* A table or set that went meanwhile: once more. */
    return rc == -ENOENT ? -EAGAIN : rc;
}

int fw_table_observe(struct fw *fw, struct error *error)
{
    uint32_t before = 0, after = 0;

    for (int i = 0; fw->dirty && i < TRIES; i++) {
        int rc = nft_kernel_generation(fw->kernel, &before);
        rc = rc < 0 ? rc : look_once(fw, error);
        rc = rc < 0 ? rc : nft_kernel_generation(fw->kernel, &after);
        if (rc < 0 && rc != -EAGAIN) {
            return error && error->detail[0] ? rc
                                             : error_set(error, error_status(rc), NULL,
                                                         "cannot read the nftables table %s: %s",
                                                         FW_TABLE, strerror(-rc));
        }
        fw->dirty = rc < 0 || before != after;
        fw->generation = after;
    }
    if (fw->dirty) {
        return error_set(error, 503, NULL, "nftables changes too fast to be read");
    }
    fw_entries_sweep(fw);
    return 0;
}

/* --- making --- */

static int run_nft(const struct buf *commands, struct error *error)
{
    const char *const argv[] = {"nft", "-f", "-", NULL};
    struct spawn spawn = {.argv = argv,
                          .input = commands->data,
                          .input_size = commands->size,
                          .timeout_msec = NFT_MSEC + (unsigned)(commands->size / 200)};
    int rc = spawn_check(&spawn, error);

    return rc == -ENOENT
               ? error_set(error, 503, NULL, "there is no nft: install the package nftables")
               : rc;
}

/* What the kernel has now is what was wanted. */
static int note_made(struct fw *fw, int only_elements, struct error *error)
{
    int rc = 0;

    omap_foreach (e, &fw->entries) {
        struct fw_entry *entry = e->value;
        if (entry->in_kernel && !entry->is_wanted && entry->kind == FW_RULE) {
            fw_counters_gone(fw, entry->id);
        }
        entry->in_kernel = entry->is_wanted;
        entry->kernel_hash = entry->hash;
    }
    fw_entries_sweep(fw);
    if (!only_elements) {
        rc = list_structure(fw, fw->made.structure, error);
    }
    return rc < 0 ? rc : fw_counters_read(fw, &fw->made.elements);
}

static int transact(struct fw *fw, const struct buf *commands, int only_elements,
                    struct error *error)
{
    uint32_t after = 0;

    fw_counters_read(fw, NULL);
    int rc = commands->size > 0 ? run_nft(commands, error) : 0;
    fw->dirty = 1; /* unless all of the following works */
    rc = rc < 0 ? rc : note_made(fw, only_elements, error);
    if (rc < 0) {
        return rc == -ENOENT ? -EAGAIN : rc; /* it went again meanwhile */
    }
    fw->unsaved |= fw->counts.len > 0;
    rc = nft_kernel_generation(fw->kernel, &after);
    if (rc < 0 || after != fw->generation + (commands->size > 0)) {
        fw->intact = 0; /* somebody came between: looked at again, and made again */
        return -EAGAIN;
    }
    fw->generation = after;
    fw->intact = 1;
    fw->dirty = 0;
    keep_look(fw);
    return 0;
}

/* Is all that is wanted in the kernel, and nothing else? */
static int is_made(const struct fw *fw)
{
    omap_foreach (e, &fw->entries) {
        const struct fw_entry *entry = e->value;
        if (entry->is_wanted != entry->in_kernel ||
            (entry->is_wanted && entry->hash != entry->kernel_hash)) {
            return 0;
        }
    }
    return fw->intact || (!fw->present && fw->entries.len == 0);
}

static int commit_once(struct fw *fw, struct error *error)
{
    _cleanup_buf_ struct buf commands = BUF_INIT(COMMANDS_SIZE_MAX);
    uint32_t generation;
    int only_elements = 0;
    int rc = nft_kernel_generation(fw->kernel, &generation);

    fw->dirty |= rc == 0 && generation != fw->generation;
    rc = fw_table_observe(fw, error);
    if (rc < 0 || is_made(fw)) {
        return rc;
    }
    struct fw_document *document = fw_entries_compile(fw);
    if (document) {
        only_elements = fw_commands(fw->intact ? fw->document : NULL, document, &commands);
    } else {
        fw_commands_remove(&commands);
    }
    rc = transact(fw, &commands, only_elements, error);
    fw_document_free(fw->document);
    fw->document = rc == 0 ? document : fw_document_free(document);
    return rc;
}

int fw_commit(struct fw *fw, struct error *error)
{
    int rc = -EAGAIN;

    for (int i = 0; rc == -EAGAIN && i < TRIES; i++) {
        rc = commit_once(fw, error);
    }
    if (rc < 0 && (rc == -EAGAIN || !error->detail[0])) {
        return error_set(error, 503, NULL, "the nftables table %s can't be made: %s", FW_TABLE,
                         rc == -EAGAIN ? "others change it all the time" : strerror(-rc));
    }
    return rc;
}
