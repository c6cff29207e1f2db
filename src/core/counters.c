#include "core/counters.h"

#include <errno.h>
#include <string.h>

#include "lib/clock.h"
#include "lib/mem.h"

struct point {
    int64_t slot; /* time divided by the step */
    struct count total;
};

struct series {
    struct point *points;
    size_t len;
};

/* What one driver counts. Its name is the segment after the total's, "" without one. */
struct part {
    struct part *next;
    struct count value;
    char name[];
};

struct counter {
    struct part *parts;
    size_t parts_len;
    struct count gone; /* what parts had counted that are no more */
    struct count total;
    int64_t since_sec;
    struct series series[2]; /* short steps, long steps */
};

static const struct {
    int64_t step_sec;
    int64_t window; /* steps */
} KEPT[] = {
    {COUNTERS_STEP_SEC, COUNTERS_WINDOW_SEC / COUNTERS_STEP_SEC},
    {COUNTERS_LONG_STEP_SEC, COUNTERS_LONG_WINDOW_SEC / COUNTERS_LONG_STEP_SEC},
};

static int is_zero(struct count a)
{
    return a.packets == 0 && a.bytes == 0;
}

/* The first three segments; `*ret_part` is what follows them. The caller frees it. */
static char *total_name(const char *name, const char **ret_part)
{
    const char *s = name;

    for (int i = 0; i < 3 && s; i++) {
        s = strchr(s + (i > 0), '/');
    }
    *ret_part = s ? s + 1 : "";
    return xstrndup(name, s ? (size_t)(s - name) : strlen(name));
}

/* --- series --- */

/* Room at the front: what is older than the window but for the newest of that, from which it goes
 * on; or the oldest, when there are too many points in all. */
static void trim(struct counters *counters, struct series *s, int64_t oldest)
{
    size_t old = 0;

    while (old + 1 < s->len && s->points[old + 1].slot <= oldest) {
        old++;
    }
    if (old == 0 && counters->points >= COUNTERS_POINTS_MAX && s->len >= COUNTERS_POINTS_MIN) {
        old = 1;
    }
    if (old > 0) {
        memmove(s->points, s->points + old, (s->len - old) * sizeof *s->points);
        s->len -= old;
        counters->points -= old;
    }
}

static void push(struct counters *counters, struct series *s, int64_t slot, struct count total)
{
    /* A clock that was put back: the newest point takes what comes until it is right again. */
    if (s->len > 0 && slot <= s->points[s->len - 1].slot) {
        s->points[s->len - 1].total = total;
        return;
    }
    /* Grows by doubling: at lengths that are a power of two. */
    if ((s->len & (s->len - 1)) == 0) {
        s->points = xrealloc(s->points, (s->len ? 2 * s->len : 1) * sizeof *s->points);
    }
    s->points[s->len++] = (struct point){slot, total};
    counters->points++;
}

static void note(struct counters *counters, struct counter *c, int64_t now_sec)
{
    for (size_t i = 0; i < ARRAY_LEN(KEPT); i++) {
        struct series *s = &c->series[i];
        int64_t slot = now_sec / KEPT[i].step_sec, since = c->since_sec / KEPT[i].step_sec;
        if (s->len == 0 && since < slot) {
            push(counters, s, slot - 1, (struct count){0}); /* it was zero until now */
        }
        trim(counters, s, slot - KEPT[i].window);
        push(counters, s, slot, c->total);
    }
}

/* --- counters --- */

static void free_counter(struct counters *counters, struct counter *c)
{
    for (struct part *part = c->parts, *next; part; part = next) {
        next = part->next;
        free(part);
    }
    for (size_t i = 0; i < ARRAY_LEN(KEPT); i++) {
        counters->points -= c->series[i].len;
        free(c->series[i].points);
    }
    free(c);
}

static struct counter *find(const struct counters *counters, const char *node, const char *total)
{
    const struct omap *nodes = omap_get(&counters->by_name, total);

    return nodes ? omap_get(nodes, node) : NULL;
}

