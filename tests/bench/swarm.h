/* swarm.h - many agents in one process, to load a server: real links and certificates, no host.
 *
 * A member enrols with a join token, keeps its link as an agent does (hello, ping, back-off),
 * holds what its node must have, and acknowledges at once. Of each resource it keeps the digest
 * only, so that ten thousand members fit; all share one key, since the certificate says who one
 * is. Each comes from an address of its own in 127.1.0.0/16, so the server must be on loopback.
 * The program is told what to do on stdin and tells what happened on stdout, a JSON object a line:
 *
 *     {"do":"enrol","token":T,"first":n,"last":n,"parallel":n}   Agent.<first> to Agent.<last>
 *         {"event":"enrolled","count":n,"usec":t}
 *     {"do":"connect","parallel":n}                    all that are enrolled; they stay connected
 *         {"event":"connected","count":n,"usec":t}     all are in step; also after a "lost"
 *         {"event":"lost","usec":t}                    the first link of a complete swarm broke
 *     {"do":"acked","revision":n}                      tell when all have acknowledged that
 *         {"event":"acked","revision":n,"usec":t}      when the last one did
 *     {"do":"state"}
 *         {"event":"state","enrolled":n,"connected":n,"resyncs":n,"failures":n,"problem":s}
 *     {"event":"failed","reason":s}                    the command can't be carried out
 *
 * `usec` is CLOCK_MONOTONIC at the moment that it tells of. The end of stdin ends the program. */
#pragma once

#include <stdint.h>
#include <uv.h>

#include "core/digest.h"
#include "lib/omap.h"
#include "link/link.h"
#include "pki/pki.h"

enum member_state {
    MEMBER_IDLE,
    MEMBER_QUEUED, /* waits for its turn to connect */
    MEMBER_JOINING,
    MEMBER_OPENING,
    MEMBER_WELCOMED,
    MEMBER_SYNCED,
};

struct member {
    struct swarm *swarm;
    char *id, *certificate; /* NULL until enrolled */
    char source[16];        /* each has an address of its own, as far as loopback has them */
    struct link *link;
    enum member_state state;
    int has_turn; /* counted in swarm->turns */
    uv_timer_t retry;
    unsigned tries;   /* in vain since the last sync */
    struct omap held; /* key -> struct digest */
    struct digest digest;
    json_int_t revision; /* of the last sync; acknowledged */
    int has_told;        /* its fact and status */
    struct member *next_queued;
};

struct swarm {
    uv_loop_t *loop;
    struct join_token token; /* of the last "enrol" */
    char *host;
    uint16_t port;
    char *key, *csr; /* of all */
    int64_t started;
    struct member **members;
    size_t members_len, enrolled, synced;
    size_t joins_left; /* of the "enrol" under way */
    int is_connecting; /* "connect" was said */
    int was_complete;  /* all were in step, and "lost" isn't told yet */
    unsigned turns, parallel;
    struct member *queue, **queue_end;
    json_int_t wanted; /* revision of the "acked" under way; 0: none */
    int64_t last_ack_usec;
    unsigned resyncs, failures;
    char problem[256]; /* the last failure */
};

/* --- swarm.c --- */
/* Takes the reference and prints it as a line. */
void swarm_tell(json_t *event);
void swarm_note_failure(struct swarm *swarm, const char *what);

/* --- swarm-member.c --- */
struct member *member_new(struct swarm *swarm, unsigned number);
/* Joins if it has no certificate, else connects, when it's its turn. */
void member_queue(struct member *member);
/* Gives turns to those who wait. */
void swarm_next(struct swarm *swarm);

/* --- swarm.c, told by members --- */
void swarm_enrolled(struct swarm *swarm);
void swarm_synced(struct swarm *swarm, struct member *member, int is_first);
void swarm_lost(struct swarm *swarm, struct member *member);
