/* main.c - cnsmod. */
#include <stdio.h>
#include <stdlib.h>

#include "lib/log.h"
#include "lib/mem.h"
#include "server/init.h"
#include "server/options.h"
#include "server/serve.h"
#include "server/state.h"

static int restore(const struct options *options, struct error *error)
{
    _cleanup_free_ char *path = xasprintf("%s/cnsmod.db", options->config.state_dir);
    int rc = store_restore(options->restore_file, path, error);

    if (rc == 0) {
        printf("restored %s from %s\n", path, options->restore_file);
    }
    return rc;
}

static int check(struct state *state, struct error *error)
{
    int rc = store_check(state->store, error);

    rc = rc < 0 ? rc : deployment_recompute(state->deployment, error);

    if (rc == 0) {
        printf("in order: revision %lld\n", (long long)deployment_revision(state->deployment));
    }
    return rc;
}

static int with_state(const struct options *options, struct error *error)
{
    struct state state;
    int rc = state_open(&state, &options->config, error);

    if (rc == 0 && (options->command == COMMAND_INIT ||
                    (options->command == COMMAND_RUN && state_is_empty(&state)))) {
        rc = init_state(&state, options, error);
    }
    if (rc == 0 && options->command == COMMAND_CHECK) {
        rc = check(&state, error);
    }
    if (rc == 0 && options->command == COMMAND_RUN) {
        rc = serve(&state, options, error);
    }
    state_close(&state);
    return rc;
}

int main(int argc, char **argv)
{
    struct options options;
    struct error error = {0};
    int rc;

    options_parse(&options, argc, argv);
    if (options.command == COMMAND_VERSION) {
        puts("cnsmod " CNSMO_VERSION);
        options_done(&options);
        return 0;
    }
    log_set_level(options.config.log_level);
    rc = options.command == COMMAND_RESTORE ? restore(&options, &error)
                                            : with_state(&options, &error);
    if (rc < 0) {
        fprintf(stderr, "cnsmod: %s\n", error.detail);
    }
    options_done(&options);
    return rc < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