static struct counter *make(struct counters *counters, const char *node, const char *total,
                            int64_t now_sec)
{
    struct omap *nodes = omap_get(&counters->by_name, total);
    size_t *size = omap_get(&counters->sizes, node);
    struct counter *c = nodes ? omap_get(nodes, node) : NULL;

    if (c || (size && *size >= COUNTERS_NODE_MAX)) {
        return c;
    }
    if (!nodes) {
        nodes = xnew(struct omap);
        omap_put(&counters->by_name, total, nodes);
    }
    if (!size) {
        size = xnew(size_t);
        omap_put(&counters->sizes, node, size);
    }
    c = xnew(struct counter);
    c->since_sec = now_sec;
    omap_put(nodes, node, c);
    ++*size;
    return c;
}

static void drop(struct counters *counters, const char *node, const char *total)
{
    struct omap *nodes = omap_get(&counters->by_name, total);
    size_t *size = omap_get(&counters->sizes, node);

    free_counter(counters, omap_del(nodes, node));
    if (nodes->len == 0) {
        omap_del(&counters->by_name, total);
        free(nodes);
    }
    if (--*size == 0) {
        omap_del(&counters->sizes, node);
        free(size);
    }
}

char *counters_total(const char *name)
{
    const char *part;

    return total_name(name, &part);
}

/* Where the part is or would be linked in. */
static struct part **find_part(struct counter *c, const char *name)
{
    struct part **at = &c->parts;

    while (*at && strcmp((*at)->name, name) != 0) {
        at = &(*at)->next;
    }
    return at;
}

/* NULL: there are too many. */
static struct part *make_part(struct counter *c, const char *name)
{
    struct part **at = find_part(c, name);

    if (!*at && c->parts_len < COUNTERS_PARTS_MAX) {
        size_t size = strlen(name) + 1;
        *at = xcalloc(1, sizeof **at + size);
        memcpy((*at)->name, name, size);
        c->parts_len++;
    }
    return *at;
}

int counters_put(struct counters *counters, const char *node, const char *name, struct count value,
                 int64_t now_sec)
{
    const char *part_name;
    _cleanup_free_ char *total = total_name(name, &part_name);
    int is_new = !find(counters, node, total);
    struct counter *c = make(counters, node, total, now_sec);
    struct part *part = c ? make_part(c, part_name) : NULL;

    if (!part) {
        return -E2BIG;
    }
    struct count before = c->total;
    part->value.packets =
        value.packets > part->value.packets ? value.packets : part->value.packets;
    part->value.bytes = value.bytes > part->value.bytes ? value.bytes : part->value.bytes;
    c->total = c->gone;
    for (const struct part *p = c->parts; p; p = p->next) {
        c->total = count_add(c->total, p->value);
    }
    int changed = c->total.packets != before.packets || c->total.bytes != before.bytes;
    if (changed && !is_zero(c->total)) {
        note(counters, c, now_sec);
    }
    return is_new || changed;
}

int counters_gone(struct counters *counters, const char *node, const char *name)
{
    const char *part_name;
    _cleanup_free_ char *total = total_name(name, &part_name);
    struct counter *c = find(counters, node, total);
    struct part **at = c ? find_part(c, part_name) : NULL;

    if (!at || !*at) {
        return 0;
    }
    struct part *part = *at;
    c->gone = count_add(c->gone, part->value);
    *at = part->next;
    free(part);
    c->parts_len--;
    if (c->parts) {
        return 0;
    }
    drop(counters, node, total);
    return 1;
}

int counters_drop(struct counters *counters, const char *node, const char *total)
{
    int is_there = find(counters, node, total) != NULL;

    if (is_there) {
        drop(counters, node, total);
    }
    return is_there;
}

void counters_forget(struct counters *counters, const char *node)
{
    if (!omap_get(&counters->sizes, node)) {
        return;
    }
    omap_foreach (e, &counters->by_name) {
        if (omap_get(e->value, node)) {
            drop(counters, node, e->key);
        }
    }
}

