/* sdn-counters.c - what the server is told of the totals, and the file that they are kept in. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "lib/clock.h"
#include "lib/fault.h"
#include "lib/file.h"
#include "lib/log.h"
#include "lib/mem.h"
#include "services/sdn/sdn-counters.h"
#include "services/sdn/sdn-driver.h"

/* "" for what has no counter of its own. */
static const char *name_of(const struct sdn_object *object, char name[64])
{
    static const char *const BASE[] = {"", "sdn/node/in", "sdn/node/out"};

    if (object->kind == SDN_BASE) {
        return object->number < SDN_BASE_LEN ? BASE[object->number] : "";
    }
    snprintf(name, 64, "sdn/%s/%llu", object->kind == SDN_FILTER ? "filter" : "flow",
             (unsigned long long)object->number);
    return name;
}

void sdn_counters_tell_one(struct sdn *s, struct sdn_object *object)
{
    char text[64];
    const char *name = name_of(object, text);

    if (!sdn_is_in_force(object) || !name[0] ||
        (object->is_told && object->told_packets == object->packets)) {
        return;
    }
    object->is_told = 1;
    object->told_packets = object->packets;
    s->active_usec = clock_monotonic_usec();
    if (s->unsaved_usec == 0) {
        s->unsaved_usec = s->active_usec;
    }
    if (s->env->count) {
        s->env->count(s->env->count_arg, name, object->packets, object->bytes);
    }
}

void sdn_counters_tell(struct sdn *s)
{
    sdn_objects_foreach (object, &s->objects) {
        sdn_counters_tell_one(s, object);
    }
}

void sdn_counters_gone(struct sdn *s, struct sdn_object *object)
{
    char text[64];
    const char *name = name_of(object, text);

    sdn_counters_changed(s);
    if (object->is_told && name[0] && s->env->count_gone) {
        s->env->count_gone(s->env->count_arg, name);
    }
    object->is_told = 0;
}

/* --- the file --- */

static char *path_of(const struct sdn *s)
{
    return xasprintf("%s/sdn-counters", s->env->state_dir);
}

void sdn_counters_changed(struct sdn *s)
{
    s->is_unsaved = 1;
}

void sdn_counters_load(struct sdn *s)
{
    _cleanup_buf_ struct buf text = BUF_INIT(SDN_COUNTERS_MAX);
    _cleanup_free_ char *path = path_of(s);

    int rc = file_read(path, &text);
    s->has_file = rc != -ENOENT;
    if (rc == 0) {
        rc = sdn_counters_parse(&s->objects, text.data ? text.data : "", text.size);
    }
    if (rc < 0 && rc != -ENOENT) {
        log_warn("the file of counters can't be used; they go on from what the switch has", "file",
                 path, "reason", strerror(-rc), NULL);
    }
}

int sdn_counters_save(struct sdn *s)
{
    _cleanup_buf_ struct buf text = BUF_INIT(SDN_COUNTERS_MAX);
    _cleanup_free_ char *path = path_of(s);
    int64_t began = clock_monotonic_usec();

    int rc = fault_point();
    if (rc == 0) {
        rc = sdn_counters_format(&s->objects, &text);
    }
    if (rc == 0) {
        rc = file_write_atomic(path, text.data, text.size, 0600);
    }
    s->saved_usec = clock_monotonic_usec();
    s->save_cost_usec = s->saved_usec - began;
    if (rc == 0) {
        s->has_file = 1;
        s->is_unsaved = 0;
        s->unsaved_usec = 0;
    }
    return rc;
}

int sdn_counters_forget(struct sdn *s, struct error *error)
{
    _cleanup_free_ char *path = path_of(s);
    int rc = fault_point();

    if (rc == 0 && unlink(path) < 0 && errno != ENOENT) {
        rc = -errno;
    }
    if (rc < 0) {
        return error_set(error, error_status(rc), NULL, "cannot remove %s: %s", path,
                         strerror(-rc));
    }
    s->has_file = 0;
    s->is_unsaved = 0;
    s->unsaved_usec = 0;
    return 0;
}
