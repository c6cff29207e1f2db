#include "cli/nearest.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

enum {
    WORD_MAX = 63,
};

static unsigned least(unsigned a, unsigned b, unsigned c)
{
    unsigned ab = a < b ? a : b;
    return ab < c ? ab : c;
}

unsigned word_distance(const char *a, const char *b)
{
    unsigned rows[3][WORD_MAX + 1]; /* the last two rows of the table and the one in the making */
    unsigned *before = rows[0], *above = rows[1], *row = rows[2];
    size_t a_len = strlen(a), b_len = strlen(b);

    if (a_len > WORD_MAX || b_len > WORD_MAX) {
        return UINT_MAX;
    }
    for (unsigned j = 0; j <= b_len; j++) {
        above[j] = before[j] = j;
    }
    for (unsigned i = 1; i <= a_len; i++) {
        row[0] = i;
        for (unsigned j = 1; j <= b_len; j++) {
            unsigned change = above[j - 1] + (a[i - 1] != b[j - 1]);
            row[j] = least(above[j] + 1, row[j - 1] + 1, change);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
                before[j - 2] + 1 < row[j]) {
                row[j] = before[j - 2] + 1;
            }
        }
        unsigned *oldest = before;
        before = above;
        above = row;
        row = oldest;
    }
    return above[b_len];
}

static unsigned allowed_for(size_t len)
{
    if (len < 2) {
        return 0;
    }
    return len < 4 ? 1 : len < 6 ? 2 : (unsigned)len / 3;
}

void nearest_try(struct nearest *nearest, const char *candidate)
{
    unsigned distance = word_distance(nearest->word, candidate);
    size_t len = strlen(nearest->word);

    if (len >= 2 && distance > 1 && strncmp(candidate, nearest->word, len) == 0) {
        distance = 1; /* cut short: "sett" for "settings" */
    }
    if (distance <= allowed_for(len) && (!nearest->best[0] || distance < nearest->distance)) {
        snprintf(nearest->best, sizeof nearest->best, "%s", candidate);
        nearest->distance = distance;
    }
}