void counters_done(struct counters *counters)
{
    omap_foreach (e, &counters->by_name) {
        struct omap *nodes = e->value;
        omap_foreach (n, nodes) {
            free_counter(counters, n->value);
        }
        omap_clear(nodes, NULL);
    }
    omap_clear(&counters->by_name, free);
    omap_clear(&counters->sizes, free);
}

int counters_get(const struct counters *counters, const char *node, const char *name,
                 struct count *ret_total)
{
    const char *part;
    _cleanup_free_ char *total = total_name(name, &part);
    const struct counter *c = find(counters, node, total);

    *ret_total = c ? c->total : (struct count){0};
    return c ? 0 : -ENOENT;
}

size_t counters_len(const struct counters *counters)
{
    size_t len = 0;

    omap_foreach (e, &counters->sizes) {
        len += *(const size_t *)e->value;
    }
    return len;
}

struct count counters_each(const struct counters *counters, const char *name,
                           counters_each_fn *each, void *arg)
{
    const struct omap *nodes = omap_get(&counters->by_name, name);
    struct count sum = {0};

    if (nodes) {
        omap_foreach (e, nodes) {
            const struct counter *c = e->value;
            sum = count_add(sum, c->total);
            if (each) {
                each(arg, e->key, c->total);
            }
        }
    }
    return sum;
}

/* --- reading series --- */

/* Each point as what it adds to the one before it, so that those of several nodes can be mixed. */
struct steps {
    struct point *items;
    size_t len;
};

static void add_steps(struct steps *steps, const struct series *s)
{
    struct count before = {0};

    steps->items = xrealloc(steps->items, (steps->len + s->len + 1) * sizeof *steps->items);
    for (size_t i = 0; i < s->len; i++) {
        struct count now = s->points[i].total;
        steps->items[steps->len++] = (struct point){
            s->points[i].slot, {now.packets - before.packets, now.bytes - before.bytes}};
        before = now;
    }
}

static int by_slot(const void *a, const void *b)
{
    int64_t x = ((const struct point *)a)->slot, y = ((const struct point *)b)->slot;

    return (x > y) - (x < y);
}

static json_t *point_json(int64_t time_sec, struct count total)
{
    char text[CLOCK_TEXT_SIZE];

    return json_pack("{s:s, s:I, s:I}", "time", clock_format(time_sec * 1000000, text), "packets",
                     (json_int_t)total.packets, "bytes", (json_int_t)total.bytes);
}

/* Sums up to a point in each slot; what is before the window is one point at its begin. */
static json_t *points_json(struct steps *steps, int64_t step_sec, int64_t from)
{
    json_t *points = json_array();
    struct count total = {0};

    if (steps->len > 0) {
        qsort(steps->items, steps->len, sizeof *steps->items, by_slot);
    }
    for (size_t i = 0; i < steps->len; i++) {
        int64_t slot = steps->items[i].slot > from ? steps->items[i].slot : from;
        total = count_add(total, steps->items[i].total);
        if (i + 1 == steps->len || steps->items[i + 1].slot > slot) {
            json_array_append_new(points, point_json(slot * step_sec, total));
        }
    }
    return points;
}

json_t *counters_series(const struct counters *counters, const char *node, const char *name,
                        unsigned step_sec, int64_t now_sec)
{
    const struct omap *nodes = omap_get(&counters->by_name, name);
    size_t kept = step_sec == KEPT[0].step_sec ? 0 : 1;
    int64_t step = KEPT[kept].step_sec;
    struct steps steps = {0};

    if (nodes) {
        omap_foreach (e, nodes) {
            if (!node || strcmp(node, e->key) == 0) {
                add_steps(&steps, &((const struct counter *)e->value)->series[kept]);
            }
        }
    }
    json_t *points = points_json(&steps, step, now_sec / step - KEPT[kept].window);
    free(steps.items);
    return json_pack("{s:I, s:o}", "step", (json_int_t)step, "points", points);
}
