/* WireGuard's private key, made on this node and kept here, and what else touches files and
 * programs.
 *
 *     vpn/wireguard.key         the key
 *     vpn/wireguard.generation  which one it is: vpn/self's keyGeneration when it was made; a
 *                               missing file is 0
 *     vpn/wireguard.next        the one that comes next. While it is there the server is told its
 *                               public key, and when vpn/self says that the others are told
 *                               that, it becomes the key */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/fault.h"
#include "lib/file.h"
#include "lib/hash.h"
#include "lib/mem.h"
#include "services/vpn/vpn-driver.h"

int vpn_run(const char *const *argv, const char *input, struct buf *out, struct error *error)
{
    struct spawn spawn = {
        .argv = argv, .input = input, .input_size = input ? strlen(input) : 0, .out = out};
    int rc = spawn_check(&spawn, error);

    if (rc == -ENOENT) {
        error_set(error, 500, NULL, "the program %s is missing: install the package %s", argv[0],
                  strcmp(argv[0], "nft") == 0 ? "nftables" : "wireguard-tools");
    }
    return rc;
}

int vpn_write(const char *path, const char *text, mode_t mode)
{
    int rc = fault_point();

    return rc < 0 ? rc : file_write_atomic(path, text, strlen(text), mode);
}

int vpn_unlink(const char *path)
{
    int rc = access(path, F_OK) == 0 ? fault_point() : 0;

    return rc == 0 && unlink(path) < 0 && errno != ENOENT ? -errno : rc;
}

int vpn_failed(int rc, struct error *error, const char *what)
{
    return rc >= 0
               ? 0
               : error_set(error, error_status(rc), NULL, "cannot %s: %s", what, strerror(-rc));
}

/* Programs only log that they can't have their port, so we look first. */
int vpn_port_free(const struct vpn *v, struct error *error)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(v->self.port)};
    _cleanup_close_ int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    if (fd >= 0 && bind(fd, (struct sockaddr *)&address, sizeof address) < 0 &&
        errno == EADDRINUSE) {
        error_set(error, 409, NULL, "UDP port %u is taken by another program", v->self.port);
        return -EADDRINUSE;
    }
    return 0;
}

/* --- the key --- */

static char *file_of(const struct vpn *v, const char *name)
{
    return xasprintf("%s/vpn/wireguard.%s", v->env->state_dir, name);
}

char *vpn_key_path(const struct vpn *v)
{
    return file_of(v, "key");
}

/* A key in a file, and its public half. */
static int read_key(const char *path, char private[KEY_TEXT_SIZE], struct error *error)
{
    struct buf buf = BUF_INIT(KEY_TEXT_SIZE); /* room for a newline */
    int rc = file_read(path, &buf);
    char *text = buf.data ? buf.data : "";
    size_t size = strcspn(text, "\n");

    if (rc == 0 && size < buf.size) {
        text[size] = '\0';
    }
    if (rc == -ENOENT) {
        /* the caller's to mend */
    } else if (rc < 0 && rc != -E2BIG) {
        error_set(error, 500, NULL, "cannot read %s: %s", path, strerror(-rc));
    } else if (rc == -E2BIG || !key_valid(text)) {
        rc = error_set(error, 500, NULL, "%s holds no WireGuard key; remove it to get a new one",
                       path);
    } else {
        memcpy(private, text, KEY_TEXT_SIZE);
    }
    if (buf.data) {
        mem_wipe(buf.data, buf.size);
    }
    buf_done(&buf);
    return rc;
}

static int make_public(const char *private, char public[KEY_TEXT_SIZE], struct error *error)
{
    const char *const argv[] = {"wg", "pubkey", NULL};
    _cleanup_buf_ struct buf out = BUF_INIT(KEY_TEXT_SIZE);
    int rc = vpn_run(argv, private, &out, error);

    if (rc < 0) {
        return rc;
    }
    char *text = out.data ? out.data : "";
    text[strcspn(text, "\n")] = '\0';
    if (!key_valid(text)) {
        return error_set(error, 500, NULL, "wg pubkey gives no key");
    }
    memcpy(public, text, KEY_TEXT_SIZE);
    return 0;
}

static int make_key(const struct vpn *v, const char *path, char private[KEY_TEXT_SIZE],
                    struct error *error)
{
    _cleanup_free_ char *folder = xasprintf("%s/vpn", v->env->state_dir);
    uint8_t key[32];

