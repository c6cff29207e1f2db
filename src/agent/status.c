#include <stdio.h>

#include "agent/agent.h"
#include "agent/identity.h"
#include "lib/json.h"

static void print_services(const json_t *status)
{
    const char *name;
    json_t *service;

    json_object_foreach (json_object_get(status, "services"), name, service) {
        const char *message = json_get_string(service, "message", "");
        printf("%-10s %s%s%s\n", name, json_get_string(service, "state", "-"),
               message[0] ? ": " : "", message);
    }
}

static void print_errors(const json_t *status)
{
    const json_t *error;
    size_t i;

    json_array_foreach (json_object_get(status, "errors"), i, error) {
        printf("error      %s: %s\n", json_get_string(error, "key", "-"),
               json_get_string(error, "message", "-"));
    }
}

static void print_table(const json_t *status)
{
    const char *server = json_get_string(status, "server", "-");

    printf("node       %s\n", json_get_string(status, "id", "-"));
    printf("agent      %s, pid %d\n", json_get_string(status, "agentVersion", "-"),
           (int)json_get_integer(status, "pid", 0));
    if (json_get_bool(status, "connected", 0)) {
        printf("server     connected to %s\n", server);
    } else {
        printf("server     not connected to %s: %s\n", server,
               json_get_string(status, "problem", ""));
    }
    printf("revision   %lld, applied %lld\n", (long long)json_get_integer(status, "revision", 0),
           (long long)json_get_integer(status, "appliedRevision", 0));
    printf("cert       ends in %d days\n",
           (int)json_get_integer(status, "certificateDaysLeft", 0));
    print_services(status);
    print_errors(status);
}

int agent_status(const struct agent_paths *paths, int json)
{
    struct identity identity = {0};
    struct error error = {0};

    if (identity_load(paths->state_dir, &identity, &error) < 0) {
        agent_complain(&error);
        return EXIT_NOT_JOINED;
    }
    pid_t pid = process_running(paths);
    json_t *status = pid > 0 ? process_status(paths) : NULL;
    if (!status) {
        error_set(&error, 503, NULL, "the agent of %s doesn't run", identity.id);
        agent_complain(&error);
    } else if (json) {
        json_dumpf(status, stdout, JSON_INDENT(2) | JSON_SORT_KEYS);
        putchar('\n');
    } else {
        print_table(status);
    }
    identity_done(&identity);
    int code = status ? 0 : EXIT_FAILED;
    json_decref(status);
    return code;
}
