/* schema-value.h - the part of schema.h that looks at one scalar: types, patterns, formats. */
#pragma once

#include <jansson.h>
#include <stddef.h>

enum {
    SCHEMA_NAME_MAX = 63, /* bytes in the name of a free member (a label, say) */
};

int schema_type_matches(const char *type, const json_t *value);
int schema_format_is_known(const char *format);

/* 1 yes, 0 no, -EINVAL: not a valid POSIX extended regular expression. Compiled ones are kept:
 * there are as many as our schemas have. */
int schema_pattern_matches(const char *pattern, const char *text);

/* True when the string, number or boolean breaks a rule; `problem` then ends the sentence that
 * begins with its name: "must be at most 65535". */
int schema_scalar_problem(const json_t *schema, const json_t *value, char *problem, size_t size);
