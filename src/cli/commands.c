/* commands.c - makes the table of commands from the kinds and the fixed ones.
 *
 * VERBS says which verbs a kind's noun gets; the rest is bookkeeping. */
#include "cli/command.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/spec.h"
#include "lib/json.h"
#include "lib/mem.h"

struct noun { /* a kind with what was made from it */
    json_t *schema;
    struct option_list members;
    const struct option **required; /* into members */
    size_t required_len;
};

struct commands {
    struct command *items;
    size_t len;
    size_t made_len; /* the first ones, made from kinds: their strings are ours */
    struct noun *nouns;
    size_t nouns_len;
};

const struct option GLOBAL_OPTIONS[] = {
    {"output", 'o', TAKES_VALUE, "table|json|jsonl", "How results are printed (default: table)."},
    {"url", 0, TAKES_VALUE, "URL", "The server, in place of CNSMO_URL and of what login stored."},
    {"ca", 0, TAKES_VALUE, "FILE",
     "Certificate (PEM) that must have signed the server's, in place of CNSMO_CA."},
    {"no-color", 0, TAKES_NOTHING, NULL, "No colours, even on a terminal."},
    {"help", 'h', TAKES_NOTHING, NULL, "Explains the command."},
    {"version", 'V', TAKES_NOTHING, NULL, "Prints the version of this program."},
    {0},
};

static const struct option LIST_OPTIONS[] = {
    {"label", 'l', TAKES_VALUE, "KEY=VALUE", "Only those with this label."},
    {"filter", 0, TAKES_VALUE, "MEMBER=VALUE",
     "Only those whose spec has this value. May be repeated."},
    {0},
};

#define WAIT_OPTION                                                                               \
    {                                                                                             \
        "wait", 0, TAKES_OPTIONAL, "SECONDS",                                                     \
            "Waits until every node that the change concerns has applied it (default: 10 s)."     \
    }
#define DRY_RUN_OPTION                                                                            \
    {                                                                                             \
        "dry-run", 0, TAKES_NOTHING, NULL,                                                        \
            "Shows what would change on which node; changes nothing."                             \
    }

static const struct option WRITE_OPTIONS[] = {WAIT_OPTION, DRY_RUN_OPTION, {0}};

static const struct option CLIENT_ADD_OPTIONS[] = {
    {"qr", 0, TAKES_NOTHING, NULL, "Shows its WireGuard configuration as a QR code."},
    WAIT_OPTION,
    DRY_RUN_OPTION,
    {0}};

static const struct option CLIENT_CONFIG_OPTIONS[] = {
    {"format", 0, TAKES_VALUE, "ovpn|config|key|cert|ca|wireguard|qr",
     "Which file (default: ovpn, everything for OpenVPN in one file). config names key, cert and "
     "ca as files beside it. qr is WireGuard's configuration as a QR code."},
    {"file", 'f', TAKES_VALUE, "FILE",
     "Where to write it, for its owner alone to read; a QR code is written as SVG. Standard "
     "output "
     "unless given."},
    {0}};

/* Short forms of a filter's members. */
#define FILTER_OPTIONS                                                                            \
    {"src", 0, TAKES_VALUE, "PREFIX", "Short for --source.", .path = "source"},                   \
    {                                                                                             \
        "dst", 0, TAKES_VALUE, "PREFIX", "Short for --destination.", .path = "destination"        \
    }

#define FORCE_OPTION                                                                              \
    {                                                                                             \
        "force", 0, TAKES_NOTHING, NULL,                                                          \
            "Does it even if it could cut somebody off. Unless it is confirmed within a minute "  \
            "it is undone."                                                                       \
    }

static const struct option FORCED_OPTIONS[] = {FORCE_OPTION, WAIT_OPTION, DRY_RUN_OPTION, {0}};

static const struct option FILTER_WRITE_OPTIONS[] = {
    FILTER_OPTIONS, FORCE_OPTION, WAIT_OPTION, DRY_RUN_OPTION, {0}};

static int is_plural(const struct kind *kind)
{
    return kind->ids != KIND_ID_SINGLETON;
}

static int is_listed(const struct kind *kind)
{
    return is_plural(kind) && kind->write_role != ROLE_NOBODY;
}

