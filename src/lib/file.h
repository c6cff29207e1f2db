/* file.h - whole files: read with a limit, replaced atomically. */
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

/* Makes the folder and its missing parents with `mode`; one that exists is fine. */
int file_make_folder(const char *path, mode_t mode);
