#include "services/totals.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "lib/fault.h"
#include "lib/file.h"
#include "lib/json.h"
#include "lib/log.h"

json_t *totals_read(const char *path)
{
    _cleanup_buf_ struct buf text = BUF_INIT(TOTALS_SIZE_MAX);
    struct error error = {0};
    json_t *totals = NULL;
    int rc = file_read(path, &text);

    if (rc == -ENOENT) {
        return NULL;
    }
    if (rc < 0 || json_parse(text.data ? text.data : "", text.size, &totals, &error) < 0) {
        log_warn("counters can't be read from their file", "file", path, "error",
                 rc < 0 ? strerror(-rc) : error.detail, NULL);
        return NULL;
    }
    return totals;
}

void totals_each(const json_t *totals, totals_fn *each, void *arg)
{
    uint64_t numbers[TOTALS_NUMBERS];
    const char *name;
    json_t *list;

    json_object_foreach ((json_t *)totals, name, list) {
        for (size_t i = 0; i < TOTALS_NUMBERS; i++) {
            json_int_t value = json_integer_value(json_array_get(list, i));
            numbers[i] = value > 0 ? (uint64_t)value : 0;
        }
        each(arg, name, numbers);
    }
}

int totals_write(struct buf *text, const char **comma, const char *name,
                 const uint64_t numbers[TOTALS_NUMBERS])
{
    int rc = buf_printf(text, "%s\n\"%s\":[%" PRIu64 ",%" PRIu64 ",%" PRIu64 ",%" PRIu64 "]",
                        *comma, name, numbers[0], numbers[1], numbers[2], numbers[3]);

    *comma = ",";
    return rc;
}

int totals_save(const char *path, const struct buf *text, int rc)
{
    rc = rc < 0 ? rc : file_write_atomic(path, text->data, text->size, 0600);
    if (rc < 0) {
        log_warn("counters can't be saved", "file", path, "error", strerror(-rc), NULL);
    }
    return rc;
}

int totals_remove(const char *path, struct error *error)
{
    int rc = access(path, F_OK) < 0 ? 0 : fault_point();

    if (rc == 0 && unlink(path) < 0 && errno != ENOENT) {
        rc = -errno;
    }
    return rc < 0 ? error_set(error, error_status(rc), NULL, "cannot remove %s: %s", path,
                              strerror(-rc))
                  : 0;
}
