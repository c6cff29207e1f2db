/* The authority's folder:
 *
 *     root.pem root.key                 signs the three below
 *     server-ca.pem server-ca.key
 *     agent-ca.pem  agent-ca.key
 *     client-ca.pem client-ca.key
 *     server.pem    server.key          the listener's, made again as needed
 *
 * It is made as <folder>.new and renamed, so a crash leaves either nothing or all of it. */
#include "pki/pki.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <gnutls/abstract.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/file.h"
#include "lib/hash.h"
#include "lib/mem.h"
#include "pki/csr.h"
#include "pki/internal.h"
#include "pki/x509.h"

enum {
    ROOT_DAYS = 20 * 365,
    INTERMEDIATE_DAYS = 10 * 365,
    NODE_NAME_MAX = 63,
};

static const struct {
    const char *file;
    const char *common_name;
} NAMES[AUTHORITIES] = {
    [ROOT] = {"root", "CNSMO root"},
    [SERVER] = {"server-ca", "CNSMO servers"},
    [AGENT] = {"agent-ca", "CNSMO agents"},
    [CLIENT] = {"client-ca", "CNSMO clients"},
};

/* --- making --- */

static int make_authorities(struct x509_pair *pairs, const char *folder, struct error *error)
{
    for (int i = 0; i < AUTHORITIES; i++) {
        const struct x509_request request = {
            .common_name = NAMES[i].common_name,
            .days = i == ROOT ? ROOT_DAYS : INTERMEDIATE_DAYS,
            .is_ca = 1,
            .path_len = i == ROOT ? 1 : 0,
        };
        struct x509_pair *pair = &pairs[i];
        int rc = x509_pair_new(&request, i == ROOT ? NULL : &pairs[ROOT], pair, error);
        if (rc < 0) {
            return rc;
        }
        _cleanup_free_ char *pem = x509_cert_pem(pair->cert);
        rc = pair_write(folder, NAMES[i].file, pair, pem, error);
        if (rc < 0) {
            return rc;
        }
    }
    return 0;
}

/* What a crash left of an earlier try: only files, and of ours since we name the folder. */
static void remove_folder(const char *path)
{
    DIR *folder = opendir(path);

    for (struct dirent *e; folder && (e = readdir(folder));) {
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0) {
            _cleanup_free_ char *file = xasprintf("%s/%s", path, e->d_name);
            unlink(file);
        }
    }
    if (folder) {
        closedir(folder);
    }
    rmdir(path);
}

static int sync_parent(const char *path)
{
    _cleanup_free_ char *parent = xasprintf("%s/..", path);
    _cleanup_close_ int fd = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    return fd < 0 || fsync(fd) < 0 ? -errno : 0;
}

static int create(const struct pki *pki, struct error *error)
{
    struct x509_pair made[AUTHORITIES] = {0};
    _cleanup_free_ char *temporary = xasprintf("%s.new", pki->folder);

    remove_folder(temporary);
    int rc = file_make_folder(temporary, 0700);
    if (rc < 0 || chmod(temporary, 0700) < 0) {
        rc = rc < 0 ? rc : -errno;
        return error_set(error, error_status(rc), NULL, "cannot make the folder %s: %s", temporary,
                         strerror(-rc));
    }
    rc = make_authorities(made, temporary, error);
    for (int i = 0; i < AUTHORITIES; i++) {
        x509_pair_done(&made[i]); /* load() reads what was really written */
    }
    if (rc == 0 && rename(temporary, pki->folder) < 0) {
        rc = error_set(error, 500, NULL, "cannot rename %s to %s: %s", temporary, pki->folder,
                       strerror(errno));
    }
    if (rc < 0) {
        remove_folder(temporary);
        return rc;
    }
    rc = sync_parent(pki->folder);
    return rc == 0 ? 0
                   : error_set(error, error_status(rc), NULL, "cannot sync the folder of %s: %s",
                               pki->folder, strerror(-rc));
}

/* 1: nothing there, 0: something, or a negative errno. */
static int is_empty(const char *path)
{
    DIR *folder = opendir(path);
    int empty = 1;

    if (!folder) {
        return errno == ENOENT ? 1 : -errno;
    }
    for (struct dirent *e; (e = readdir(folder));) {
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0) {
            empty = 0;
        }
    }
    closedir(folder);
    return empty;
}

