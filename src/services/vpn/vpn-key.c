/* The private key, made on this node and kept here, and what else touches files and programs. */
#include <errno.h>
#include <string.h>

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

char *vpn_key_path(const struct vpn *v)
{
    return xasprintf("%s/vpn/wireguard.key", v->env->state_dir);
}

static int make_key(struct vpn *v, const char *path, struct error *error)
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
        memcpy(v->private_key, text, KEY_TEXT_SIZE);
    } else {
        error_set(error, 500, NULL, "cannot write %s: %s", path, strerror(-rc));
    }
    mem_wipe(text, strlen(text));
    free(text);
    return rc;
}

int vpn_device_key(struct vpn *v, struct error *error)
{
    _cleanup_free_ char *path = vpn_key_path(v);
    struct buf buf = BUF_INIT(KEY_TEXT_SIZE); /* room for a newline */

    if (v->private_key[0]) {
        return 0;
    }
    int rc = file_read(path, &buf);
    if (rc == -ENOENT) {
        rc = make_key(v, path, error);
    } else {
        char *text = buf.data ? buf.data : "";
        size_t size = strcspn(text, "\n");
        if (rc == 0 && size < buf.size) {
            text[size] = '\0';
        }
        if (rc < 0 && rc != -E2BIG) {
            error_set(error, 500, NULL, "cannot read %s: %s", path, strerror(-rc));
        } else if (rc == -E2BIG || !key_valid(text)) {
            rc = error_set(error, 500, NULL,
                           "%s holds no WireGuard key; remove it to get a new one", path);
        } else {
            memcpy(v->private_key, text, KEY_TEXT_SIZE);
        }
    }
    if (buf.data) {
        mem_wipe(buf.data, buf.size);
    }
    buf_done(&buf);
    return rc;
}
