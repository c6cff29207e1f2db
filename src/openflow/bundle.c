/* bundle.c - bundles, streamed.
 *
 *     [waiting] ─► open, add, add … ─► close ──► answered, nothing refused ─► commit ─► done(NULL)
 *                  [streaming]       [closing]             │                [committing]
 *                       │                                  ▼ refused
 *                       └─ given up by its source ─► discard ─► done(error)
 *                                                 [discarding]
 *
 * The close's answer comes after all refusals of what was added, so that a bundle is committed
 * only when every part of it was accepted: a switch may otherwise commit the rest. Only one bundle
 * is under way, the head of the list. */
#include <errno.h>

#include "lib/mem.h"
#include "openflow/conn-internal.h"

enum stage {
    STAGE_WAITING,
    STAGE_STREAMING,
    STAGE_CLOSING,
    STAGE_COMMITTING,
    STAGE_DISCARDING,
};

struct of_bundle_state {
    struct of_bundle_state *next;
    const struct of_bundle_source *source;
    void *arg;
    enum stage stage;
    uint32_t id;
    uint32_t open_xid;
    uint32_t control_xid; /* of close, commit or discard, whichever came last */
    uint32_t first_xid;   /* of its changes, without the high bit */
    size_t len;           /* changes sent */
    int is_refused;
    struct error error; /* why; the first reason */
};

static uint32_t change_xid(uint32_t xid)
{
    return xid | 0x80000000u;
}

/* --- sending --- */

/* The head of a bundle's messages; of 1.3's extension it is longer. */
static void put_head(struct of_out *out, const struct of_conn *conn, int is_add, uint32_t xid)
{
    if (conn->version >= OF_VERSION_14) {
        of_begin(out, conn->version, is_add ? OF_BUNDLE_ADD : OF_BUNDLE_CONTROL, xid);
        return;
    }
    of_begin(out, conn->version, OF_EXPERIMENTER, xid);
    of_put(out, OF_ONF, 4);
    of_put(out, is_add ? OF_ONF_BUNDLE_ADD : OF_ONF_BUNDLE_CONTROL, 4);
}

static uint32_t put_control(struct of_conn *conn, const struct of_bundle_state *bundle,
                            uint16_t type)
{
    uint32_t xid = of_conn_next_xid(conn);
    struct of_out out;

    out.size = 0;
    put_head(&out, conn, 0, xid);
    of_put(&out, bundle->id, 4);
    of_put(&out, type, 2);
    of_put(&out, OF_BUNDLE_ATOMIC | OF_BUNDLE_ORDERED, 2);
    of_finish(&out, 0);
    buf_append(&conn->out, out.bytes, out.size); /* far from the limit: see of_bundle_pump() */
    of_conn_flush_soon(conn);
    return xid;
}

static void put_stage(struct of_conn *conn, struct of_bundle_state *bundle, enum stage stage)
{
    static const uint16_t TYPES[] = {[STAGE_CLOSING] = OF_BUNDLE_CLOSE,
                                     [STAGE_COMMITTING] = OF_BUNDLE_COMMIT,
                                     [STAGE_DISCARDING] = OF_BUNDLE_DISCARD};

    bundle->stage = stage;
    bundle->control_xid = put_control(conn, bundle, TYPES[stage]);
}

/* A change with a head around it, whose number is the same. */
static int put_change(struct of_conn *conn, const struct of_bundle_state *bundle,
                      const struct of_flow_mod *mod)
{
    uint32_t xid = change_xid(conn->change_xid);
    size_t start = conn->out.size;
    struct of_out out;

    out.size = 0;
    put_head(&out, conn, 1, xid);
    of_put(&out, bundle->id, 4);
    of_pad(&out, 2);
    of_put(&out, OF_BUNDLE_ATOMIC | OF_BUNDLE_ORDERED, 2);
    int rc = buf_append(&conn->out, out.bytes, out.size);
    if (rc == 0) {
        rc = of_flow_mod_encode(&conn->out, conn->version, xid, mod);
    }
    if (rc < 0) {
        conn->out.size = start;
        return rc;
    }
    of_store((uint8_t *)conn->out.data + start + 2, conn->out.size - start, 2);
    conn->change_xid = (conn->change_xid + 1) & INT32_MAX;
    return 0;
}

static void give_up(struct of_conn *conn, struct of_bundle_state *bundle, int rc)
{
    if (!bundle->is_refused) {
        bundle->is_refused = 1;
        error_set(&bundle->error, error_status(rc), NULL,
                  "change %zu of the bundle can't be made, so none is", bundle->len);
    }
    put_stage(conn, bundle, STAGE_DISCARDING);
}

