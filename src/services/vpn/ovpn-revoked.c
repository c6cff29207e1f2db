/* The daemon looks at the list when it is shown a certificate, which for a session that stands is
 * again only an hour later. So we cut what a new list revokes ourselves: openvpn tells each
 * session's certificate once, when the session comes up. */
#include <gnutls/x509.h>
#include <stdio.h>
#include <string.h>

#include "lib/hash.h"
#include "lib/json.h"
#include "lib/mem.h"
#include "services/vpn/ovpn-internal.h"

enum {
    ID_TEXT_SIZE = 24,
    SERIALS_SIZE_MAX = 1 << 20,
};

/* --- what a list holds --- */

static void add_serials(struct omap *revoked, gnutls_x509_crl_t crl)
{
    gnutls_x509_crl_iter_t next = NULL;
    uint8_t serial[(OVPN_SERIAL_SIZE - 1) / 2];
    char hex[OVPN_SERIAL_SIZE];
    size_t size = sizeof serial;
    time_t time;

    while (gnutls_x509_crl_iter_crt_serial(crl, &next, serial, &size, &time) >= 0) {
        size_t zeros = 0;
        while (zeros < size && serial[zeros] == 0) {
            zeros++;
        }
        hex_encode(serial + zeros, size - zeros, hex);
        omap_put(revoked, hex, revoked);
        size = sizeof serial;
    }
    gnutls_x509_crl_iter_deinit(next);
}

static void read_list(struct omap *revoked, const char *pem)
{
    gnutls_datum_t datum = {(unsigned char *)pem, (unsigned)strlen(pem)};
    gnutls_x509_crl_t *crls;
    unsigned len = 0;

    /* A list that can't be read revokes nothing here; the daemon refuses everybody with it. */
    if (gnutls_x509_crl_list_import2(&crls, &len, &datum, GNUTLS_X509_FMT_PEM, 0) < 0) {
        return;
    }
    for (unsigned i = 0; i < len; i++) {
        add_serials(revoked, crls[i]);
        gnutls_x509_crl_deinit(crls[i]);
    }
    gnutls_free(crls);
}

void ovpn_revoked_take(struct ovpn *o, char *pem)
{
    int same = pem && o->crl && strcmp(pem, o->crl) == 0;

    free(o->crl);
    o->crl = pem;
    if (!same) {
        omap_clear(&o->revoked, NULL);
    }
    if (!same && pem) {
        read_list(&o->revoked, pem);
    }
}

void ovpn_revoked_done(struct ovpn *o)
{
    omap_clear(&o->revoked, NULL);
    omap_clear(&o->serials, free);
    free(o->crl);
}

/* --- sessions --- */

static const char *id_text(unsigned long id, char text[ID_TEXT_SIZE])
{
    snprintf(text, ID_TEXT_SIZE, "%lu", id);
    return text;
}

static const char *serial_of(const struct ovpn *o, const struct ovpn_session *session)
{
    char id[ID_TEXT_SIZE];

    return omap_get(&o->serials, id_text(session->id, id));
}

void ovpn_revoked_note(struct ovpn *o, unsigned long id, const char *serial)
{
    char text[ID_TEXT_SIZE];

    free(omap_put(&o->serials, id_text(id, text), xstrdup(serial)));
    o->serials_unsaved = 1;
}

int ovpn_revoked_has(const struct ovpn *o, const struct ovpn_session *session)
{
    const char *serial = serial_of(o, session);

    return serial && omap_get(&o->revoked, serial);
}

static void save(struct ovpn *o)
{
    json_t *all = json_object();

    omap_foreach (e, &o->serials) {
        json_object_set_new(all, e->key, json_string(e->value));
    }
    _cleanup_free_ char *text = json_canonical(all);
    json_decref(all);
    /* Tried again with the next answer; without it sessions must show their certificate again. */
    o->serials_unsaved = ovpn_write(o, o->serials_path, text, NULL) < 0;
}

void ovpn_revoked_load(struct ovpn *o)
{
    _cleanup_free_ char *text = NULL;
    json_t *all = NULL, *serial;
    const char *id;

    if (ovpn_read(o->serials_path, SERIALS_SIZE_MAX, &text, NULL) == 0 && text) {
        json_parse(text, strlen(text), &all, NULL);
    }
    json_object_foreach (json_is_object(all) ? all : NULL, id, serial) {
        if (json_is_string(serial)) {
            free(omap_put(&o->serials, id, xstrdup(json_string_value(serial))));
        }
    }
    json_decref(all);
}

void ovpn_revoked_sweep(struct ovpn *o)
{
    struct omap kept = {0};
    char id[ID_TEXT_SIZE];

    for (size_t i = 0; i < o->sessions_len; i++) {
        char *serial = omap_del(&o->serials, id_text(o->sessions[i].id, id));
        if (serial) {
            omap_put(&kept, id, serial);
        }
    }
    o->serials_unsaved |= o->serials.len > 0;
    omap_clear(&o->serials, free);
    o->serials = kept;
    if (o->serials_unsaved) {
        save(o);
    }
}

static void cut_revoked(struct ovpn *o)
{
    for (size_t i = 0; o->management && i < o->sessions_len; i++) {
        const struct ovpn_session *session = &o->sessions[i];
        if (ovpn_revoked_has(o, session)) {
            management_kill(o->management, session->name);
        } else if (!serial_of(o, session)) {
            management_restart(o->management, session->id);
        }
    }
}

/* --- the file --- */

int ovpn_crl_present(const struct ovpn *o)
{
    return o->crl != NULL;
}

int ovpn_crl_matches(const struct ovpn *o, const char *pem)
{
    return o->crl && strcmp(o->crl, pem) == 0;
}

int ovpn_crl_put(struct ovpn *o, const char *pem, struct error *error)
{
    /* Without any the daemon wouldn't start, and with half of one it would refuse everybody. */
    if (!strstr(pem, "-----BEGIN X509 CRL-----") || !strstr(pem, "-----END X509 CRL-----") ||
        strlen(pem) > OVPN_CRL_SIZE_MAX) {
        return error_set(error, 400, NULL, "the list of revoked certificates holds no CRL");
    }
    int rc = ovpn_write(o, o->crl_path, pem, error);
    if (rc == 0) {
        ovpn_revoked_take(o, xstrdup(pem));
        cut_revoked(o);
    }
    return rc;
}

int ovpn_crl_drop(struct ovpn *o, struct error *error)
{
    int rc = ovpn_unlink(o->crl_path, error);

    if (rc == 0) {
        ovpn_revoked_take(o, NULL);
    }
    return rc;
}
