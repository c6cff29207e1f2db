/* api-clients.c - what VPN clients have beside an object: keys and certificates, made when the
 * object is, and the files that they need.
 *
 * A private key that is made here is stored sealed (pki.h), and leaves only in the files, to an
 * operator, with an event. In the object's "sealed": serial, serials (core/revoke.h), certificate,
 * expires; key, unless the client brought a request; wireguardKey, unless it brought a public key.
 */
#include <stdio.h>
#include <string.h>

#include "core/revoke.h"
#include "lib/clock.h"
#include "lib/qr.h"
#include "server/api-internal.h"
#include "services/vpn/vpn-client-files.h"
#include "services/vpn/vpn-clients.h"

static void wipe(char *text)
{
    if (text) {
        mem_wipe(text, strlen(text));
    }
    free(text);
}

/* --- keys and certificates --- */

static void seal_into(struct api *api, json_t *sealed, const char *name, const char *plain)
{
    _cleanup_free_ char *text = pki_seal(api->pki, plain, strlen(plain));

    json_object_set_new(sealed, name, json_string(text));
}

/* What the client had is noted no more, so it is revoked with this write. */
static void note_certificate(struct api *api, json_t *sealed, const char *chain,
                             const char *serial, int64_t expires_usec)
{
    const struct certificate certificate = {.serial = serial,
                                            .authority = pki_authority_id(api->pki, PKI_CLIENT),
                                            .expires_usec = expires_usec};
    char text[CLOCK_TEXT_SIZE];

    json_object_set_new(sealed, "certificate", json_string(chain));
    json_object_set_new(sealed, "serial", json_string(serial));
    json_object_set_new(sealed, "expires", json_string(clock_format(expires_usec, text)));
    json_object_set_new(sealed, "serials", certificate_noted(NULL, &certificate));
}

static int make_certificate(struct api *api, const char *id, const char *csr, json_t *sealed,
                            struct error *error)
{
    _cleanup_free_ char *chain = NULL, *serial = NULL;
    char *key = NULL;
    int64_t expires_usec;
    int rc = csr ? pki_sign_client(api->pki, csr, id, &chain, &serial, &expires_usec, error)
                 : pki_make_client(api->pki, id, &key, &chain, &serial, &expires_usec, error);

    if (rc < 0) {
        if (csr && error->status == 400) {
            snprintf(error->pointer, sizeof error->pointer, "/spec/csr");
        }
        return rc;
    }
    json_object_del(sealed, "key");
    if (key) {
        seal_into(api, sealed, "key", key);
        wipe(key);
    }
    note_certificate(api, sealed, chain, serial, expires_usec);
    return 0;
}

static int make_wireguard_key(struct api *api, json_t *spec, json_t *sealed, struct error *error)
{
    _cleanup_free_ char *public = NULL;
    char *private = NULL;
    int rc = pki_wireguard_pair(&private, &public, error);

    if (rc == 0) {
        seal_into(api, sealed, "wireguardKey", private);
        json_object_set_new(spec, "publicKey", json_string(public));
        wipe(private);
    }
    return rc;
}

static int is_same(const json_t *a, const json_t *b, const char *name)
{
    const json_t *x = json_object_get(a, name), *y = json_object_get(b, name);

    return x == y || (x && y && json_equal(x, y));
}

/* Which of both the write needs anew. */
struct wanted {
    int certificate;
    int wireguard;         /* a pair of ours */
    int foreign_wireguard; /* a public key that the client brought: ours goes */
};

static struct wanted what_is_wanted(const struct client_change *change, const json_t *before,
                                    const json_t *sealed, const json_t *after)
{
    const json_t *spec = json_object_get(before, "spec");
    int is_new = change->verb == WRITE_CREATE;
    int has_public = json_object_get(after, "publicKey") != NULL;
    /* A whole object without a public key keeps the one it has, as it does its address. */
    int keeps_public = change->verb == WRITE_REPLACE && !json_object_get(after, "publicKey") &&
                       json_object_get(spec, "publicKey");
    int changes_public = !keeps_public && !is_same(spec, after, "publicKey");

    return (struct wanted){
        .certificate = is_new || change->renews || !is_same(spec, after, "csr") ||
                       !json_object_get(sealed, "certificate"),
        .wireguard = ((is_new || changes_public) && !has_public) ||
                     (change->renews && json_object_get(sealed, "wireguardKey")) ||
                     (change->renews && !json_object_get(spec, "publicKey")),
        .foreign_wireguard = (is_new || changes_public) && has_public,
    };
}

/* Makes what is wanted, into `sealed` and the spec of the change. */
static int make_wanted(struct api *api, struct client_change *change, struct wanted wanted,
                       const json_t *csr, json_t *sealed, struct error *error)
{
    int rc = 0;

    if (wanted.certificate && (!csr || json_is_string(csr))) { /* else the schema refuses it */
        rc = make_certificate(api, change->id, json_string_value(csr), sealed, error);
    }
    if (wanted.foreign_wireguard) {
        json_object_del(sealed, "wireguardKey");
    } else if (wanted.wireguard && rc == 0) {
        rc = make_wireguard_key(api, change->spec, sealed, error);
    }
    return rc;
}

