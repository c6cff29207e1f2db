/* mem.h - memory: out of memory ends the process, locals clean up after themselves.
 *
 * A daemon that can't allocate can't keep its promises: it aborts, its supervisor restarts it and
 * reconciliation repairs. So the x-functions never return NULL, and every size that comes from
 * outside is limited before it gets here.
 *
 *     _cleanup_free_ char *path = xasprintf("%s/%s", dir, name);
 *     ...
 *     return TAKE(path);      // the caller owns it now
 */
#pragma once

#include <stddef.h>
#include <stdlib.h>
#include <unistd.h>

void *xcalloc(size_t len, size_t size) __attribute__((malloc, alloc_size(1, 2)));
void *xrealloc(void *p, size_t size) __attribute__((alloc_size(2)));
char *xstrdup(const char *s) __attribute__((malloc));
char *xstrndup(const char *s, size_t size) __attribute__((malloc));
char *xasprintf(const char *format, ...) __attribute__((malloc, format(printf, 1, 2)));

/* xnew(struct foo): one zeroed object. */
#define xnew(type) ((type *)xcalloc(1, sizeof(type)))

/* Moves a pointer out of a variable that would otherwise be cleaned up. */
#define TAKE(p)                                                                                   \
    __extension__({                                                                               \
        __typeof__(p) taken_ = (p);                                                               \
        (p) = NULL;                                                                               \
        taken_;                                                                                   \
    })

#define ARRAY_LEN(a) (sizeof(a) / sizeof *(a))

static inline void free_indirect_(void *p)
{
    free(*(void **)p);
}

static inline void close_indirect_(const int *fd)
{
    if (*fd >= 0) {
        close(*fd);
    }
}

#define _cleanup_(f) __attribute__((cleanup(f)))
#define _cleanup_free_ _cleanup_(free_indirect_)
#define _cleanup_close_ _cleanup_(close_indirect_)

/* Overwrites memory that held a secret; not optimised away. */
void mem_wipe(void *p, size_t size);
