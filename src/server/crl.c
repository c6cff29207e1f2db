#include "server/crl.h"

#include <stdio.h>
#include <string.h>

#include "core/revoke.h"
#include "lib/clock.h"
#include "lib/hash.h"
#include "lib/json.h"
#include "lib/log.h"
#include "lib/mem.h"

enum {
    /* The next list is made so many times later as the last one took: at most a tenth of the
     * time goes into lists, whatever is deleted how fast. */
    REST_FACTOR = 10,
    REST_MAX_MSEC = 900, /* a revocation is in force within a second */
    RETRY_MSEC = 5000,
    HOUR_MSEC = 3600 * 1000,
    PEM_MAX = 960 << 10, /* some 20,000 entries: agents take a line of 1 MiB */
};

static const char KEY[] = "pki/crl";

struct crl {
    struct deployment *deployment;
    struct pki *pki;
    struct deployment_listener listener;
    uv_timer_t timer, sweep;
    int handles;
    int is_closing;
    int is_writing;
    int is_dirty;        /* touched while writing */
    uint64_t rest_until; /* uv_now() */
};

static void maybe_free(struct crl *crl)
{
    if (crl->handles == 0 && !crl->is_writing) {
        free(crl);
    }
}

/* --- what it is made of --- */

static int is_serial(const char *text)
{
    size_t len = strlen(text);

    return len > 0 && len <= 2 * PKI_SERIAL_MAX && len % 2 == 0 &&
           strspn(text, "0123456789abcdef") == len;
}

size_t crl_revoked(const struct deployment *deployment, struct pki_revoked **ret_revoked)
{
    const struct tree *tree = deployment_tree(deployment);
    struct pki_revoked *revoked = NULL;
    size_t len = 0, capacity = 0;

    for (struct omap_entry *e = tree_first(tree, REVOKED_PREFIX); e;
         e = tree_next(tree, e, REVOKED_PREFIX)) {
        const json_t *value = ((struct tree_entry *)e->value)->value;
        struct pki_revoked one = {.serial = e->key + strlen(REVOKED_PREFIX),
                                  .authority = json_get_string(value, "authority", "")};
        /* One that can't be listed must not keep the others off the list. */
        if (!is_serial(one.serial) ||
            clock_parse(json_get_string(value, "time", ""), &one.time_usec) < 0) {
            continue;
        }
        if (len == capacity) {
            capacity = capacity ? 2 * capacity : 64;
            revoked = xrealloc(revoked, capacity * sizeof *revoked);
        }
        revoked[len++] = one;
    }
    *ret_revoked = revoked;
    return len;
}

static void add(uint8_t digest[SHA256_SIZE], const char *text)
{
    uint8_t both[2 * SHA256_SIZE];

    memcpy(both, digest, SHA256_SIZE);
    hash_sha256(text, strlen(text), both + SHA256_SIZE);
    hash_sha256(both, sizeof both, digest);
}

static void digest_of(const struct crl *crl, const struct pki_revoked *revoked, size_t len,
                      char hex[SHA256_HEX_SIZE])
{
    uint8_t digest[SHA256_SIZE] = {0};
    int64_t now = clock_now_usec();

    for (int role = 0; role < PKI_ROLES; role++) {
        const struct pki_generation *g;
        for (size_t i = 0; (g = pki_generation_at(crl->pki, (enum pki_role)role, i)); i++) {
            _cleanup_free_ char *text =
                xasprintf("%s %d %d", g->id, (int)g->state, g->spent_usec < now);
            add(digest, text);
        }
    }
    for (size_t i = 0; i < len; i++) {
        add(digest, revoked[i].serial);
    }
    hex_encode(digest, sizeof digest, hex);
}

/* --- making it --- */

static void on_timer(uv_timer_t *timer);

static void start(struct crl *crl, uint64_t msec)
{
    uint64_t now = uv_now(crl->timer.loop);
    uint64_t rest = crl->rest_until > now ? crl->rest_until - now : 0;

    uv_timer_start(&crl->timer, on_timer, msec > rest ? msec : rest, 0);
}

