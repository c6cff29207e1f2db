/* file.h - whole files, read with a limit and replaced atomically; and files that grow. */
#pragma once

#include <stddef.h>
#include <sys/types.h>

#include "lib/buf.h"

/* Appends the file's content to `buf`; -E2BIG past the buffer's limit, else a negative errno. */
int file_read(const char *path, struct buf *buf);

/* Writes a temporary file beside `path`, syncs it, renames it over `path` and syncs the folder:
 * after a crash there is the old content or the new, never a mixture. Nothing is left behind on
 * failure. `mode` is the new file's permission (secrets: 0600). */
int file_write_atomic(const char *path, const void *data, size_t size, mode_t mode);

/* Adds to the end of a file that has `at` bytes, and syncs it. -ESTALE if it has another length.
 * On failure it is cut to `at` bytes again, or, if even that fails, the failure is -EIO. */
int file_append(const char *path, size_t at, const void *data, size_t size);

/* Makes the folder and its missing parents with `mode`; one that exists is fine. */
int file_make_folder(const char *path, mode_t mode);
