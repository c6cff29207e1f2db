#include "lib/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

static const struct {
    int status;
    int code;
} MAP[] = {
    {400, EINVAL},       {401, EPERM},  {403, EACCES},    {404, ENOENT}, {408, ETIMEDOUT},
    {409, EEXIST},       {410, ESTALE}, {412, ECANCELED}, {413, E2BIG},  {429, EAGAIN},
    {503, EHOSTUNREACH}, {507, ENOSPC}, {500, EIO},
};

static int status_errno(int status)
{
    for (size_t i = 0; i < sizeof MAP / sizeof *MAP; i++) {
        if (MAP[i].status == status) {
            return -MAP[i].code;
        }
    }
    return -EIO;
}

int error_status(int errno_negative)
{
    for (size_t i = 0; i < sizeof MAP / sizeof *MAP; i++) {
        if (MAP[i].code == -errno_negative) {
            return MAP[i].status;
        }
    }
    return 500;
}

int error_set(struct error *error, int status, const char *pointer, const char *format, ...)
{
    if (error) {
        va_list ap;
        va_start(ap, format);
        vsnprintf(error->detail, sizeof error->detail, format, ap);
        va_end(ap);
        error->status = status;
        snprintf(error->pointer, sizeof error->pointer, "%s", pointer ? pointer : "");
    }
    return status_errno(status);
}

void error_prefix(struct error *error, const char *prefix)
{
    char joined[sizeof error->pointer];

    if (!error) {
        return;
    }
    if (snprintf(joined, sizeof joined, "%s%s", prefix, error->pointer) >= (int)sizeof joined) {
        joined[sizeof joined - 1] = '\0';
    }
    memcpy(error->pointer, joined, sizeof joined);
}