void crl_touch(struct crl *crl)
{
    if (crl->is_writing) {
        crl->is_dirty = 1;
    } else if (!crl->is_closing && !uv_is_active((uv_handle_t *)&crl->timer)) {
        start(crl, 0);
    }
}

static void on_written(void *arg, int rc, int64_t revision)
{
    struct crl *crl = arg;

    crl->is_writing = 0;
    if (crl->is_closing) {
        maybe_free(crl);
        return;
    }
    if (rc < 0) {
        log_error("the revocation list can't be stored", "error", strerror(-rc), NULL);
        start(crl, RETRY_MSEC);
    } else if (crl->is_dirty) {
        start(crl, 0);
    }
    crl->is_dirty = 0;
}

static void put(struct crl *crl, const char *pem, const char *digest)
{
    json_t *value = json_pack("{s:s, s:s}", "pem", pem, "of", digest);

    crl->is_writing = 1;
    deployment_put_private(crl->deployment, KEY, value, on_written, crl);
    json_decref(value);
}

static void make(struct crl *crl)
{
    _cleanup_free_ struct pki_revoked *revoked = NULL;
    size_t len = crl_revoked(crl->deployment, &revoked);
    const json_t *present = tree_value(deployment_tree(crl->deployment), KEY);
    char digest[SHA256_HEX_SIZE];
    _cleanup_free_ char *pem = NULL;
    struct error error = {0};

    digest_of(crl, revoked, len, digest);
    if (strcmp(json_get_string(present, "of", ""), digest) == 0) {
        return;
    }
    if (pki_crl(crl->pki, revoked, len, &pem, &error) < 0) {
        log_error("the revocation list can't be made", "error", error.detail, NULL);
        start(crl, RETRY_MSEC);
        return;
    }
    if (strlen(pem) > PEM_MAX) {
        log_error("too many certificates are revoked: the list stays as it was", NULL);
        return;
    }
    put(crl, pem, digest);
}

static void on_timer(uv_timer_t *timer)
{
    struct crl *crl = timer->data;

    if (crl->is_writing) {
        crl->is_dirty = 1;
        return;
    }
    int64_t begun = clock_monotonic_usec();
    make(crl);
    uint64_t rest = (uint64_t)(clock_monotonic_usec() - begun) * REST_FACTOR / 1000;
    crl->rest_until = uv_now(timer->loop) + (rest < REST_MAX_MSEC ? rest : REST_MAX_MSEC);
}

/* --- life --- */

static void on_key_changed(void *arg, const char *key, int64_t revision, const json_t *value)
{
    if (strncmp(key, REVOKED_PREFIX, strlen(REVOKED_PREFIX)) == 0) {
        crl_touch(arg);
    }
}

static void on_sweep(uv_timer_t *timer)
{
    struct crl *crl = timer->data;

    revoked_sweep(crl->deployment, NULL, NULL);
    crl_touch(crl); /* a generation may have run out, too */
}

struct crl *crl_new(uv_loop_t *loop, struct deployment *deployment, struct pki *pki)
{
    struct crl *crl = xnew(struct crl);

    *crl = (struct crl){
        .deployment = deployment,
        .pki = pki,
        .listener = {.key_changed = on_key_changed, .arg = crl},
        .handles = 2,
    };
    uv_timer_init(loop, &crl->timer);
    uv_timer_init(loop, &crl->sweep);
    crl->timer.data = crl->sweep.data = crl;
    uv_timer_start(&crl->sweep, on_sweep, 0, HOUR_MSEC);
    deployment_listen(deployment, &crl->listener);
    return crl;
}

static void on_closed(uv_handle_t *handle)
{
    struct crl *crl = handle->data;

    crl->handles--;
    maybe_free(crl);
}

void crl_free(struct crl *crl)
{
    if (!crl) {
        return;
    }
    crl->is_closing = 1;
    deployment_unlisten(crl->deployment, &crl->listener);
    uv_close((uv_handle_t *)&crl->timer, on_closed);
    uv_close((uv_handle_t *)&crl->sweep, on_closed);
}
