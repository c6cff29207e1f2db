/* sdn-read.c - reading flows from the switch, and when.
 *
 * All flows are read once after connecting; later all again and again, or, if they are many, a
 * slice at a time, so that a change never waits for long. After a change only what was changed is
 * read. */
#include "lib/clock.h"
#include "lib/mem.h"
#include "services/sdn/sdn-driver.h"

enum {
    CHECK_USEC = 1000000,
    IDLE_USEC = 5000000,
    STARVED_USEC = 6000000, /* a reading is overdue */
    ACTIVE_USEC = 30000000,
    CHEAP_USEC = 4000, /* a reading that costs nothing worth saving */
    SHARE = 50,        /* reading takes at most one part in so many of the time */
    SLICED_MIN = 512,  /* of so many objects a slice is read at a time */
    SLICE_LATE_USEC = 500000,
    POLL_MSEC = 1000,
    POLL_MIN_MSEC = 20,
};

/* --- reading --- */

static void note_foreign(struct sdn *s, uint64_t cookie)
{
    for (size_t i = 0; i < s->foreign_len; i++) {
        if (s->foreign[i] == cookie) {
            return;
        }
    }
    if (s->foreign_len < ARRAY_LEN(s->foreign)) {
        s->foreign[s->foreign_len++] = cookie;
    }
}

static void on_flow(void *arg, const struct of_flow_stats *stats)
{
    struct sdn *s = arg;
    size_t len = s->objects.len;

    if (!sdn_found_flow(&s->objects, stats)) {
        note_foreign(s, stats->flow.cookie);
    }
    s->has_found_new |= s->objects.len > len;
}

/* One whose last flow has gone, as it should. */
static void sweep_one(struct sdn *s, struct sdn_object *object)
{
    if (object->is_leaving && object->found_len == 0 && !object->is_changing) {
        sdn_counters_gone(s, object);
        sdn_object_drop(&s->objects, object);
    }
}

void sdn_sweep(struct sdn *s)
{
    sdn_objects_foreach (object, &s->objects) {
        sweep_one(s, object);
    }
}

void sdn_forget_only(struct sdn *s)
{
    for (size_t i = 0; i < s->only_len; i++) {
        s->only[i]->is_changing = 0;
    }
    free(TAKE(s->only));
    s->only_len = 0;
    s->is_slice = 0;
}

/* A few objects were read, after the bundle that changed them. */
static void take_only(struct sdn *s)
{
    struct sdn_object **only = TAKE(s->only);
    size_t len = s->only_len;

    s->only_len = 0;
    for (size_t i = 0; i < len; i++) {
        sdn_counters_tell_one(s, only[i]);
        sdn_wake_object(s, only[i]);
        only[i]->is_changing = 0;
        sweep_one(s, only[i]);
    }
    free(only);
    sdn_step(s);
}

static int differs(const struct sdn *s)
{
    if (s->foreign_len > 0) {
        return 1;
    }
    sdn_objects_foreach (object, &s->objects) {
        if (!sdn_is_as_wanted(object)) {
            return 1;
        }
    }
    return 0;
}

static void take_all(struct sdn *s)
{
    int64_t now = clock_monotonic_usec();
    int is_news = s->is_baseline || !s->is_read;

    s->is_read = 1;
    s->is_baseline = 0;
    s->read_usec = s->checked_usec = now;
    s->read_cost_usec = now - s->read_began_usec;
    sdn_counters_tell(s);
    sdn_sweep(s);
    sdn_step(s);
    if (is_news || differs(s)) {
        sdn_wake(s);
    }
}

/* One that is new to us isn't in the slice: then all are read. */
static void take_slice(struct sdn *s)
{
    struct sdn_object **only = TAKE(s->only);
    size_t len = s->only_len;
    int64_t now = clock_monotonic_usec();

    s->only_len = 0;
    s->is_slice = 0;
    s->is_read = s->is_read && !s->has_found_new;
    s->slice_cost_usec = now - s->read_began_usec;
    s->slice_usec = now;
    s->slice = (s->slice + 1) % SDN_SLICES;
    for (size_t i = 0; i < len; i++) {
        sdn_counters_tell_one(s, only[i]);
        if (!sdn_is_as_wanted(only[i])) {
            sdn_wake_object(s, only[i]);
        }
        sweep_one(s, only[i]);
    }
    free(only);
    if (s->foreign_len > 0) {
        sdn_wake(s);
    }
    sdn_step(s);
}

static void take_reading(struct sdn *s)
{
    if (sdn_found_end(&s->objects, s->only, s->only_len, s->is_baseline)) {
        sdn_counters_changed(s);
    }
    if (s->is_slice) {
        take_slice(s);
    } else if (s->only) {
        s->is_baseline = 0;
        take_only(s);
    } else {
        take_all(s);
    }
}

static void on_read(void *arg, const struct error *error)
{
    struct sdn *s = arg;

    if (s->is_stopped || s->work != SDN_READING || (--s->reads_len > 0 && !error)) {
        return;
    }
    s->work = SDN_IDLE;
    if (error) {
        sdn_forget_only(s); /* the connection is over, and the next one reads everything */
        return;
    }
    take_reading(s);
}

