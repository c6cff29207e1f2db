/* generation.c - the generations of the intermediates, on disk:
 *
 *     agent-ca.pem    agent-ca.key      the first; with its key it lives
 *     agent-ca-2.pem  agent-ca-2.key    the second; the one with the highest number signs
 *     agent-ca.pem    agent-ca.crl      the first when it is retired: no key, but a last CRL
 *
 * Each step is one atomic change. A rollover writes the new key, then its certificate: before the
 * second the key alone means nothing and is overwritten by the next try. Retiring writes the CRL,
 * then deletes the key: before the second the generation has its key and so lives. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "lib/fault.h"
#include "lib/hash.h"
#include "lib/mem.h"
#include "pki/internal.h"

enum {
    INTERMEDIATE_DAYS = 10 * 365,
    NUMBER_MAX = 9999,
};

static const int64_t DAY_USEC = INT64_C(86400) * 1000000;

static const struct {
    const char *name;
    const char *common_name;
    int days; /* of what it signs */
} ROLES[PKI_ROLES] = {
    [PKI_SERVER] = {"server", "CNSMO servers", PKI_SERVER_DAYS},
    [PKI_AGENT] = {"agent", "CNSMO agents", PKI_NODE_DAYS},
    [PKI_CLIENT] = {"client", "CNSMO clients", PKI_CLIENT_DAYS},
};

const char *pki_role_name(enum pki_role role)
{
    return ROLES[role].name;
}

int pki_role_parse(const char *name, enum pki_role *ret_role)
{
    for (int i = 0; i < PKI_ROLES; i++) {
        if (strcmp(name, ROLES[i].name) == 0) {
            *ret_role = (enum pki_role)i;
            return 0;
        }
    }
    return -ENOENT;
}

static char *file_name(enum pki_role role, unsigned number)
{
    return number == 1 ? xasprintf("%s-ca", ROLES[role].name)
                       : xasprintf("%s-ca-%u", ROLES[role].name, number);
}

/* --- making --- */

int generation_make(const char *folder, enum pki_role role, unsigned number,
                    const struct x509_pair *root, struct error *error)
{
    /* Names that differ, so that whoever looks for an issuer or its CRL by name finds one. */
    _cleanup_free_ char *common_name = number == 1
                                           ? xstrdup(ROLES[role].common_name)
                                           : xasprintf("%s %u", ROLES[role].common_name, number);
    _cleanup_free_ char *name = file_name(role, number);
    const struct x509_request request = {
        .common_name = common_name,
        .days = INTERMEDIATE_DAYS,
        .is_ca = 1,
    };
    struct x509_pair pair = {0};
    int rc = x509_pair_new(&request, root, &pair, error);

    if (rc < 0) {
        return rc;
    }
    _cleanup_free_ char *pem = x509_cert_pem(pair.cert);
    rc = pair_write(folder, name, &pair, pem, error);
    x509_pair_done(&pair);
    return rc;
}

/* --- reading --- */

/* The number in "agent-ca-2.pem"; 0 if the name is another. */
static unsigned number_of(const char *file, enum pki_role role)
{
    const char *hyphen = strrchr(file, '-');
    unsigned number = 1;

    if (hyphen) {
        sscanf(hyphen, "-%4u", &number); /* "-ca.pem" leaves the 1 */
    }
    _cleanup_free_ char *name = file_name(role, number);
    _cleanup_free_ char *expected = xasprintf("%s.pem", name);
    return strcmp(file, expected) == 0 ? number : 0;
}

static void describe(struct generation *generation)
{
    uint8_t id[SHA256_SIZE];
    size_t size = sizeof id;
    gnutls_x509_crt_t cert = generation->pair.cert;

    if (gnutls_x509_crt_get_key_id(cert, GNUTLS_KEYID_USE_SHA256, id, &size) < 0) {
        abort(); /* it was read before */
    }
    hex_encode(id, sizeof id, generation->public.id);
    generation->public.created_usec =
        ((int64_t)gnutls_x509_crt_get_activation_time(cert) + PKI_BACKDATE_HOURS * 3600) * 1000000;
    generation->public.expires_usec = (int64_t)gnutls_x509_crt_get_expiration_time(cert) * 1000000;
}

/* What depends on the others. */
static void describe_all(struct generations *all, int days)
{
    for (size_t i = 0; i < all->len; i++) {
        struct pki_generation *public = &all->items[i].public;
        if (i + 1 == all->len) {
            public->state = PKI_ACTIVE;
            public->spent_usec = INT64_MAX;
        } else {
            public->state = all->items[i].pair.key ? PKI_RETIRING : PKI_RETIRED;
            public->spent_usec = all->items[i + 1].public.created_usec + days * DAY_USEC;
        }
    }
}

static int load_one(const struct pki *pki, enum pki_role role, struct generation *generation,
                    struct error *error)
{
    _cleanup_free_ char *name = file_name(role, generation->number);
    _cleanup_free_ char *key = xasprintf("%s/%s.key", pki->folder, name);
    _cleanup_free_ char *crl = xasprintf("%s/%s.crl", pki->folder, name);
    unsigned status = 0;
    int is_retired = access(key, F_OK) < 0 && access(crl, F_OK) == 0;
    int rc = is_retired ? pair_read_certificate(pki->folder, name, &generation->pair, error)
                        : pair_read(pki->folder, name, &generation->pair, error);