static int is_named(const struct kind *kind)
{
    return is_listed(kind) && kind->ids == KIND_ID_NAMED;
}

static int is_lb_service(const struct kind *kind)
{
    return strcmp(kind->name, "lb/services") == 0;
}

static int is_client(const struct kind *kind)
{
    return strcmp(kind->name, "vpn/clients") == 0;
}

static int is_node(const struct kind *kind)
{
    return strcmp(kind->name, "nodes") == 0;
}

static int is_added_plainly(const struct kind *kind)
{
    return is_named(kind) && !is_client(kind);
}

static int is_counted(const struct kind *kind)
{
    return is_listed(kind) && kind->ids == KIND_ID_COUNTED;
}

static int is_filter(const struct kind *kind)
{
    return strcmp(kind->name, "sdn/filters") == 0;
}

static int can_be_forced(const struct kind *kind)
{
    return kind->can_be_forced;
}

static int is_counted_plainly(const struct kind *kind)
{
    return is_counted(kind) && !is_filter(kind);
}

static int is_changed(const struct kind *kind)
{
    return is_named(kind) || is_counted(kind);
}

static int is_changed_plainly(const struct kind *kind)
{
    return is_changed(kind) && !is_filter(kind);
}

static int is_random(const struct kind *kind)
{
    return is_listed(kind) && kind->ids == KIND_ID_RANDOM;
}

static int is_singleton(const struct kind *kind)
{
    return kind->ids == KIND_ID_SINGLETON;
}

/* API tokens are only listed, created and deleted: no labels to filter by, no dry run. */
static int is_object(const struct kind *kind)
{
    return strcmp(kind->name, "api-tokens") != 0;
}

static int is_shown(const struct kind *kind)
{
    return is_listed(kind) && is_object(kind);
}

static int has_labels(const struct kind *kind)
{
    return is_changed(kind) && strstr(kind->schema_text, "\"labels\"") != NULL;
}

/* What a kind's noun can do. In `summary`, %s stands for the kind's singular. */
static const struct verb {
    const char *word, *arguments, *summary;
    unsigned arguments_min, arguments_max;
    const struct option *fixed;
    int has_members;
    int (*fits)(const struct kind *kind);
    command_fn *run;
} VERBS[] = {
    {"list", "", "Lists every %s.", 0, 0, LIST_OPTIONS, 0, is_listed, run_list},
    {"show", "ID", "Shows one %s with its status.", 1, 1, NULL, 0, is_shown, run_show},
    {"show", "", "Shows the %s.", 0, 0, NULL, 0, is_singleton, run_show},
    {"add", "ID", "Adds a new %s.", 1, 1, WRITE_OPTIONS, 1, is_added_plainly, run_add},
    {"add", "ID", "Adds a new %s.", 1, 1, CLIENT_ADD_OPTIONS, 1, is_client, run_client_add},
    {"add", "", "Adds a new %s.", 0, 0, WRITE_OPTIONS, 1, is_counted_plainly, run_add},
    {"add", "", "Adds a new %s, for TCP where a port is given without a protocol.", 0, 0,
     FILTER_WRITE_OPTIONS, 1, is_filter, run_filter_add},
    {"confirm", "ID", "Lets one %s stay that was added or changed by force.", 1, 1, WRITE_OPTIONS,
     0, can_be_forced, run_confirm},
    {"create", "", "Creates a new %s.", 0, 0, WRITE_OPTIONS, 1, is_random, run_add},
    {"set", "ID", "Changes the given members of one %s; the others stay.", 1, 1, WRITE_OPTIONS, 1,
     is_changed_plainly, run_set},
    {"set", "ID", "Changes the given members of one %s; the others stay.", 1, 1,
     FILTER_WRITE_OPTIONS, 1, is_filter, run_set},
    {"set", "", "Changes the given %s; the others stay.", 0, 0, WRITE_OPTIONS, 1, is_singleton,
     run_set},
    {"label", "ID KEY=VALUE|KEY-...",
     "Sets labels of one %s, and removes those with - at the end.", 2, ARGUMENTS_MANY,
     WRITE_OPTIONS, 0, has_labels, run_label},
    {"config", "ID", "Prints a file that the %s needs, or writes it.", 1, 1, CLIENT_CONFIG_OPTIONS,
     0, is_client, run_client_config},
    {"renew", "ID",
     "Makes new keys and a new certificate for one %s. Its old ones are revoked at once: it is "
     "cut "
     "off until it has its new files.",
     1, 1, WRITE_OPTIONS, 0, is_client, run_client_renew},
    {"renew", "ID", "Makes a new key and certificate for one %s that has them from the authority.",
     1, 1, WRITE_OPTIONS, 0, is_lb_service, run_lb_renew},
    {"rotate", "ID", "Makes one %s take a new tunnel key.", 1, 1, WRITE_OPTIONS, 0, is_node,
     run_rotate},
    {"delete", "ID...", "Deletes the %ss with these ids.", 1, ARGUMENTS_MANY, WRITE_OPTIONS, 0,
     is_listed, run_delete},
};

