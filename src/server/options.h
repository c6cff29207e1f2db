/* options.h - cnsmod's command line: one command, and flags that override the configuration. */
#pragma once

#include "server/config.h"

enum command {
    COMMAND_RUN,
    COMMAND_INIT,
    COMMAND_RESTORE,
    COMMAND_CHECK,
    COMMAND_VERSION,
};

struct options {
    enum command command;
    struct config config;
    const char *restore_file;  /* of restore */
    const char *apply_file;    /* of init; NULL: none */
    const char *admin_name;    /* of init */
    const char *password_file; /* of init; NULL: a random password */
};

/* Parses argv, reads the configuration file, checks the whole. On a mistake it says so on standard
 * error and ends the program with status 2; --help ends it with 0. */
void options_parse(struct options *options, int argc, char **argv);
void options_done(struct options *options);
