/* fixed.c - the commands that aren't made from a kind. */
#include "cli/cli.h"

static const struct option LOGIN_OPTIONS[] = {
    {"user", 'u', TAKES_VALUE, "NAME", "Who logs in (default: CNSMO_USER, then admin)."},
    {"password-file", 0, TAKES_VALUE, "FILE",
     "File whose first line is the password; - reads standard input."},
    {"fingerprint", 0, TAKES_VALUE, "sha256:HEX",
     "SHA-256 of the server's root certificate. It is fetched from the server, checked and "
     "stored."},
    {0},
};
static const struct option PASSWORD_OPTIONS[] = {
    {"password-file", 0, TAKES_VALUE, "FILE",
     "File whose first line is the new password; - reads standard input."},
    {0},
};
static const struct option STATUS_OPTIONS[] = {
    {"watch", 'w', TAKES_NOTHING, NULL, "Shows it again every two seconds until Ctrl-C."},
    {0},
};
static const struct option EVENTS_OPTIONS[] = {
    {"limit", 'n', TAKES_VALUE, "NUMBER", "The newest so many (default: 50)."},
    {"follow", 'f', TAKES_NOTHING, NULL, "Goes on with what happens from now, until Ctrl-C."},
    {0},
};
static const struct option FLOWS_OPTIONS[] = {
    {"node", 0, TAKES_VALUE, "NODE", "The node whose bridge is read."},
    {0},
};
static const struct option APPLY_OPTIONS[] = {
    {"file", 'f', TAKES_VALUE, "FILE",
     "The document, as export prints it; - reads standard input."},
    {"wait", 0, TAKES_OPTIONAL, "SECONDS",
     "Waits after each object until every node that it concerns has applied it (default: 10 s)."},
    {"dry-run", 0, TAKES_NOTHING, NULL, "Shows what would change on which node; changes nothing."},
    {0},
};

const struct command FIXED_COMMANDS[] = {
    {"login", "[URL]",
     "Logs in and stores the session. The server is trusted by --ca FILE or --fingerprint "
     "sha256:HEX, else by the system's authorities. The password is asked for without echo unless "
     "CNSMO_PASSWORD or --password-file gives it.",
     0, 1, LOGIN_OPTIONS, .run = run_login},
    {"logout", "", "Ends the stored session, here and on the server.", 0, 0, .run = run_logout},
    {"status", "", "Shows the server, every node with its services, and what needs attention.", 0,
     0, STATUS_OPTIONS, .run = run_status},
    {"events", "", "Shows who did what, and what happened by itself.", 0, 0, EVENTS_OPTIONS,
     .run = run_events},
    {"export", "", "Prints settings, users and objects as one JSON document for apply.", 0, 0,
     .run = run_export},
    {"apply", "-f FILE",
     "Creates or changes the objects of a document. Members that it doesn't name stay; nothing is "
     "deleted.",
     0, 0, APPLY_OPTIONS, .run = run_apply},
    {"backup", "FILE", "Fetches a copy of the server's database; - writes it to standard output.",
     1, 1, .run = run_backup},
    {"authority list", "",
     "Lists the certificate authorities: each generation, and who holds certificates of it.", 0, 0,
     .run = run_authority_list},
    {"authority rollover", "server|agent|client",
     "Lets a new generation of an authority sign from now on. Agents renew by themselves.", 1, 1,
     .run = run_authority_rollover},
    {"sdn flows", "--node NODE",
     "Lists the flows that are in a node's bridge now, as its switch tells them, in words.", 0, 0,
     FLOWS_OPTIONS, .run = run_flows},
    {"sdn watch", "FILTER",
     "Prints what a filter has counted on all its nodes, and again whenever that rises, until "
     "Ctrl-C.",
     1, 1, .run = run_watch},
    {"user passwd", "[ID]", "Sets a user's password.", 0, 1, PASSWORD_OPTIONS, .run = run_passwd},
    {"settings show", "", "Shows all settings.", 0, 0, .run = run_settings},
    {"version", "", "Prints the version of this program.", 0, 0, .run = run_version},
    {"completion", "bash|zsh", "Prints a script that completes commands and options.", 1, 1,
     .run = run_completion},
    {"help", "[COMMAND...]", "Explains a command.", 0, ARGUMENTS_MANY, .run = run_help},
    {0},
};
