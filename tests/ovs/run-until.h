/* run-until.h - a test waits on its loop for something to happen, but not for ever. */
#pragma once

#include <uv.h>

/* Runs the loop until the int is at least `wanted`; fails the test when that takes too long. */
void run_until(uv_loop_t *loop, const int *value, int wanted);
