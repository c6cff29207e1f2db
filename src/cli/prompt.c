#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "cli/cli.h"
#include "lib/buf.h"
#include "lib/file.h"
#include "lib/mem.h"

enum {
    PASSWORD_MAX = 1024,
};

static void interrupted(int signal_number)
{
    (void)signal_number; /* that read() ends is all that is wanted */
}

/* A line without its newline; -EINTR after Ctrl-C, -ENODATA at the end of input. */
static int read_line(int fd, char *line, size_t size)
{
    size_t len = 0;

    for (;;) {
        ssize_t got = read(fd, line + len, 1);
        if (got <= 0) {
            return got < 0 ? -errno : -ENODATA;
        }
        if (line[len] == '\n') {
            line[len] = '\0';
            return 0;
        }
        if (++len == size) {
            return -E2BIG;
        }
    }
}

/* Asks on the terminal without echo. Ctrl-C ends the program, after the echo is back. */
static int read_hidden(int terminal, const char *question, char *line, size_t size)
{
    struct sigaction catch = {.sa_handler = interrupted}, before;
    struct termios shown, hidden;

    if (tcgetattr(terminal, &shown) < 0) {
        return -errno;
    }
    hidden = shown;
    hidden.c_lflag &= ~(tcflag_t)ECHO;
    sigaction(SIGINT, &catch, &before);
    tcsetattr(terminal, TCSAFLUSH, &hidden);
    dprintf(terminal, "%s", question);
    int rc = read_line(terminal, line, size);
    tcsetattr(terminal, TCSAFLUSH, &shown);
    dprintf(terminal, "\n");
    sigaction(SIGINT, &before, NULL);
    if (rc == -EINTR) {
        raise(SIGINT);
    }
    return rc;
}

static enum exit_code ask_terminal(int terminal, const char *question, int repeat,
                                   char **ret_password)
{
    char first[PASSWORD_MAX] = "", second[PASSWORD_MAX] = "";
    enum exit_code code = CLI_OK;
    int rc = read_hidden(terminal, question, first, sizeof first);

    if (rc == 0 && repeat) {
        rc = read_hidden(terminal, "The same again: ", second, sizeof second);
    }
    if (rc < 0) {
        code = cli_say(CLI_USAGE, "no password was typed");
    } else if (repeat && strcmp(first, second) != 0) {
        code = cli_say(CLI_USAGE, "the two passwords differ");
    } else {
        *ret_password = xstrdup(first);
    }
    mem_wipe(first, sizeof first);
    mem_wipe(second, sizeof second);
    return code;
}

static enum exit_code read_password_file(const char *path, char **ret_password)
{
    _cleanup_buf_ struct buf text = BUF_INIT(PASSWORD_MAX);
    int rc = file_read(strcmp(path, "-") == 0 ? "/dev/stdin" : path, &text);

    if (rc < 0) {
        return cli_say(CLI_USAGE, "cannot read --password-file %s: %s", path, strerror(-rc));
    }
    if (text.data) {
        *ret_password = xstrndup(text.data, strcspn(text.data, "\r\n"));
    } else {
        *ret_password = xstrdup("");
    }
    mem_wipe(text.data, text.size);
    return CLI_OK;
}

enum exit_code ask_password(const struct cli *cli, const char *question, int repeat,
                            char **ret_password)
{
    const char *file = args_value(&cli->args, "password-file", NULL);

    if (file) {
        return read_password_file(file, ret_password);
    }
    _cleanup_close_ int terminal =
        isatty(STDIN_FILENO) ? open("/dev/tty", O_RDWR | O_NOCTTY | O_CLOEXEC) : -1;
    if (terminal < 0) {
        return cli_say(CLI_USAGE, "no terminal to ask for the password: give --password-file");
    }
    return ask_terminal(terminal, question, repeat, ret_password);
}