    random_bytes(key, sizeof key);
    key[0] &= 248; /* RFC 7748 section 5 */
    key[31] = (uint8_t)((key[31] & 127) | 64);
    char *text = base64_encode(key, sizeof key);
    mem_wipe(key, sizeof key);
    int rc = file_make_folder(folder, 0700);
    if (rc == 0) {
        rc = vpn_write(path, text, 0600);
    }
    if (rc == 0) {
        memcpy(private, text, KEY_TEXT_SIZE);
    } else {
        error_set(error, 500, NULL, "cannot write %s: %s", path, strerror(-rc));
    }
    mem_wipe(text, strlen(text));
    free(text);
    return rc;
}

/* --- generations --- */

static json_int_t read_generation(const struct vpn *v)
{
    _cleanup_free_ char *path = file_of(v, "generation");
    _cleanup_buf_ struct buf buf = BUF_INIT(32);

    return file_read(path, &buf) == 0 && buf.data ? strtoll(buf.data, NULL, 10) : 0;
}

/* Before the key changes: should we be stopped between the two, the file of the next key says
 * that the change is still to be made. */
static int write_generation(const struct vpn *v, struct error *error)
{
    _cleanup_free_ char *path = file_of(v, "generation");
    _cleanup_free_ char *folder = xasprintf("%s/vpn", v->env->state_dir);
    char text[32];

    if (read_generation(v) == v->self.key_generation) {
        return 0;
    }
    snprintf(text, sizeof text, "%lld\n", (long long)v->self.key_generation);
    int rc = file_make_folder(folder, 0700);
    rc = rc == 0 ? vpn_write(path, text, 0600) : rc;
    return vpn_failed(rc, error, "write the key's generation") < 0 ? rc : 0;
}

static int load_key(struct vpn *v, int may_make, struct error *error)
{
    _cleanup_free_ char *path = vpn_key_path(v);
    struct vpn_keys *keys = &v->keys;

    if (keys->private[0]) {
        return 0;
    }
    int rc = read_key(path, keys->private, error);
    if (rc == -ENOENT && may_make) {
        rc = write_generation(v, error);
        rc = rc == 0 ? make_key(v, path, keys->private, error) : rc;
    }
    return rc;
}

int vpn_key_ready(struct vpn *v, struct error *error)
{
    _cleanup_free_ char *path = file_of(v, "next");
    struct vpn_keys *keys = &v->keys;

    int rc = load_key(v, 1, error);
    if (rc == 0 && !keys->public[0]) {
        rc = make_public(keys->private, keys->public, error);
    }
    if (rc < 0 || keys->next_private[0]) {
        return rc;
    }
    rc = read_key(path, keys->next_private, error);
    if (rc == -ENOENT) {
        if (read_generation(v) >= v->self.key_generation) {
            return 0;
        }
        rc = make_key(v, path, keys->next_private, error);
    }
    if (rc == 0) {
        rc = make_public(keys->next_private, keys->next_public, error);
    }
    if (rc < 0) {
        mem_wipe(keys->next_private, sizeof keys->next_private); /* begin anew next time */
    }
    return rc;
}

int vpn_key_switch(struct vpn *v, struct error *error)
{
    _cleanup_free_ char *next = file_of(v, "next"), *path = vpn_key_path(v);
    struct vpn_keys *keys = &v->keys;

    int rc = write_generation(v, error);
    if (rc < 0) {
        return rc;
    }
    rc = fault_point();
    if (rc == 0 && rename(next, path) < 0) {
        rc = -errno;
    }
    if (rc < 0) {
        return vpn_failed(rc, error, "take the next key");
    }
    memcpy(keys->private, keys->next_private, KEY_TEXT_SIZE);
    memcpy(keys->public, keys->next_public, KEY_TEXT_SIZE);
    mem_wipe(keys->next_private, sizeof keys->next_private);
    keys->next_public[0] = '\0';
    return 0;
}

int vpn_key_renew_unused(struct vpn *v, struct error *error)
{
    struct error ignored;

    int rc = load_key(v, 0, error);
    if (rc == -ENOENT) {
        return 0;
    }
    /* Without wg there is no telling the public key; it can wait until somebody wants it. */
    if (rc == 0 && !v->keys.public[0] &&
        make_public(v->keys.private, v->keys.public, &ignored) < 0) {
        return 0;
    }
    rc = rc == 0 ? vpn_key_ready(v, error) : rc;
    return rc == 0 && v->keys.next_private[0] ? vpn_key_switch(v, error) : rc;
}

const char *vpn_key_told(const struct vpn *v)
{
    return v->keys.next_public[0] ? v->keys.next_public : v->keys.public;
}
