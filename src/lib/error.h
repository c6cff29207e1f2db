/* error.h - why something failed, in words for the person who asked.
 *
 * Functions return 0 or a negative errno. Where a user will read the failure the last parameter
 * is a caller-owned `struct error *`; the one who detects the failure fills it with error_set(),
 * which also gives the errno to return:
 *
 *     return error_set(error, 400, "/spec/address", "%s is outside the overlay %s", a, b);
 *
 * `error` may be NULL when the caller doesn't want the words. On success it is left alone. At
 * the API's border it becomes an RFC 9457 problem document. */
#pragma once

struct error {
    int status;        /* as in HTTP (RFC 9110 section 15): 400, 404, 409, 503 ... */
    char pointer[256]; /* JSON pointer (RFC 6901) to the offending field; "" if none */
    char detail[512];  /* one sentence, no newline; cut when longer */
};

/* Fills *error and returns the negative errno that stands for `status`. `pointer` may be NULL. */
int error_set(struct error *error, int status, const char *pointer, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* Puts `prefix` before the pointer that is there, for a validator of a nested value. */
void error_prefix(struct error *error, const char *prefix);

/* The HTTP status that stands for a negative errno; 500 for one we don't expect. */
int error_status(int errno_negative);