static void append(struct commands *commands, const struct command *command)
{
    commands->items = xrealloc(commands->items, (commands->len + 1) * sizeof *commands->items);
    commands->items[commands->len++] = *command;
}

/* Two kinds may share one noun ("settings"): the verb then ends with the singleton's id. */
static char *verb_words(const struct kind *kind, const struct verb *verb)
{
    if (is_singleton(kind)) {
        return xasprintf("%s %s %s", kind->name, verb->word, kind->singleton_id);
    }
    return xasprintf("%s %s", kind->singular, verb->word);
}

/* The verb's sentence about this kind; where an object is made, what the kind is for follows. */
static char *verb_summary(const struct kind *kind, const struct verb *verb)
{
    const char *at = strstr(verb->summary, "%s");
    int is_made =
        verb->run == run_add || verb->run == run_client_add || verb->run == run_filter_add;

    return xasprintf("%.*s%s%s%s%s", (int)(at - verb->summary), verb->summary, kind->singular,
                     at + 2, is_made ? " " : "", is_made && kind->summary ? kind->summary : "");
}

/* Secrets have no place among the arguments, yes and no would mean nothing there, and neither
 * would JSON be readable. */
static int is_argument(const struct option *option)
{
    return option->takes == TAKES_VALUE && !option->from_file && !strchr(option->path, '/');
}

static void find_required(struct noun *noun)
{
    const json_t *required = json_object_get(noun->schema, "required");
    size_t i;
    json_t *name;

    noun->required = xcalloc(json_array_size(required) + 1, sizeof *noun->required);
    json_array_foreach ((json_t *)required, i, name) {
        for (size_t j = 0; j < noun->members.len; j++) {
            const struct option *option = &noun->members.items[j];
            if (is_argument(option) && strcmp(option->path, json_string_value(name)) == 0) {
                noun->required[noun->required_len++] = option;
            }
        }
    }
}

/* "ID [ROLE]" */
static char *verb_arguments(const struct noun *noun, const struct verb *verb)
{
    char *arguments = xstrdup(verb->arguments);

    for (size_t i = 0; verb->run == run_add && i < noun->required_len; i++) {
        _cleanup_free_ char *name = xstrdup(noun->required[i]->name);
        for (char *c = name; *c; c++) {
            *c = (char)toupper((unsigned char)*c);
        }
        char *longer = xasprintf("%s%s[%s]", arguments, arguments[0] ? " " : "", name);
        free(arguments);
        arguments = longer;
    }
    return arguments;
}

static const struct option *fixed_options(const struct kind *kind, const struct verb *verb)
{
    int changes = verb->run == run_add || verb->run == run_set;

    if (!is_object(kind)) {
        return NULL;
    }
    return changes && kind->can_be_forced && verb->fixed == WRITE_OPTIONS ? FORCED_OPTIONS
                                                                          : verb->fixed;
}

static void append_verb(struct commands *commands, const struct noun *noun,
                        const struct kind *kind, const struct verb *verb)
{
    size_t required_len = verb->run == run_add ? noun->required_len : 0;

    append(commands, &(struct command){
                         .words = verb_words(kind, verb),
                         .arguments = verb_arguments(noun, verb),
                         .summary = verb_summary(kind, verb),
                         .arguments_min = verb->arguments_min,
                         .arguments_max = verb->arguments_max + (unsigned)required_len,
                         .fixed = fixed_options(kind, verb),
                         .kind = kind,
                         .members = verb->has_members ? noun->members.items : NULL,
                         .members_len = verb->has_members ? noun->members.len : 0,
                         .required = noun->required,
                         .required_len = required_len,
                         .run = verb->run,
                     });
}

