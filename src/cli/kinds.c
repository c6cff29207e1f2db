/* kinds.c - the kinds that the command line knows: all that the services have, the core's first,
 * and the API tokens. A new service needs nothing here: SERVICES[] is the same list that the
 * server has. (Only the tables are used; a service's planning code comes along unused, some
 * kilobytes.) */
#include <string.h>

#include "api-tokens-schema.h"
#include "cli/cli.h"
#include "core/service.h"
#include "lib/mem.h"

/* Not objects of the deployment, but listed, created and deleted like them. */
static const struct kind API_TOKENS = {
    .name = "api-tokens",
    .singular = "api-token",
    .summary = "Lets a program act for a user.",
    .schema_text = SCHEMA_API_TOKENS,
    .ids = KIND_ID_RANDOM,
    .read_role = ROLE_VIEWER,
    .write_role = ROLE_VIEWER,
};

/* How many kinds are built in; they are put into `kinds` unless it is NULL. */
static size_t walk(const struct kind **kinds)
{
    size_t len = 0;

    for (size_t i = 0; SERVICES[i]; i++) {
        for (size_t j = 0; SERVICES[i]->kinds && SERVICES[i]->kinds[j]; j++) {
            if (kinds) {
                kinds[len] = SERVICES[i]->kinds[j];
            }
            len++;
        }
    }
    return len;
}

const struct kind **kinds_new(void)
{
    const struct kind **kinds = xcalloc(walk(NULL) + 2, sizeof *kinds);

    kinds[walk(kinds)] = &API_TOKENS;
    return kinds;
}

const struct kind *kind_named(const struct kind *const *kinds, const char *name)
{
    for (; *kinds; kinds++) {
        if (strcmp((*kinds)->name, name) == 0) {
            return *kinds;
        }
    }
    return NULL;
}
