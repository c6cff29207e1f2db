/* clock.h - time as text (RFC 3339, UTC) and as microseconds. */
#pragma once

#include <stdint.h>

enum {
    CLOCK_TEXT_SIZE = 25, /* "2026-01-02T03:04:05.678Z" and NUL */
};

int64_t clock_now_usec(void);       /* wall clock, since 1970 */
int64_t clock_monotonic_usec(void); /* never jumps; for deadlines */

const char *clock_format(int64_t usec, char text[CLOCK_TEXT_SIZE]);

/* "2026-01-02T03:04:05Z", with or without a fraction; -EINVAL for any other form. */
int clock_parse(const char *text, int64_t *ret_usec);