static void append_kind(struct commands *commands, struct noun *noun, const struct kind *kind)
{
    noun->schema = json_loads(kind->schema_text, 0, NULL);
    if (!noun->schema) {
        abort(); /* built in, and tested */
    }
    spec_options(&noun->members, noun->schema);
    find_required(noun);
    for (size_t i = 0; i < ARRAY_LEN(VERBS); i++) {
        if (VERBS[i].fits(kind)) {
            append_verb(commands, noun, kind, &VERBS[i]);
        }
    }
}

struct commands *commands_new(const struct kind *const *kinds, const struct command *fixed)
{
    struct commands *commands = xnew(struct commands);

    while (kinds[commands->nouns_len]) {
        commands->nouns_len++;
    }
    commands->nouns = xcalloc(commands->nouns_len + 1, sizeof *commands->nouns);
    for (size_t i = 0; i < commands->nouns_len; i++) {
        append_kind(commands, &commands->nouns[i], kinds[i]);
    }
    commands->made_len = commands->len;
    for (; fixed->words; fixed++) {
        append(commands, fixed);
    }
    return commands;
}

void commands_free(struct commands *commands)
{
    if (!commands) {
        return;
    }
    for (size_t i = 0; i < commands->made_len; i++) {
        free((char *)commands->items[i].words);
        free((char *)commands->items[i].arguments);
        free((char *)commands->items[i].summary);
    }
    for (size_t i = 0; i < commands->nouns_len; i++) {
        option_list_done(&commands->nouns[i].members);
        free(commands->nouns[i].required);
        json_decref(commands->nouns[i].schema);
    }
    free(commands->nouns);
    free(commands->items);
    free(commands);
}

size_t commands_len(const struct commands *commands)
{
    return commands->len;
}

const struct command *commands_at(const struct commands *commands, size_t i)
{
    return &commands->items[i];
}

const struct command *commands_find(const struct commands *commands, const char *words)
{
    for (size_t i = 0; i < commands->len; i++) {
        if (strcmp(commands->items[i].words, words) == 0) {
            return &commands->items[i];
        }
    }
    return NULL;
}

/* What follows `prefix` and a blank in `words`; NULL if it doesn't begin so. */
static const char *rest_of(const char *words, const char *prefix)
{
    size_t size = strlen(prefix);

    if (size == 0) {
        return words;
    }
    return strncmp(words, prefix, size) == 0 && words[size] == ' ' ? words + size + 1 : NULL;
}

int commands_is_prefix(const struct commands *commands, const char *words)
{
    for (size_t i = 0; i < commands->len; i++) {
        const char *all = commands->items[i].words;
        if (strcmp(all, words) == 0 || rest_of(all, words)) {
            return 1;
        }
    }
    return 0;
}

static int came_before(const struct commands *commands, const char *words, const char *next,
                       size_t end)
{
    size_t size = strcspn(next, " ");

    for (size_t i = 0; i < end; i++) {
        const char *rest = rest_of(commands->items[i].words, words);
        if (rest && strcspn(rest, " ") == size && strncmp(rest, next, size) == 0) {
            return 1;
        }
    }
    return 0;
}

void commands_next_words(const struct commands *commands, const char *words,
                         void (*each)(void *arg, const char *word), void *arg)
{
    for (size_t i = 0; i < commands->len; i++) {
        const char *rest = rest_of(commands->items[i].words, words);
        if (rest && !came_before(commands, words, rest, i)) {
            _cleanup_free_ char *word = xstrndup(rest, strcspn(rest, " "));
            each(arg, word);
        }
    }
}

const struct option *command_option(const struct command *command, size_t i)
{
    if (i < command->members_len) {
        return &command->members[i];
    }
    i -= command->members_len;
    for (const struct option *option = command->fixed; option && option->name; option++) {
        if (i-- == 0) {
            return option;
        }
    }
    for (const struct option *option = GLOBAL_OPTIONS; option->name; option++) {
        if (i-- == 0) {
            return option;
        }
    }
    return NULL;
}