int client_prepare(struct api *api, struct client_change *change, struct error *error)
{
    _cleanup_free_ char *key = xasprintf("object/vpn/clients/%s", change->id ? change->id : "");
    const struct tree_entry *entry = tree_get(deployment_tree(api->deployment), key);
    const json_t *before = entry ? entry->value : NULL, *had = json_object_get(before, "sealed");

    if (!change->id || (change->verb == WRITE_CREATE) == (entry != NULL)) {
        return 0; /* the write will be refused, with the reason */
    }
    int rc = entry ? 0 : VPN_CLIENTS.check_id(change->id, error);
    if (rc < 0) {
        return rc;
    }
    json_t *after = change->verb == WRITE_PATCH
                        ? json_merge_patch(json_object_get(before, "spec"), change->spec)
                        : json_incref(change->spec);
    json_t *sealed = had ? json_deep_copy(had) : json_object();
    struct wanted wanted = what_is_wanted(change, before, had, after);
    rc = make_wanted(api, change, wanted, json_object_get(after, "csr"), sealed, error);
    json_decref(after);
    if (rc == 0 && (wanted.certificate || wanted.wireguard || wanted.foreign_wireguard)) {
        change->sealed = sealed;
        change->if_match = entry ? entry->revision : 0;
    } else {
        json_decref(sealed);
    }
    return rc;
}

/* --- files --- */

enum {
    NAME_SIZE = 80,
};

static const struct file {
    const char *name;   /* in the path */
    const char *format; /* of the name that it is saved under, with the id */
    const char *type;
    int is_secret;
} FILES[] = {
    {"key", "%s.key", "text/plain; charset=utf-8", 1},
    {"cert", "%s.crt", "text/plain; charset=utf-8", 0},
    {"config", "%s.conf", "text/plain; charset=utf-8", 0},
    {"ca", "ca.crt", "text/plain; charset=utf-8", 0},
    {"ovpn", "%s.ovpn", "text/plain; charset=utf-8", 1},
    {"wireguard", "wg-%.12s.conf", "text/plain; charset=utf-8", 1}, /* it names the interface */
    {"qr", "%s.svg", "image/svg+xml", 1},
};

static const struct file *file_named(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(FILES); i++) {
        if (strcmp(FILES[i].name, name) == 0) {
            return &FILES[i];
        }
    }
    return NULL;
}

/* What is sealed, in clear; NULL: the client has kept it. */
static int unseal(struct api *api, const json_t *sealed, const char *name, char **ret_plain,
                  struct error *error)
{
    const char *text = json_get_string(sealed, name, NULL);
    size_t size;

    *ret_plain = NULL;
    return text ? pki_unseal(api->pki, text, ret_plain, &size, error) : 0;
}

static int make_qr(struct view *view, const struct vpn_client_parts *parts, struct buf *out,
                   struct error *error)
{
    struct buf text = BUF_INIT(VPN_CLIENT_FILE_MAX);
    int rc = vpn_client_wireguard(view, parts, &text, error);

    if (rc == 0 && !parts->wireguard_key) {
        rc = error_set(error, 409, NULL,
                       "the private key isn't here, so a QR code of the configuration would be "
                       "of no use; fetch the configuration and put the key into it");
    }
    if (rc == 0 && qr_svg(text.data, out) < 0) {
        rc = error_set(error, 500, NULL, "the configuration doesn't fit into a QR code");
    }
    if (text.data) {
        mem_wipe(text.data, text.size);
    }
    buf_done(&text);
    return rc;
}

static int make_file(struct view *view, const struct vpn_client_parts *parts, const char *file,
                     struct buf *out, struct error *error)
{
    if (strcmp(file, "ca") == 0) {
        return buf_printf(out, "%s", parts->root);
    }
    if (strcmp(file, "cert") == 0) {
        return buf_printf(out, "%s", parts->certificate);
    }
    if (strcmp(file, "key") == 0) {
        return parts->key ? buf_printf(out, "%s", parts->key)
                          : error_set(error, 409, NULL,
                                      "the private key isn't here: it stayed where the "
                                      "certificate request was made");
    }
    if (strcmp(file, "wireguard") == 0) {
        return vpn_client_wireguard(view, parts, out, error);
    }
    return strcmp(file, "qr") == 0
               ? make_qr(view, parts, out, error)
               : vpn_client_openvpn(view, parts, strcmp(file, "ovpn") == 0, out, error);
}

static void tell_read(struct api_call *call, const char *id, const char *file)
{
    struct actor actor;

    call_actor(call, &actor);
    _cleanup_free_ char *subject = xasprintf("vpn/clients/%s", id);
    _cleanup_free_ char *message = xasprintf("%s read the %s of %s", actor.name, file, subject);
    deployment_event(call->api->deployment, &actor, "secret-read", subject, message);
}

