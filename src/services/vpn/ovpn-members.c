/* Members are files of client-config-dir, which the daemon reads when a session comes up; with
 * ccd-exclusive one without a file is refused. So what we must do ourselves is to end sessions
 * whose file has gone or changed:
 *
 *     dropped   killed by name at once, and again whenever an answer still shows one
 *     changed   the next answer shows which sessions there are; those are told to come back. One
 *               whose address isn't its file's is killed at any time, so that nothing depends
 *               on our memory. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/fault.h"
#include "lib/file.h"
#include "lib/mem.h"
#include "services/vpn/ovpn-internal.h"

enum {
    MEMBER_SIZE_MAX = 4096,
    RESTARTS_MAX = 5, /* answers that may still show a session which was told to come back */
};

#define ADDRESS_FORMAT "ifconfig-push %15s"

/* A member whose sessions shall come anew. */
struct ovpn_cut {
    unsigned serial;  /* of the answer that shows the sessions of before */
    unsigned long id; /* of the session that was told; ~0: not yet */
    int answers;      /* since then */
};

/* --- files --- */

static void member_free(void *value)
{
    struct ovpn_member_file *member = value;

    if (member) {
        free(member->text);
        free(member);
    }
}

static char *member_path(const struct ovpn *o, const char *name)
{
    return xasprintf("%s/%s", o->members_path, name);
}

/* Takes the text over. */
static void remember(struct ovpn *o, const char *name, char *text)
{
    struct ovpn_member_file *member = xnew(struct ovpn_member_file);
    char address[IP4_TEXT_SIZE] = "";

    member->text = text;
    if (sscanf(text, ADDRESS_FORMAT, address) == 1) {
        ip4_parse(address, &member->address);
    }
    member_free(omap_put(&o->members, name, member));
}

static char *member_text(const struct ovpn_member *member)
{
    char address[IP4_TEXT_SIZE], mask[IP4_TEXT_SIZE];
    struct buf text = BUF_INIT(MEMBER_SIZE_MAX);

    buf_printf(&text, "ifconfig-push %s %s\n", ip4_format(member->address, address),
               ip4_format(ip4_mask(member->mask_len), mask));
    if (member->route.len) {
        buf_printf(&text, "iroute %s %s\n", ip4_format(member->route.address, address),
                   ip4_format(ip4_mask(member->route.len), mask));
    }
    return text.data;
}

void ovpn_members_done(struct ovpn *o)
{
    omap_clear(&o->members, member_free);
    omap_clear(&o->cut, free);
}

int ovpn_members_observe(struct ovpn *o, struct error *error)
{
    DIR *folder = opendir(o->members_path);
    int rc = 0;

    omap_clear(&o->members, member_free);
    if (!folder) {
        return errno == ENOENT ? 0 : ovpn_failed(-errno, error, "read", o->members_path);
    }
    for (struct dirent *entry = readdir(folder); entry && rc == 0; entry = readdir(folder)) {
        char *text = NULL;
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) {
            continue;
        }
        _cleanup_free_ char *path = member_path(o, entry->d_name);
        rc = ovpn_read(path, MEMBER_SIZE_MAX, &text, error);
        if (rc == 0 && text) {
            remember(o, entry->d_name, text);
        }
    }
    closedir(folder);
    return rc;
}

const struct omap *ovpn_members(const struct ovpn *o)
{
    return &o->members;
}

int ovpn_member_matches(const struct ovpn *o, const char *name, const struct ovpn_member *member)
{
    const struct ovpn_member_file *file = omap_get(&o->members, name);
    _cleanup_free_ char *text = member_text(member);

    return file && strcmp(file->text, text) == 0;
}

/* A name becomes a file's. */
static int check_name(const char *name, struct error *error)
{
    if (name[0] == '\0' || name[0] == '.' || strlen(name) >= OVPN_NAME_SIZE ||
        strpbrk(name, "/ \n\r\"\\")) {
        return error_set(error, 400, NULL, "\"%s\" can't be the name of an OpenVPN member", name);
    }
    return 0;
}

int ovpn_member_put(struct ovpn *o, const char *name, const struct ovpn_member *member,
                    struct error *error)
{
    _cleanup_free_ char *path = member_path(o, name);

    int rc = check_name(name, error);
    if (rc < 0 || ovpn_member_matches(o, name, member)) {
        return rc;
    }
    _cleanup_free_ char *text = member_text(member);
    rc = fault_point();
    rc = rc < 0 ? rc : file_make_folder(o->members_path, 0700);
    if (rc < 0) {
        return ovpn_failed(rc, error, "make", o->members_path);
    }
    rc = ovpn_write(o, path, text, error);
    if (rc < 0) {
        return rc;
    }
    int is_new = !omap_get(&o->members, name);
    remember(o, name, TAKE(text));
    if (o->management && !is_new) {
        struct ovpn_cut *cut = xnew(struct ovpn_cut);
        cut->id = ~0UL;
        cut->serial = management_ask(o->management);
        free(omap_put(&o->cut, name, cut));
    }
    return 0;
}

int ovpn_member_drop(struct ovpn *o, const char *name, struct error *error)
{
    _cleanup_free_ char *path = member_path(o, name);

    int rc = ovpn_unlink(path, error);
    if (rc < 0) {
        return rc;
    }
    free(omap_del(&o->cut, name));
    rmdir(o->members_path); /* fails while there are others */
    if (o->management && check_name(name, NULL) == 0) {
        management_kill(o->management, name);
        management_ask(o->management);
    }
    member_free(omap_del(&o->members, name)); /* last: the name may be the entry's own */
    return 0;
}

/* --- sessions --- */

void ovpn_members_forget_cuts(struct ovpn *o)
{
    omap_clear(&o->cut, free);
}

static int is_allowed(const struct ovpn *o, const struct ovpn_session *session)
{
    const struct ovpn_member_file *member = omap_get(&o->members, session->name);

    /* One that comes up at this moment has no address yet. */
    return member && !ovpn_revoked_has(o, session) &&
           (session->address == 0 || session->address == member->address);
}

/* Whether the session is one of before a change, which is on its way out. */
static int is_leaving(struct ovpn *o, const struct ovpn_session *session, unsigned serial)
{
    struct ovpn_cut *cut = omap_get(&o->cut, session->name);

    if (!cut || (int)(serial - cut->serial) < 0) {
        return 0;
    }
    if (cut->id == ~0UL) {
        cut->id = session->id;
        management_restart(o->management, session->id);
        return 1;
    }
    if (cut->id == session->id && ++cut->answers > RESTARTS_MAX) {
        management_kill(o->management, session->name);
    }
    return cut->id == session->id;
}

void ovpn_members_sweep(struct ovpn *o, unsigned serial)
{
    struct omap leaving = {0};

    for (size_t i = 0; i < o->sessions_len; i++) {
        const struct ovpn_session *session = &o->sessions[i];
        if (is_leaving(o, session, serial)) {
            omap_put(&leaving, session->name, o);
        } else if (!is_allowed(o, session) && check_name(session->name, NULL) == 0) {
            management_kill(o->management, session->name);
        }
    }
    omap_foreach (e, &o->cut) {
        const struct ovpn_cut *cut = e->value;
        if ((int)(serial - cut->serial) >= 0 && !omap_get(&leaving, e->key)) {
            free(omap_del(&o->cut, e->key));
        }
    }
    omap_clear(&leaving, NULL);
}
