/* exit.h - what the program's exit code says; documented in cnsmo(1), and scripts rely on it. */
#pragma once

enum exit_code {
    CLI_OK = 0,
    CLI_REFUSED = 1,     /* the server refused or failed, or something here went wrong */
    CLI_USAGE = 2,       /* the command line is wrong; nothing was asked of the server */
    CLI_FORBIDDEN = 3,   /* not logged in, or not allowed */
    CLI_UNREACHABLE = 4, /* no answer, or one that can't be trusted */
    CLI_WAITED = 5,      /* done, but not in force everywhere within --wait */
};

/* The code for a status of HTTP. */
enum exit_code exit_code_of(int http_status);