/* Makes the file with what it needs of what is sealed. */
static int open_file(struct api *api, const char *id, const json_t *object, const char *file,
                     struct buf *out, struct error *error)
{
    const json_t *sealed = json_object_get(object, "sealed");
    struct view view = {.tree = deployment_tree(api->deployment)};
    struct vpn_client_parts parts = {.id = id,
                                     .spec = json_object_get(object, "spec"),
                                     .root = pki_root_pem(api->pki),
                                     .certificate = json_get_string(sealed, "certificate", NULL)};
    char *private = NULL, *wireguard = NULL;
    int rc = 0;

    if (!parts.certificate) {
        return error_set(error, 409, NULL,
                         "it has no certificate; make one: cnsmo vpn client renew %s", id);
    }
    if (file_named(file)->is_secret) {
        rc = unseal(api, sealed, "key", &private, error);
        rc = rc < 0 ? rc : unseal(api, sealed, "wireguardKey", &wireguard, error);
    }
    if (rc == 0) {
        parts.key = private;
        parts.wireguard_key = wireguard;
        rc = make_file(&view, &parts, file, out, error);
    }
    wipe(private);
    wipe(wireguard);
    return rc;
}

int client_read_file(struct api_call *call, const char *id, const char *file, struct buf *out,
                     struct error *error)
{
    _cleanup_free_ char *key = xasprintf("object/vpn/clients/%s", id);
    const json_t *object = tree_value(deployment_tree(call->api->deployment), key);

    if (!object) {
        return error_set(error, 404, NULL, "there is no vpn client \"%.100s\"", id);
    }
    int rc = open_file(call->api, id, object, file, out, error);
    if (rc == 0 && file_named(file)->is_secret) {
        tell_read(call, id, file);
    }
    return rc;
}

/* Which file is the path's last segment. */
static void client_get_file(struct api_call *call)
{
    const char *id = http_param(call->request, "id");
    const struct file *file = file_named(strrchr(call->route->path, '/') + 1);
    struct buf out = BUF_INIT(QR_DRAWING_MAX);
    char name[NAME_SIZE];
    struct error error;

    if (client_read_file(call, id, file->name, &out, &error) < 0) {
        call_fail(call, &error);
        buf_done(&out);
        return;
    }
    snprintf(name, sizeof name, file->format, id);
    _cleanup_free_ char *disposition = xasprintf(
        "%s; filename=\"%s\"", strcmp(file->name, "qr") == 0 ? "inline" : "attachment", name);
    http_set_header(call->request, "Content-Disposition", disposition);
    http_reply(call->request, 200, file->type, out.data, out.size);
    mem_wipe(out.data, out.size);
    buf_done(&out);
    call_done(call, 200);
}

/* --- routes --- */

#define FILE_ROUTE(file_, role_, type_, summary_, description_)                                   \
    {                                                                                             \
        .method = "GET", .path = "/api/v2/vpn/clients/{id}/" file_, .role = (role_),              \
        .handler = client_get_file, .makes_conflicts = 1, .doc = {                                \
            .tag = "vpn/clients",                                                                 \
            .summary = (summary_),                                                                \
            .description = (description_),                                                        \
            .response = (type_)                                                                   \
        }                                                                                         \
    }

const struct api_route CLIENT_ROUTES[] = {
    {.method = "POST",
     .path = "/api/v2/vpn/clients/{id}/renew",
     .role = ROLE_OPERATOR,
     .handler = object_renew,
     .kind = &VPN_CLIENTS,
     .doc = {.summary = "Make new keys and a new certificate",
             .description = "The old certificate is revoked at once and the old WireGuard key "
                            "forgotten: the client is cut off until it has the new files. What "
                            "the client brought itself (csr, publicKey) stays; its request is "
                            "signed again."}},
    FILE_ROUTE("key", ROLE_OPERATOR, "text/plain", "Its private key (PEM)",
               "409 if the client has kept it. Reading it is told as an event."),
    FILE_ROUTE("cert", ROLE_VIEWER, "text/plain", "Its certificate with the intermediate (PEM)",
               NULL),
    FILE_ROUTE("config", ROLE_VIEWER, "text/plain", "Its OpenVPN configuration",
               "It names the other files: ca.crt, <id>.crt and <id>.key."),
    FILE_ROUTE("ca", ROLE_VIEWER, "text/plain", "The authority's certificate (PEM)", NULL),
    FILE_ROUTE("ovpn", ROLE_OPERATOR, "text/plain", "OpenVPN: everything in one file",
               "Holds the private key, unless the client has kept it: then it names <id>.key. "
               "Reading it is told as an event."),
    FILE_ROUTE(
        "wireguard", ROLE_OPERATOR, "text/plain", "Its WireGuard configuration",
        "For wg-quick and the apps. Holds the private key, unless the client has kept it: "
        "then a comment stands in its place. 409 unless WireGuard is the fabric. Reading it "
        "is told as an event."),
    FILE_ROUTE("qr", ROLE_OPERATOR, "image/svg+xml", "Its WireGuard configuration as a QR code",
               "For the apps. 409 if the client has kept its private key. Reading it is told as "
               "an event."),
    {.method = NULL},
};
