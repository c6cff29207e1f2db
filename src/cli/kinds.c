/* kinds.c - the kinds that the command line knows: the core's, then one word for each of the
 * services' in SERVICE_KINDS, then the API tokens. */
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

static const struct kind *const SERVICE_KINDS[] = {NULL};

static void append(const struct kind **kinds, size_t *len, const struct kind *const *more)
{
    for (; *more; more++) {
        kinds[(*len)++] = *more;
    }
}

static size_t count(const struct kind *const *kinds)
{
    size_t len = 0;

    while (kinds[len]) {
        len++;
    }
    return len;
}

const struct kind **kinds_new(void)
{
    size_t len = 0;
    const struct kind **kinds =
        xcalloc(count(CORE_KINDS) + count(SERVICE_KINDS) + 2, sizeof *kinds);

    append(kinds, &len, CORE_KINDS);
    append(kinds, &len, SERVICE_KINDS);
    kinds[len] = &API_TOKENS;
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
