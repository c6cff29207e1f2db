#include "lib/mem.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void *or_abort(void *p)
{
    if (!p) {
        fputs("out of memory\n", stderr);
        abort();
    }
    return p;
}

void *xcalloc(size_t len, size_t size)
{
    return or_abort(calloc(len ? len : 1, size ? size : 1));
}

void *xrealloc(void *p, size_t size)
{
    return or_abort(realloc(p, size ? size : 1));
}

char *xstrdup(const char *s)
{
    return or_abort(strdup(s));
}

char *xstrndup(const char *s, size_t size)
{
    return or_abort(strndup(s, size));
}

char *xasprintf(const char *format, ...)
{
    char *s;
    va_list ap;

    va_start(ap, format);
    if (vasprintf(&s, format, ap) < 0) {
        s = NULL;
    }
    va_end(ap);
    return or_abort(s);
}

void mem_wipe(void *p, size_t size)
{
    if (p) {
        explicit_bzero(p, size);
    }
}
