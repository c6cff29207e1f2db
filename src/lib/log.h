/* log.h - structured log lines on standard error.
 *
 *     log_warn("peer is silent", "node", id, "service", "vpn", NULL);
 *
 * prints   2026-01-02T03:04:05.678Z warn peer is silent node=Agent.1 service=vpn
 * (without the time when the journal reads us, which adds its own). Keys and values come in
 * pairs, ended by NULL; a NULL value prints as "-". Values are escaped, so a line is always one
 * line. Whoever handles an error logs it, once; libraries and pure code don't log. Secrets are
 * never passed here. */
#pragma once

enum log_level {
    LOG_DEBUG,
    LOG_INFO,
    LOG_WARN,
    LOG_ERROR,
};

/* Lines below the level are not written. The default is LOG_INFO. */
void log_set_level(enum log_level level);

/* "debug", "info", "warn", "error" to a level; -EINVAL for any other word. */
int log_level_parse(const char *name, enum log_level *ret_level);

void log_write(enum log_level level, const char *message, ...) __attribute__((sentinel));

#define log_debug(...) log_write(LOG_DEBUG, __VA_ARGS__)
#define log_info(...) log_write(LOG_INFO, __VA_ARGS__)
#define log_warn(...) log_write(LOG_WARN, __VA_ARGS__)
#define log_error(...) log_write(LOG_ERROR, __VA_ARGS__)
