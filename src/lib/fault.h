/* fault.h - makes the n-th operation on the host fail, for the tests that prove convergence.
 *
 * Every helper that changes the host (netlink, spawn, nft, wg, file writes of the agent) begins
 * with   int rc = fault_point(); if (rc < 0) return rc;
 * In production nothing is armed and the call is one compare. */
#pragma once

/* -EIO when the armed operation is reached, else 0. */
int fault_point(void);

/* The n-th (from 1) fault_point() from now fails, once; 0 disarms. */
void fault_arm(unsigned n);

/* At the n-th fault_point() from now the process ends at once, with FAULT_KILLED as its status; as
 * if it had been killed between two operations. 0 disarms. */
void fault_arm_kill(unsigned n);

enum {
    FAULT_KILLED = 99,
};

/* How many fault points were passed since fault_arm(). */
unsigned fault_count(void);
