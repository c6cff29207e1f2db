#include "core/golden.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>

#include "core/planner.h"
#include "lib/buf.h"
#include "lib/file.h"
#include "lib/json.h"
#include "lib/mem.h"

enum {
    GOLDEN_SIZE_MAX = 4 << 20,
};

/* A tree with a planner, as in the server but without a store. */
struct bench {
    const struct service *services[2];
    struct tree tree;
    struct channels channels;
    struct planner planner;
    int64_t revision;
};

static struct bench *bench_new(const struct service *service)
{
    struct bench *b = xnew(struct bench);

    b->services[0] = service;
    b->planner =
        (struct planner){.tree = &b->tree, .services = b->services, .channels = &b->channels};
    return b;
}

static void bench_free(struct bench *b)
{
    planner_done(&b->planner);
    channels_done(&b->channels);
    tree_done(&b->tree);
    free(b);
}

static void touch(void *arg, const char *key)
{
    planner_touch(arg, key);
}

static void bench_put(struct bench *b, const char *key, json_t *value)
{
    tree_put(&b->tree, key, ++b->revision, value, touch, &b->planner);
    planner_run(&b->planner, b->revision, NULL, NULL);
}

static json_t *resources_of(const struct channels *channels)
{
    json_t *all = json_object();

    omap_foreach (e, &channels->by_name) {
        const struct channel *channel = e->value;
        json_t *of_channel = json_object();
        omap_foreach (r, &channel->resources) {
            json_object_set(of_channel, r->key, ((struct resource *)r->value)->body);
        }
        if (json_object_size(of_channel) > 0) {
            json_object_set(all, e->key, of_channel);
        }
        json_decref(of_channel);
    }
    return all;
}

/* --- the laws --- */

static int is_lawful(const struct bench *b)
{
    struct channels fresh = {0};
    struct planner planner = {.tree = &b->tree, .services = b->services, .channels = &fresh};

    omap_foreach (e, &b->tree.entries) {
        planner_touch(&planner, e->key);
    }
    planner_run(&planner, b->revision, NULL, NULL);
    json_t *recomputed = resources_of(&fresh), *incremental = resources_of(&b->channels);
    int equal = json_equal(recomputed, incremental);
    json_decref(recomputed);
    json_decref(incremental);
    planner_done(&planner);
    channels_done(&fresh);
    return equal;
}

static int put_lawfully(struct bench *b, const char *name, const char *key, json_t *value)
{
    bench_put(b, key, value);
    if (!is_lawful(b)) {
        printf("%s: after %s %s the incremental plan isn't the recomputed one\n", name,
               value ? "putting" : "deleting", key);
        return 0;
    }
    return 1;
}

static int check_order(const struct service *service, const char *name, json_t *tree, size_t step)
{
    size_t len = json_object_size(tree), at = 0;
    const char **keys = xcalloc(len, sizeof *keys);
    struct bench *b = bench_new(service);
    const char *key;
    json_t *value;
    int lawful = 1;

    json_object_foreach (tree, key, value) {
        keys[at++] = key;
    }
    for (size_t i = 0; lawful && i < len; i++) {
        key = keys[(i * step + step / 2) % len]; /* step is prime to len: every key once */
        lawful = put_lawfully(b, name, key, json_object_get(tree, key));
    }
    for (size_t i = 0; lawful && i < len; i++) {
        lawful = put_lawfully(b, name, keys[i], NULL) &&
                 put_lawfully(b, name, keys[i], json_object_get(tree, keys[i]));
    }
    for (size_t i = 0; lawful && i < len; i++) {
        lawful = put_lawfully(b, name, keys[i], NULL);
    }
    json_t *left = resources_of(&b->channels);
    if (lawful && json_object_size(left) > 0) {
        printf("%s: resources are left when every object is gone\n", name);
        lawful = 0;
    }
    json_decref(left);
    bench_free(b);
    free(keys);
    return lawful;
}

static size_t divisor(size_t a, size_t b)
{
    return b == 0 ? a : divisor(b, a % b);
}

static int check_laws(const struct service *service, const char *name, json_t *tree)
{
    size_t len = json_object_size(tree);

    for (size_t step = 1; step <= 5; step++) {
        if (divisor(len, step) == 1 && !check_order(service, name, tree, step)) {
            return 0;
        }
    }
    return 1;
}

/* --- the files --- */

static int update(const char *path, json_t *file, json_t *resources)
{
    json_object_set(file, "resources", resources);
    _cleanup_free_ char *text = json_dumps(file, JSON_INDENT(2));
    _cleanup_free_ char *line = xasprintf("%s\n", text);

    return file_write_atomic(path, line, strlen(line), 0644) == 0;
}

static int check_file(const struct service *service, const char *path, const char *name)
{
    _cleanup_buf_ struct buf buf = BUF_INIT(GOLDEN_SIZE_MAX);
    struct error error = {0};
    json_t *file, *value;
    const char *key;

    if (file_read(path, &buf) < 0 || json_parse(buf.data, buf.size, &file, &error) < 0) {
        printf("%s: can't be read: %s\n", name, error.detail);
        return 0;
    }
    json_t *tree = json_object_get(file, "tree");
    struct bench *b = bench_new(service);
    json_object_foreach (tree, key, value) {
        bench_put(b, key, value);
    }
    json_t *resources = resources_of(&b->channels);
    int good = getenv("CNSMO_GOLDEN_UPDATE")
                   ? update(path, file, resources)
                   : json_equal(resources, json_object_get(file, "resources"));
    if (!good) {
        _cleanup_free_ char *text = json_dumps(resources, JSON_INDENT(2));
        printf("%s: planned was\n%s\n", name, text);
    }
    good = good && check_laws(service, name, tree);
    json_decref(resources);
    bench_free(b);
    json_decref(file);
    return good;
}

int golden_run(const struct service *service, const char *folder)
{
    unsigned files = 0, bad = 0;
    DIR *entries = opendir(folder);

    for (struct dirent *e; entries && (e = readdir(entries));) {
        size_t length = strlen(e->d_name);
        if (length > 5 && strcmp(e->d_name + length - 5, ".json") == 0) {
            _cleanup_free_ char *path = xasprintf("%s/%s", folder, e->d_name);
            files++;
            bad += check_file(service, path, e->d_name) ? 0 : 1;
        }
    }
    if (entries) {
        closedir(entries);
    }
    printf("%u golden files, %u bad\n", files, bad);
    return files > 0 && bad == 0 ? 0 : 1;
}
