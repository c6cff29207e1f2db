/* The authority's folder:
 *
 *     root.pem root.key                 signs the intermediates
 *     server-ca.pem server-ca.key       and agent-ca, client-ca; generation.c has the later ones
 *     server.pem    server.key          the listener's, made again as needed (listener.c)
 *     seal.key                          seal.c
 *
 * It is made as <folder>.new and renamed, so a crash leaves either nothing or all of it. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/clock.h"
#include "lib/file.h"
#include "lib/hash.h"
#include "lib/mem.h"
#include "pki/internal.h"

enum {
    ROOT_DAYS = 20 * 365,
};

/* --- making --- */

static int make_authorities(const char *folder, struct error *error)
{
    const struct x509_request request = {
        .common_name = "CNSMO root", .days = ROOT_DAYS, .is_ca = 1, .path_len = 1};
    struct x509_pair root = {0};
    int rc = x509_pair_new(&request, NULL, &root, error);

    if (rc < 0) {
        return rc;
    }
    _cleanup_free_ char *pem = x509_cert_pem(root.cert);
    rc = pair_write(folder, "root", &root, pem, error);
    for (int i = 0; rc == 0 && i < PKI_ROLES; i++) {
        rc = generation_make(folder, (enum pki_role)i, 1, &root, error);
    }
    x509_pair_done(&root); /* load() reads what was really written */
    return rc;
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
    _cleanup_free_ char *temporary = xasprintf("%s.new", pki->folder);

    remove_folder(temporary);
    int rc = file_make_folder(temporary, 0700);
    if (rc < 0 || chmod(temporary, 0700) < 0) {
        rc = rc < 0 ? rc : -errno;
        return error_set(error, error_status(rc), NULL, "cannot make the folder %s: %s", temporary,
                         strerror(-rc));
    }
    rc = make_authorities(temporary, error);
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
    int rc = pair_read(pki->folder, "root", &pki->root, error);

    for (int i = 0; rc == 0 && i < PKI_ROLES; i++) {
        rc = generations_load(pki, (enum pki_role)i, error);
    }
    return rc < 0 ? rc : seal_open(pki, error);
}

static void describe_root(struct pki *pki)
{
    uint8_t digest[SHA256_SIZE];
    size_t size = sizeof digest;
    char hex[SHA256_HEX_SIZE];

    pki->root_pem = x509_cert_pem(pki->root.cert);
    if (gnutls_x509_crt_get_fingerprint(pki->root.cert, GNUTLS_DIG_SHA256, digest, &size) < 0) {
        abort();
    }
    hex_encode(digest, sizeof digest, hex);
    pki->fingerprint = xasprintf("sha256:%s", hex);
}

void authority_describe(struct pki *pki)
{
    const struct generations *agents = &pki->roles[PKI_AGENT];
    int64_t now = clock_now_usec();
    char *chain = xstrdup("");

    for (size_t i = agents->len; i-- > 0;) {
        if (agents->items[i].public.spent_usec > now) {
            _cleanup_free_ char *before = chain;
            _cleanup_free_ char *pem = x509_cert_pem(agents->items[i].pair.cert);
            chain = xasprintf("%s%s", before, pem);
        }
    }
    free(pki->agent_chain_pem);
    pki->agent_chain_pem = xasprintf("%s%s", chain, pki->root_pem);
    free(chain);
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
    describe_root(pki);
    authority_describe(pki);
    *ret_pki = pki;
    return 0;
}

void pki_free(struct pki *pki)
{
    if (!pki) {
        return;
    }
    x509_pair_done(&pki->root);
    for (int i = 0; i < PKI_ROLES; i++) {
        generations_done(&pki->roles[i]);
    }
    mem_wipe(pki->seal_key, sizeof pki->seal_key);
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
