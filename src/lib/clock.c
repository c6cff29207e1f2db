#include "lib/clock.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static int64_t read_clock(clockid_t id)
{
    struct timespec now;

    clock_gettime(id, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

int64_t clock_now_usec(void)
{
    return read_clock(CLOCK_REALTIME);
}

int64_t clock_monotonic_usec(void)
{
    return read_clock(CLOCK_MONOTONIC);
}

const char *clock_format(int64_t usec, char text[CLOCK_TEXT_SIZE])
{
    struct tm tm;
    time_t seconds = (time_t)(usec / 1000000);

    gmtime_r(&seconds, &tm);
    size_t size = strftime(text, CLOCK_TEXT_SIZE, "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(text + size, CLOCK_TEXT_SIZE - size, ".%03dZ", (int)(usec / 1000 % 1000));
    return text;
}

int clock_parse(const char *text, int64_t *ret_usec)
{
    struct tm tm = {0};
    int64_t usec = 0;
    const char *rest = strptime(text, "%Y-%m-%dT%H:%M:%S", &tm);

    if (rest && *rest == '.') {
        int64_t unit = 100000;
        for (rest++; *rest >= '0' && *rest <= '9'; rest++, unit /= 10) {
            usec += (*rest - '0') * unit;
        }
    }
    if (!rest || strcmp(rest, "Z") != 0) {
        return -EINVAL;
    }
    *ret_usec = (int64_t)timegm(&tm) * 1000000 + usec;
    return 0;
}
