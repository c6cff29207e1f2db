/* ovpn-management.h - one connection to a daemon's management socket. Private to ovpn-process.c.
 *
 * It connects, again and again while nothing listens, asks for the state and has it told from then
 * on, and asks for the sessions every second. Commands are answered in their order, with
 * notifications (lines that begin with ">") between them; see ovpn-status.h for the source. Once
 * an answer is 3 s overdue, or nobody has listened for that long, it is `hung` until one comes.
 *
 * All calls come from the loop, and none from within a function of this file. */
#pragma once

#include <stddef.h>
#include <uv.h>

#include "services/vpn/ovpn-status.h"

struct management;

struct management_calls {
    void (*state)(void *arg, const struct ovpn_state_line *state);
    /* Takes the array over. `serial` says which question this answers. */
    void (*sessions)(void *arg, unsigned serial, struct ovpn_session *sessions, size_t len);
    /* Of a session that came up while we were connected: its certificate's serial. */
    void (*serial)(void *arg, unsigned long id, const char *serial);
    void (*hung)(void *arg, int hung);
};

struct management *management_new(uv_loop_t *loop, const char *path,
                                  const struct management_calls *calls, void *arg);
/* NULL in, NULL out. No call comes any more; the memory is freed when the loop runs next. */
struct management *management_free(struct management *m);

/* Asks for the sessions now, if we are connected, and returns the serial that the answer will
 * have; if we aren't, the first answer of the next connection will. */
unsigned management_ask(struct management *m);

/* Ends all sessions of this name at once; the other end isn't told. */
void management_kill(struct management *m, const char *name);
/* Ends one session and tells the other end, which then comes back by itself. */
void management_restart(struct management *m, unsigned long id);