    rc = rc == 0 && is_retired
             ? pair_read_file(pki->folder, name, "crl", &generation->last_crl, error)
             : rc;
    if (rc < 0) {
        return rc;
    }
    if (is_retired && crl_serials(generation->last_crl, &generation->last_revoked) < 0) {
        return error_set(error, 500, NULL, "%s isn't a revocation list", crl);
    }
    rc = gnutls_x509_crt_verify(generation->pair.cert, &pki->root.cert, 1,
                                GNUTLS_VERIFY_DISABLE_TIME_CHECKS, &status);
    if (rc < 0 || status != 0) {
        return error_set(error, 500, NULL, "%s/%s.pem isn't signed by %s/root.pem", pki->folder,
                         name, pki->folder);
    }
    describe(generation);
    return 0;
}

static int by_number(const void *a, const void *b)
{
    unsigned left = ((const struct generation *)a)->number;
    unsigned right = ((const struct generation *)b)->number;

    return (left > right) - (left < right);
}

static void find(const struct pki *pki, enum pki_role role, struct generations *found)
{
    DIR *folder = opendir(pki->folder);

    for (struct dirent *e; folder && (e = readdir(folder));) {
        unsigned number = number_of(e->d_name, role);
        if (number > 0) {
            found->items = xrealloc(found->items, (found->len + 1) * sizeof *found->items);
            found->items[found->len++] = (struct generation){.number = number};
        }
    }
    if (folder) {
        closedir(folder);
    }
    if (found->len == 0) { /* reading the first one tells what is wrong */
        found->items = xnew(struct generation);
        found->items[found->len++].number = 1;
    }
    qsort(found->items, found->len, sizeof *found->items, by_number);
}

int generations_load(struct pki *pki, enum pki_role role, struct error *error)
{
    struct generations found = {0};
    int rc = 0;

    find(pki, role, &found);
    for (size_t i = 0; rc == 0 && i < found.len; i++) {
        rc = load_one(pki, role, &found.items[i], error);
    }
    if (rc == 0 && !found.items[found.len - 1].pair.key) {
        rc = error_set(error, 500, NULL, "%s: the newest authority for %ss has no key",
                       pki->folder, ROLES[role].name);
    }
    if (rc < 0) {
        generations_done(&found);
        return rc;
    }
    describe_all(&found, ROLES[role].days);
    generations_done(&pki->roles[role]);
    pki->roles[role] = found;
    return 0;
}

void generations_done(struct generations *generations)
{
    for (size_t i = 0; i < generations->len; i++) {
        x509_pair_done(&generations->items[i].pair);
        free(generations->items[i].last_crl);
        omap_clear(&generations->items[i].last_revoked, NULL);
    }
    free(generations->items);
    *generations = (struct generations){0};
}

/* --- asking --- */

const struct generation *generation_active(const struct pki *pki, enum pki_role role)
{
    return &pki->roles[role].items[pki->roles[role].len - 1];
}

struct generation *generation_retiring(struct pki *pki, enum pki_role role)
{
    const struct generations *all = &pki->roles[role];

    for (size_t i = 0; i < all->len; i++) {
        if (all->items[i].public.state == PKI_RETIRING) {
            return &all->items[i];
        }
    }
    return NULL;
}

const char *pki_authority_id(const struct pki *pki, enum pki_role role)
{
    return generation_active(pki, role)->public.id;
}

const struct pki_generation *pki_generation_at(const struct pki *pki, enum pki_role role, size_t i)
{
    const struct generations *all = &pki->roles[role];

    return i < all->len ? &all->items[all->len - 1 - i].public : NULL;
}

/* --- changing --- */

int pki_rollover(struct pki *pki, enum pki_role role, struct error *error)
{
    unsigned number = generation_active(pki, role)->number + 1;

    if (generation_retiring(pki, role)) {
        return error_set(error, 409, NULL,
                         "a rollover of \"%s\" is under way: certificates of the older one are "
                         "still in use",
                         ROLES[role].name);
    }
    if (number > NUMBER_MAX) {
        return error_set(error, 409, NULL, "\"%s\" was rolled over too often", ROLES[role].name);
    }
    int rc = generation_make(pki->folder, role, number, &pki->root, error);
    rc = rc < 0 ? rc : generations_load(pki, role, error);
    if (rc == 0) {
        authority_describe(pki);
    }
    return rc;
}

static int destroy_key(const struct pki *pki, const char *name, struct error *error)
{
    _cleanup_free_ char *path = xasprintf("%s/%s.key", pki->folder, name);
    int rc = fault_point();

    if (rc == 0 && unlink(path) < 0) {
        rc = -errno;
    }
    if (rc == 0) {
        _cleanup_close_ int fd = open(pki->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        rc = fd < 0 || fsync(fd) < 0 ? -errno : 0;
    }
    return rc == 0 ? 0
                   : error_set(error, error_status(rc), NULL, "cannot delete %s: %s", path,
                               strerror(-rc));
}

int pki_retire(struct pki *pki, enum pki_role role, const struct pki_revoked *revoked, size_t len,
               struct error *error)
{
    struct generation *generation = generation_retiring(pki, role);
    char *crl = NULL;

    if (!generation) {
        return 0;
    }
    _cleanup_free_ char *name = file_name(role, generation->number);
    int rc = crl_of_generation(generation, revoked, len, &crl, error);
    rc = rc < 0 ? rc : pair_write_file(pki->folder, name, "crl", crl, 0644, error);
    rc = rc < 0 ? rc : destroy_key(pki, name, error);
    free(crl);
    rc = rc < 0 ? rc : generations_load(pki, role, error);
    if (rc == 0) {
        authority_describe(pki);
    }
    return rc;
}
