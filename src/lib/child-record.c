#include "lib/child-record.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <unistd.h>

#include "lib/file.h"
#include "lib/json.h"
#include "lib/mem.h"

enum {
    TEXTS_MAX = 1 << 20,   /* bytes of a process's arguments or environment */
    STAT_START_FIELD = 22, /* proc(5): starttime, in ticks since boot */
};

/* Start time of a living process, or 0. */
static unsigned long long start_time(pid_t pid)
{
    _cleanup_buf_ struct buf stat = BUF_INIT(4096);
    char path[64];

    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    if (file_read(path, &stat) < 0 || stat.size == 0) {
        return 0;
    }
    /* The name in brackets may hold anything, so count from the last bracket: field 3 follows. */
    char *field = strrchr(stat.data, ')');
    if (!field || field[1] == '\0' || field[2] == 'Z' || field[2] == 'X') {
        return 0;
    }
    for (int i = 2; field && i < STAT_START_FIELD; i++) {
        field = strchr(field + 1, ' ');
    }
    return field ? strtoull(field + 1, NULL, 10) : 0;
}

/* The program's path; after an upgrade of its package it's still the one that was started. */
static char *executable(pid_t pid)
{
    static const char DELETED[] = " (deleted)";
    char path[64], target[4096];

    snprintf(path, sizeof path, "/proc/%d/exe", (int)pid);
    ssize_t size = readlink(path, target, sizeof target - 1);
    if (size < 0) {
        return xstrdup("");
    }
    target[size] = '\0';
    size_t len = (size_t)size, tail = sizeof DELETED - 1;
    if (len > tail && strcmp(target + len - tail, DELETED) == 0) {
        target[len - tail] = '\0';
    }
    return xstrdup(target);
}

json_t *child_record(pid_t pid, json_t *arguments)
{
    _cleanup_free_ char *exe = executable(pid);

    return json_pack("{s:i, s:I, s:s, s:o}", "pid", (int)pid, "start", (json_int_t)start_time(pid),
                     "exe", exe, "argv", arguments);
}

json_t *child_arguments(const char *const *argv)
{
    json_t *arguments = json_array();

    for (size_t i = 0; argv[i]; i++) {
        json_array_append_new(arguments, json_string(argv[i]));
    }
    return arguments;
}

/* "environ" or "cmdline" of a process as an array; empty if it can't be read. */
static json_t *texts_of(pid_t pid, const char *what)
{
    _cleanup_buf_ struct buf texts = BUF_INIT(TEXTS_MAX);
    json_t *array = json_array();
    char path[64];

    snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, what);
    if (file_read(path, &texts) < 0) {
        return array;
    }
    for (size_t at = 0; at < texts.size; at += strlen(texts.data + at) + 1) {
        json_array_append_new(array, json_string(texts.data + at));
    }
    return array;
}

static int has_mark(pid_t pid, const char *mark)
{
    if (pid <= 1 || getsid(pid) != pid) {
        return 0; /* a child leads its session; its own children have the mark too */
    }
    json_t *environment = texts_of(pid, "environ");
    int found = json_array_has(environment, mark);
    json_decref(environment);
    return found;
}

json_t *child_search(const char *mark)
{
    DIR *processes = opendir("/proc");
    json_t *record = NULL;

    for (struct dirent *entry = processes ? readdir(processes) : NULL; entry && !record;
         entry = readdir(processes)) {
        pid_t pid = (pid_t)atoi(entry->d_name);
        if (has_mark(pid, mark)) {
            record = child_record(pid, texts_of(pid, "cmdline"));
        }
    }
    if (processes) {
        closedir(processes);
    }
    return record;
}

int child_open(const json_t *record)
{
    pid_t pid = (pid_t)json_get_integer(record, "pid", 0);
    json_int_t start = json_get_integer(record, "start", 0);

    if (pid <= 1 || start == 0) {
        return -ESRCH;
    }
    int pidfd = pidfd_open(pid, 0);
    if (pidfd < 0) {
        return -ESRCH;
    }
    /* Looked at after the pidfd was opened: so they speak of the same process. */
    _cleanup_free_ char *exe = executable(pid);
    if ((json_int_t)start_time(pid) != start ||
        strcmp(exe, json_get_string(record, "exe", "")) != 0) {
        close(pidfd);
        return -ESRCH;
    }
    return pidfd;
}

int child_has_arguments(const json_t *record, const char *const *argv)
{
    const json_t *arguments = json_object_get(record, "argv");
    size_t len = 0;

    while (argv[len]) {
        const char *argument = json_string_value(json_array_get(arguments, len));
        if (!argument || strcmp(argument, argv[len]) != 0) {
            return 0;
        }
        len++;
    }
    return json_array_size(arguments) == len;
}
