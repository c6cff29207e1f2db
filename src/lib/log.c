#include "lib/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "lib/buf.h"
#include "lib/mem.h"

static const char *const NAMES[] = {"debug", "info", "warn", "error"};
static enum log_level threshold = LOG_INFO;

void log_set_level(enum log_level level)
{
    threshold = level;
}

int log_level_parse(const char *name, enum log_level *ret_level)
{
    for (size_t i = 0; i < ARRAY_LEN(NAMES); i++) {
        if (strcmp(name, NAMES[i]) == 0) {
            *ret_level = (enum log_level)i;
            return 0;
        }
    }
    return -EINVAL;
}

static void append_value(struct buf *line, const char *value)
{
    int quoted = value[0] == '\0' || value[strcspn(value, " =\"\\")] != '\0';

    if (quoted) {
        buf_append(line, "\"", 1);
    }
    for (const char *c = value; *c; c++) {
        if (*c == '"' || *c == '\\') {
            buf_printf(line, "\\%c", *c);
        } else if ((unsigned char)*c < 0x20 || *c == 0x7f) {
            buf_printf(line, "\\x%02x", (unsigned char)*c);
        } else {
            buf_append(line, c, 1);
        }
    }
    if (quoted) {
        buf_append(line, "\"", 1);
    }
}

static void append_time(struct buf *line)
{
    struct timespec now;
    struct tm tm;
    char text[32];

    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &tm);
    strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &tm);
    buf_printf(line, "%s.%03ldZ ", text, now.tv_nsec / 1000000);
}

void log_write(enum log_level level, const char *message, ...)
{
    _cleanup_buf_ struct buf line = BUF_INIT(16384);
    va_list ap;
    const char *key;

    if (level < threshold) {
        return;
    }
    if (!getenv("JOURNAL_STREAM")) {
        append_time(&line);
    }
    buf_printf(&line, "%s %s", NAMES[level], message);
    va_start(ap, message);
    while ((key = va_arg(ap, const char *))) {
        const char *value = va_arg(ap, const char *);
        buf_printf(&line, " %s=", key);
        append_value(&line, value ? value : "-");
    }
    va_end(ap);
    buf_append(&line, "\n", 1);
    /* One write, so that lines of several threads or children don't mix; nowhere to report to. */
    if (write(STDERR_FILENO, line.data, line.size) < 0) {
        return;
    }
}
