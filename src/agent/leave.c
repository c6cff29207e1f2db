#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "agent/agent.h"
#include "agent/exchange.h"
#include "agent/identity.h"
#include "core/digest.h"
#include "lib/clock.h"
#include "lib/log.h"
#include "lib/mem.h"
#include "link/link.h"

/* The server may not have noticed yet that the agent that we stopped is gone: then it refuses the
 * hello (409). A 409 to the question itself, as when VPN clients belong to this hub, is final. */
enum {
    TRIES = 20,
    PAUSE_USEC = 250000,
};

static int is_gone_already(const struct error *error)
{
    return error->status == 403 || error->status == 404 || error->status == 410;
}

static int tell_server(const struct identity *identity, struct error *error)
{
    char digest[33];
    json_t *hello = json_pack("{s:s, s:i, s:s, s:i, s:s, s:s, s:I}", "type", "hello", "version",
                              LINK_VERSION, "id", identity->id, "revision", 0, "digest",
                              digest_format((struct digest){0, 0}, digest), "agentVersion",
                              CNSMO_VERSION, "started", (json_int_t)clock_now_usec());
    json_t *question = json_pack("{s:s}", "type", "leave");
    json_t *answer = NULL;
    struct exchange exchange = {.servers = identity->servers,
                                .fingerprint = identity->fingerprint,
                                .certificate_pem = identity->cert_pem,
                                .key_pem = identity->key_pem,
                                .first = hello,
                                .greeting = "welcome",
                                .question = question,
                                .answer = "left"};

    int rc = exchange_run(&exchange, &answer, error);
    for (int i = 1; rc == -ECONNREFUSED && error->status == 409 && i < TRIES; i++) {
        usleep(PAUSE_USEC);
        rc = exchange_run(&exchange, &answer, error);
    }
    json_decref(hello);
    json_decref(question);
    json_decref(answer);
    return rc < 0 && is_gone_already(error) ? 0 : rc;
}

/* The server first: while it still counts on this node, the host shouldn't be torn down. */
static int say_goodbye(const struct agent_paths *paths, const struct identity *identity, int force,
                       int was_running, struct error *error)
{
    struct error restart = {0};

    int rc = tell_server(identity, error);
    if (rc == 0) {
        return 0;
    }
    if (force) {
        fprintf(stderr,
                "cnsmo-agent: the server doesn't know that this node has left (%s); "
                "delete it there\n",
                error->detail);
        return 0;
    }
    struct error reason = *error;
    error_set(error, reason.status, NULL, "%.400s; nothing was changed (--force goes on)",
              reason.detail);
    if (was_running && process_start(paths, &restart) < 0) {
        agent_complain(&restart);
    }
    return rc;
}

static int leave(const struct agent_paths *paths, const struct identity *identity, int force,
                 struct error *error)
{
    _cleanup_close_ int lock = -1;
    int was_running = process_running(paths) > 0;

    int rc = process_stop(paths, error);
    if (rc == 0 && identity->id) {
        rc = say_goodbye(paths, identity, force, was_running, error);
    }
    /* From here on no other agent may begin. */
    if (rc == 0 && access(paths->run_dir, F_OK) == 0) {
        rc = process_lock(paths, &lock, NULL, error);
    }
    if (rc == 0) {
        rc = agent_make_folders(paths, error);
    }
    if (rc == 0) {
        rc = cleanup_host(paths, identity->id ? identity->id : "-", error);
    }
    if (rc < 0 && !force) {
        return rc;
    }
    int files = cleanup_files(paths, 0, rc < 0 ? NULL : error);
    _cleanup_free_ char *pid = xasprintf("%s/agent.pid", paths->run_dir);
    unlink(pid);
    rmdir(paths->run_dir);
    return rc < 0 ? rc : files;
}

int agent_leave(const struct agent_paths *paths, int force)
{
    struct identity identity = {0};
    struct error error = {0};

    int rc = identity_load(paths->state_dir, &identity, &error);
    if (rc < 0 && !force) {
        agent_complain(&error);
        return rc == -ENOENT ? EXIT_NOT_JOINED : EXIT_FAILED;
    }
    rc = leave(paths, &identity, force, &error);
    if (rc < 0) {
        agent_complain(&error);
    } else {
        printf("left; this machine is as it was before\n");
    }
    identity_done(&identity);
    return rc < 0 ? EXIT_FAILED : 0;
}