static int ask_only(struct sdn *s)
{
    int rc = 0;

    for (size_t i = 0; i < s->only_len && rc == 0; i++) {
        const struct of_flow_filter filter = {.table = OF_TABLE_ALL,
                                              .cookie =
                                                  sdn_cookie(s->only[i]->kind, s->only[i]->number),
                                              .cookie_mask = ~(uint64_t)0};
        rc = of_ask_flows(s->conn, &filter, on_flow, on_read, s);
        s->reads_len += rc == 0;
    }
    return rc;
}

/* All flows, or those of s->only. */
void sdn_read(struct sdn *s)
{
    static const struct of_flow_filter ALL = {.table = OF_TABLE_ALL};

    s->read_began_usec = clock_monotonic_usec();
    s->reads_len = 0;
    sdn_found_begin(&s->objects, s->only, s->only_len);
    s->work = SDN_READING;
    int rc;
    if (s->only) {
        rc = ask_only(s);
    } else {
        s->foreign_len = 0;
        rc = of_ask_flows(s->conn, &ALL, on_flow, on_read, s);
        s->reads_len = rc == 0;
    }
    if (rc < 0) {
        s->work = SDN_IDLE;
        sdn_forget_only(s);
        of_conn_close(s->conn); /* it isn't to be trusted any more */
    }
}

static void forget_foreign(struct sdn *s, unsigned slice)
{
    size_t len = 0;

    for (size_t i = 0; i < s->foreign_len; i++) {
        if (s->foreign[i] % SDN_SLICES != slice) {
            s->foreign[len++] = s->foreign[i];
        }
    }
    s->foreign_len = len;
}

static void read_slice(struct sdn *s)
{
    const struct of_flow_filter filter = {
        .table = OF_TABLE_ALL, .cookie = s->slice, .cookie_mask = SDN_SLICES - 1};

    s->read_began_usec = clock_monotonic_usec();
    s->only = sdn_slice(&s->objects, s->slice, &s->only_len);
    s->is_slice = 1;
    s->has_found_new = 0;
    forget_foreign(s, s->slice);
    sdn_found_begin(&s->objects, s->only, s->only_len);
    s->work = SDN_READING;
    int rc = of_ask_flows(s->conn, &filter, on_flow, on_read, s);
    s->reads_len = rc == 0;
    if (rc < 0) {
        s->work = SDN_IDLE;
        sdn_forget_only(s);
        of_conn_close(s->conn); /* it isn't to be trusted any more */
    }
}

/* --- when --- */

/* Between two readings of all, or of a slice. */
static int64_t interval_usec(const struct sdn *s, int64_t now_usec)
{
    int is_sliced = s->objects.len >= SLICED_MIN;
    int64_t cost = is_sliced ? s->slice_cost_usec : s->read_cost_usec;
    int is_calm = now_usec > s->active_usec + ACTIVE_USEC && s->read_cost_usec > CHEAP_USEC;
    int64_t wanted = (is_calm ? IDLE_USEC : CHECK_USEC) / (is_sliced ? SDN_SLICES : 1);

    return cost * SHARE > wanted ? cost * SHARE : wanted;
}

int sdn_read_if_late(struct sdn *s)
{
    int64_t now = clock_monotonic_usec();
    int is_sliced = s->objects.len >= SLICED_MIN;
    int64_t starved = s->read_usec + STARVED_USEC + s->read_cost_usec * SHARE;

    if (!s->is_read || (!is_sliced && now > starved)) {
        sdn_read(s);
        return 1;
    }
    if (is_sliced && now > s->slice_usec + interval_usec(s, now) + SLICE_LATE_USEC) {
        read_slice(s);
        return 1;
    }
    return 0;
}

static void on_table(void *arg, const struct of_table_stats *stats)
{
    struct sdn *s = arg;

    s->table_flows_len += stats->flows_len;
}

static void on_tables(void *arg, const struct error *error)
{
    struct sdn *s = arg;
    size_t found = 0;

    if (s->is_stopped || s->work != SDN_COUNTING_FLOWS) {
        return;
    }
    s->work = SDN_IDLE;
    if (error) {
        return;
    }
    sdn_objects_foreach (object, &s->objects) {
        found += object->found_len;
    }
    if (found != s->table_flows_len) {
        sdn_read(s);
    } else {
        sdn_step(s);
    }
}

void sdn_read_poll(struct sdn *s, int64_t now_usec)
{
    if (!s->of_peer.is_open || !s->is_read || s->work != SDN_IDLE) {
        return;
    }
    int is_sliced = s->objects.len >= SLICED_MIN;
    int64_t last = is_sliced ? s->slice_usec : s->read_usec;
    if (now_usec >= last + interval_usec(s, now_usec)) {
        (is_sliced ? read_slice : sdn_read)(s);
    } else if (now_usec >= s->checked_usec + CHECK_USEC) {
        s->checked_usec = now_usec;
        s->table_flows_len = 0;
        if (of_ask_tables(s->conn, on_table, on_tables, s) == 0) {
            s->work = SDN_COUNTING_FLOWS;
        }
    }
}

uint64_t sdn_read_poll_msec(const struct sdn *s)
{
    if (s->objects.len < SLICED_MIN) {
        return POLL_MSEC;
    }
    int64_t now = clock_monotonic_usec();
    int64_t left = (s->slice_usec + interval_usec(s, now) - now) / 1000;
    return left < POLL_MIN_MSEC ? POLL_MIN_MSEC : left > POLL_MSEC ? POLL_MSEC : (uint64_t)left;
}