/* One change more, or the end of them. */
static void stream(struct of_conn *conn, struct of_bundle_state *bundle)
{
    struct of_flow_mod mod = {0};
    int rc = bundle->source->next(bundle->arg, bundle->len, &mod);

    if (conn->state != OF_CONN_OPEN) {
        return; /* the source has closed it */
    }
    if (rc > 0) {
        rc = put_change(conn, bundle, &mod);
        if (rc == 0) {
            bundle->len++;
            return;
        }
    }
    if (rc < 0) {
        give_up(conn, bundle, rc);
    } else {
        put_stage(conn, bundle, STAGE_CLOSING);
    }
}

void of_bundle_pump(struct of_conn *conn)
{
    struct of_bundle_state *bundle = conn->bundles;

    if (bundle && bundle->stage == STAGE_WAITING) {
        bundle->stage = STAGE_STREAMING;
        bundle->id = ++conn->bundle_id;
        bundle->first_xid = conn->change_xid;
        bundle->open_xid = put_control(conn, bundle, OF_BUNDLE_OPEN);
    }
    while (conn->state == OF_CONN_OPEN && bundle && bundle->stage == STAGE_STREAMING &&
           conn->out.size < OF_HIGH_WATER_BYTES) {
        stream(conn, bundle);
    }
}

int of_bundle_has_more(const struct of_conn *conn)
{
    return conn->bundles && conn->bundles->stage <= STAGE_STREAMING;
}

int of_bundle(struct of_conn *conn, const struct of_bundle_source *source, void *arg)
{
    struct of_bundle_state **at = &conn->bundles;
    int rc = of_conn_may_ask(conn);

    if (rc < 0) {
        return rc;
    }
    struct of_bundle_state *bundle = xnew(struct of_bundle_state);
    bundle->source = source;
    bundle->arg = arg;
    while (*at) {
        at = &(*at)->next;
    }
    *at = bundle;
    conn->requests_len++;
    of_conn_flush_soon(conn);
    return 0;
}

/* --- answers --- */

static void finish(struct of_conn *conn, const struct error *error)
{
    struct of_bundle_state *bundle = conn->bundles;

    conn->bundles = bundle->next;
    conn->requests_len--;
    if (conn->bundles) {
        of_conn_flush_soon(conn);
    }
    bundle->source->done(bundle->arg, error);
    free(bundle);
}

/* The end of the present stage, well or not. */
static void advance(struct of_conn *conn, struct of_bundle_state *bundle)
{
    if (bundle->stage == STAGE_CLOSING) {
        put_stage(conn, bundle, bundle->is_refused ? STAGE_DISCARDING : STAGE_COMMITTING);
    } else {
        finish(conn, bundle->is_refused ? &bundle->error : NULL);
    }
}

void of_bundle_answered(struct of_conn *conn, const uint8_t *message, size_t size)
{
    struct of_bundle_state *bundle = conn->bundles;
    int is_extension = of_u8(message, 1) == OF_EXPERIMENTER;
    size_t at = is_extension ? 16 : OF_HEADER_BYTES;

    if (size < at + 8 || (is_extension && (of_u32(message, 8) != OF_ONF ||
                                           of_u32(message, 12) != OF_ONF_BUNDLE_CONTROL))) {
        return; /* another extension */
    }
    if (bundle && bundle->stage >= STAGE_CLOSING && of_u32(message, 4) == bundle->control_xid) {
        advance(conn, bundle);
    }
}

int of_bundle_refused(struct of_conn *conn, const struct of_refusal *refusal)
{
    struct of_bundle_state *bundle = conn->bundles;
    struct error error;

    if (!bundle || bundle->stage == STAGE_WAITING) {
        return 0;
    }
    size_t index = (refusal->xid - change_xid(bundle->first_xid)) & INT32_MAX;
    int is_change = refusal->xid >> 31 && index < bundle->len;
    int is_control = bundle->stage >= STAGE_CLOSING && refusal->xid == bundle->control_xid;
    if (!is_change && !is_control && refusal->xid != bundle->open_xid) {
        return 0;
    }
    of_refusal_explain(refusal, &error);
    if (!bundle->is_refused) {
        bundle->is_refused = 1;
        bundle->error = error;
    }
    if (is_change && bundle->source->refused) {
        bundle->source->refused(bundle->arg, index, &error);
    }
    if (is_control && conn->state == OF_CONN_OPEN) {
        advance(conn, bundle);
    }
    return 1;
}

void of_bundle_fail_all(struct of_conn *conn, const struct error *error)
{
    while (conn->bundles) {
        finish(conn, error);
    }
}
