/* nearest.h - what a mistyped word was meant to be. */
#pragma once

#include <stddef.h>

/* How many letters must be added, taken away, changed or swapped with their neighbour to make `b`
 * of `a` (optimal string alignment). Words longer than 63 bytes are as far as can be. */
unsigned word_distance(const char *a, const char *b);

/* Remembers the best candidate while they are shown to it one by one; `best` is "" as long as none
 * was near enough to be meant: about a third of the letters may be wrong, or the end missing. */
struct nearest {
    const char *word;
    char best[64];
    unsigned distance;
};

void nearest_try(struct nearest *nearest, const char *candidate);
