/* replay.c - runs a fuzz target over its corpus, without a fuzzing engine.
 *
 *     x-fuzz FILE|FOLDER...
 *
 * A target is one function, LLVMFuzzerTestOneInput. `./dev fuzz` links the same function with
 * libFuzzer; here every input that was ever interesting is tried once, as a unit test. At least
 * one input must be found, so that a lost corpus is noticed. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "lib/buf.h"
#include "lib/file.h"
#include "lib/mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static unsigned replay_file(const char *path)
{
    _cleanup_buf_ struct buf buf = BUF_INIT(16 << 20);

    if (file_read(path, &buf) < 0) {
        fprintf(stderr, "cannot read %s\n", path);
        exit(1);
    }
    /* A copy of the exact size, so that reading past the end is seen. */
    uint8_t *data = malloc(buf.size ? buf.size : 1);
    for (size_t i = 0; i < buf.size; i++) {
        data[i] = (uint8_t)buf.data[i];
    }
    LLVMFuzzerTestOneInput(data, buf.size);
    free(data);
    return 1;
}

static unsigned replay(const char *path)
{
    struct stat st;
    unsigned count = 0;

    if (stat(path, &st) < 0 || !S_ISDIR(st.st_mode)) {
        return replay_file(path);
    }
    DIR *folder = opendir(path);
    for (struct dirent *e; folder && (e = readdir(folder));) {
        if (e->d_name[0] != '.') {
            _cleanup_free_ char *file = xasprintf("%s/%s", path, e->d_name);
            count += replay(file);
        }
    }
    if (folder) {
        closedir(folder);
    }
    return count;
}

int main(int argc, char **argv)
{
    unsigned count = 0;

    for (int i = 1; i < argc; i++) {
        count += replay(argv[i]);
    }
    printf("%u inputs\n", count);
    return count > 0 ? 0 : 1;
}