/* --- opening --- */

static int load(struct pki *pki, struct error *error)
{
    for (int i = 0; i < AUTHORITIES; i++) {
        unsigned status = 0;
        struct x509_pair *pair = &pki->authorities[i];
        int rc = pair_read(pki->folder, NAMES[i].file, pair, error);
        if (rc < 0) {
            return rc;
        }
        rc = gnutls_x509_crt_verify(pair->cert, &pki->authorities[ROOT].cert, 1,
                                    GNUTLS_VERIFY_DISABLE_TIME_CHECKS, &status);
        if (rc < 0 || status != 0) {
            return error_set(error, 500, NULL, "%s/%s.pem isn't signed by %s/root.pem",
                             pki->folder, NAMES[i].file, pki->folder);
        }
    }
    return 0;
}

static void describe(struct pki *pki)
{
    _cleanup_free_ char *agent = x509_cert_pem(pki->authorities[AGENT].cert);
    uint8_t digest[SHA256_SIZE];
    size_t size = sizeof digest;
    char hex[SHA256_HEX_SIZE];

    pki->root_pem = x509_cert_pem(pki->authorities[ROOT].cert);
    pki->agent_chain_pem = xasprintf("%s%s", agent, pki->root_pem);
    if (gnutls_x509_crt_get_fingerprint(pki->authorities[ROOT].cert, GNUTLS_DIG_SHA256, digest,
                                        &size) < 0) {
        abort();
    }
    hex_encode(digest, sizeof digest, hex);
    pki->fingerprint = xasprintf("sha256:%s", hex);
}

int pki_open(const char *folder, struct pki **ret_pki, struct error *error)
{
    int empty = is_empty(folder);

    if (empty < 0) {
        return error_set(error, error_status(empty), NULL, "cannot read the folder %s: %s", folder,
                         strerror(-empty));
    }
    struct pki *pki = xnew(struct pki);
    pki->folder = xstrdup(folder);
    int rc = empty ? create(pki, error) : 0;
    if (rc == 0) {
        rc = load(pki, error);
    }
    if (rc < 0) {
        pki_free(pki);
        return rc;
    }
    describe(pki);
    *ret_pki = pki;
    return 0;
}

void pki_free(struct pki *pki)
{
    if (!pki) {
        return;
    }
    for (int i = 0; i < AUTHORITIES; i++) {
        x509_pair_done(&pki->authorities[i]);
    }
    free(pki->folder);
    free(pki->fingerprint);
    free(pki->root_pem);
    free(pki->agent_chain_pem);
    free(pki);
}

const char *pki_fingerprint(const struct pki *pki)
{
    return pki->fingerprint;
}

const char *pki_root_pem(const struct pki *pki)
{
    return pki->root_pem;
}

const char *pki_agent_chain_pem(const struct pki *pki)
{
    return pki->agent_chain_pem;
}

/* --- agents' certificates --- */

int pki_sign_node(struct pki *pki, const char *csr_pem, const char *node, char **ret_chain_pem,
                  char **ret_serial, struct error *error)
{
    gnutls_pubkey_t public_key = NULL;
    gnutls_x509_crt_t cert = NULL;

    if (node[0] == '\0' || strlen(node) > NODE_NAME_MAX) {
        return error_set(error, 400, "/id", "\"id\" must have 1 to %d characters", NODE_NAME_MAX);
    }
    int rc = csr_public_key(csr_pem, &public_key, error);
    if (rc < 0) {
        return rc;
    }
    _cleanup_free_ char *uri = xasprintf("cnsmo:node:%s", node);
    const struct x509_request request = {
        .common_name = node,
        .days = PKI_NODE_DAYS,
        .uri = uri,
        .is_client = 1,
        .is_server = 1,
    };
    rc = x509_sign(&request, public_key, &pki->authorities[AGENT], NULL, &cert, error);
    gnutls_pubkey_deinit(public_key);
    if (rc < 0) {
        return rc;
    }
    _cleanup_free_ char *leaf = x509_cert_pem(cert);
    _cleanup_free_ char *issuer = x509_cert_pem(pki->authorities[AGENT].cert);
    *ret_chain_pem = xasprintf("%s%s", leaf, issuer);
    *ret_serial = x509_serial(cert);
    gnutls_x509_crt_deinit(cert);
    return 0;
}
