/* api-lb.c - what load-balanced services have beside an object: the key and certificate of their
 * front ports.
 *
 * A key comes with a write, or is made here; it is stored sealed (pki.h) and leaves to the nodes
 * of the front ports alone. In the object's "sealed": key; certificate, if the authority made it;
 * expires. */
#include <stdio.h>
#include <string.h>

#include "lib/clock.h"
#include "server/api-internal.h"
#include "services/lb/lb-kinds.h"

enum {
    NAMES_MAX = 33, /* as in the schema, and NULL */
};

static void wipe(char *text)
{
    if (text) {
        mem_wipe(text, strlen(text));
    }
    free(text);
}

static void seal_key(struct api *api, json_t *sealed, const char *key, int64_t expires_usec)
{
    _cleanup_free_ char *text = pki_seal(api->pki, key, strlen(key));
    char time[CLOCK_TEXT_SIZE];

    json_object_set_new(sealed, "key", json_string(text));
    json_object_set_new(sealed, "expires", json_string(clock_format(expires_usec, time)));
}

/* --- from the authority --- */

/* A new reference, JSON's null for none: the schema makes an empty list of that. */
static json_t *names_of(const json_t *object)
{
    json_t *names = json_object_get(object, "names");

    return json_array_size(names) > 0 ? json_deep_copy(names) : json_null();
}

static int make_certificate(struct api *api, const char *id, const json_t *tls, json_t *sealed,
                            struct error *error)
{
    const json_t *given = json_object_get(tls, "names");
    const char *names[NAMES_MAX] = {id};
    _cleanup_free_ char *chain = NULL;
    char *key = NULL;
    int64_t expires_usec;
    json_t *name;
    size_t i;

    json_array_foreach ((json_t *)given, i, name) {
        if (!json_is_string(name) || i == NAMES_MAX - 1) {
            return 0; /* the schema refuses it */
        }
        names[i] = json_string_value(name);
    }
    int rc = pki_make_service(api->pki, id, names, &key, &chain, &expires_usec, error);
    if (rc == 0) {
        seal_key(api, sealed, key, expires_usec);
        json_object_set_new(sealed, "certificate", json_string(chain));
        json_object_set_new(sealed, "names", names_of(tls));
    } else {
        error_prefix(error, "/spec/tls");
    }
    wipe(key);
    return rc;
}

static int wants_certificate(const struct client_change *change, const json_t *tls,
                             const json_t *sealed)
{
    json_t *names = names_of(tls), *had = names_of(sealed);
    int are_same = json_equal(names, had);

    json_decref(names);
    json_decref(had);
    return change->renews || !json_object_get(sealed, "certificate") || !are_same;
}

/* --- brought --- */

/* A certificate without a key goes with the key that is there: how one is renewed. */
static int take_certificate(struct api *api, const char *certificate, const char *key,
                            json_t *sealed, struct error *error)
{
    const char *kept = json_get_string(sealed, "key", NULL);
    char *plain = NULL;
    int64_t expires_usec;
    size_t size;

    if (!key && (!kept || json_object_get(sealed, "certificate"))) {
        return error_set(error, 400, "/spec/tls/key", "\"key\" is required with the certificate");
    }
    if (!key) {
        int rc = pki_unseal(api->pki, kept, &plain, &size, error);
        if (rc < 0) {
            return rc;
        }
    }
    int rc = pki_check_pair(certificate, key ? key : plain, &expires_usec, error);
    if (rc == 0) {
        seal_key(api, sealed, key ? key : plain, expires_usec);
        json_object_del(sealed, "certificate");
        json_object_del(sealed, "names");
    } else {
        error_prefix(error, "/spec/tls");
    }
    wipe(plain);
    return rc;
}

/* --- a write --- */

/* A copy of the key, which is no member of what is stored. */
static char *take_key(json_t *spec)
{
    json_t *tls = json_object_get(spec, "tls");
    const char *key = json_get_string(tls, "key", NULL);
    char *copy = key ? xstrdup(key) : NULL;

    if (copy) {
        json_object_del(tls, "key");
    }
    return copy;
}

/* What is sealed after the write; `sealed` is a copy of what was. */
static int change_sealed(struct api *api, const struct client_change *change, const json_t *before,
                         const json_t *tls, const char *key, json_t *sealed, struct error *error)
{
    const char *certificate = json_get_string(tls, "certificate", NULL);
    const char *had = json_get_string(json_object_get(before, "tls"), "certificate", "");

    if (certificate && !json_get_bool(tls, "fromCa", 0)) {
        return !key && strcmp(certificate, had) == 0
                   ? 0
                   : take_certificate(api, certificate, key, sealed, error);
    }
    if (key) {
        return error_set(error, 400, "/spec/tls/key", "\"key\" needs its certificate");
    }
    if (certificate || !json_get_bool(tls, "fromCa", 0)) {
        return json_object_clear(sealed); /* both is refused; no TLS needs nothing */
    }
    return wants_certificate(change, tls, sealed)
               ? make_certificate(api, change->id, tls, sealed, error)
               : 0;
}

int lb_service_prepare(struct api *api, struct client_change *change, struct error *error)
{
    _cleanup_free_ char *path =
        xasprintf("object/%s/%s", LB_SERVICES.name, change->id ? change->id : "");
    const struct tree_entry *entry = tree_get(deployment_tree(api->deployment), path);
    const json_t *before = entry ? entry->value : NULL, *had = json_object_get(before, "sealed");
    char *key = take_key(change->spec);
    int rc = 0;

    if (change->id && (change->verb == WRITE_CREATE) == (entry == NULL)) {
        json_t *after = change->verb == WRITE_PATCH
                            ? json_merge_patch(json_object_get(before, "spec"), change->spec)
                            : json_incref(change->spec);
        json_t *sealed = had ? json_deep_copy(had) : json_object();
        const json_t *tls = json_object_get(after, "tls");
        rc = change_sealed(api, change, json_object_get(before, "spec"), tls, key, sealed, error);
        if (rc == 0 && !json_equal(sealed, had ? (json_t *)had : json_null()) &&
            (had || json_object_size(sealed) > 0)) {
            change->sealed = json_incref(sealed);
            change->if_match = entry ? entry->revision : 0;
        }
        json_decref(sealed);
        json_decref(after);
    } /* else the write will be refused, with the reason */
    wipe(key);
    return rc;
}

const struct api_route LB_ROUTES[] = {
    {.method = "POST",
     .path = "/api/v2/lb/services/{id}/renew",
     .role = ROLE_OPERATOR,
     .handler = object_renew,
     .kind = &LB_SERVICES,
     .doc = {.summary = "Make a new key and certificate",
             .description = "For a service whose certificate the deployment's authority made "
                            "(tls.fromCa); others stay as they are."}},
    {.method = NULL},
};
