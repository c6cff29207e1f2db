/* ovpn-internal.h - what ovpn-process.c and ovpn-members.c share. */
#pragma once

#include "services/vpn/ovpn-management.h"
#include "services/vpn/ovpn.h"

enum {
    OVPN_CRL_SIZE_MAX = 16 << 20,
};

/* One file of <name>.d. */
struct ovpn_member_file {
    char *text;
    uint32_t address; /* 0: the text isn't ours */
};

struct ovpn {
    struct ovpn_env env;
    char *name;
    char *folder; /* <run_dir>/vpn */
    char *conf_path, *socket_path, *crl_path, *members_path, *serials_path;

    int running;         /* as of the last look, end or start */
    int server;          /* as of the last ovpn_apply() or ovpn_matches() */
    int configured;      /* <name>.conf is there */
    char *crl;           /* NULL: none */
    struct omap members; /* common name -> struct ovpn_member_file */
    struct omap revoked; /* serials that the CRL holds, as hex -> something */
    struct omap serials; /* session's id -> its certificate's serial, where we were told */
    int serials_unsaved;
    struct omap cut;               /* common name -> struct ovpn_cut */
    struct management *management; /* NULL: no daemon */

    enum ovpn_state state; /* as it was told; see ovpn_state() for HUNG */
    struct ip4_endpoint peer;
    int adopted;       /* an earlier agent started it, and it hasn't told its state yet */
    int was_connected; /* this daemon, once */
    struct ovpn_session *sessions;
    size_t sessions_len;
    int answered;       /* it told its sessions once, so `sessions` is all there are */
    int64_t seen_usec;  /* when we began to talk to it */
    int64_t hung_usec;  /* since when; 0: it isn't */
    int64_t ended_usec; /* when ovpn_stop() asked it to end; 0: it didn't */
    int64_t log_size;   /* of the log when we started it; -1: an earlier agent did */
    int failed;         /* it ended too soon, and nobody was told yet */
    char message[512];
};

int ovpn_failed(int rc, struct error *error, const char *what, const char *path);

/* Writes a file of ours, and the folder before: a fault point. */
int ovpn_write(const struct ovpn *o, const char *path, const char *text, struct error *error);
/* Removes one; a fault point. One that isn't there is fine. */
int ovpn_unlink(const char *path, struct error *error);
/* The file's content, NULL if it isn't there. */
int ovpn_read(const char *path, size_t limit, char **ret_text, struct error *error);

/* Takes the CRL's text over (NULL: none) and reads what it revokes. */
void ovpn_revoked_take(struct ovpn *o, char *pem);
void ovpn_revoked_done(struct ovpn *o);
void ovpn_revoked_note(struct ovpn *o, unsigned long id, const char *serial);
/* Has the session's certificate been revoked? 0 too if we don't know the certificate. */
int ovpn_revoked_has(const struct ovpn *o, const struct ovpn_session *session);
/* Forgets the serials of sessions that are over, and writes the others down for the next agent. */
void ovpn_revoked_sweep(struct ovpn *o);
/* Reads what the last agent wrote down about the daemon that it left. */
void ovpn_revoked_load(struct ovpn *o);

int ovpn_members_observe(struct ovpn *o, struct error *error);
void ovpn_members_done(struct ovpn *o);
/* Ends sessions that nobody may have; after each answer. */
void ovpn_members_sweep(struct ovpn *o, unsigned serial);
/* No daemon, no sessions. */
void ovpn_members_forget_cuts(struct ovpn *o);
