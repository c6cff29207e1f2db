/* bridges.h - names of bridges, and of their ports, that containers and virtual machines live
 * behind: their addresses are the same on many machines and lead nowhere from outside. The agent's
 * half. */
#pragma once

/* What the names begin with, ended by NULL. */
extern const char *const BRIDGES[];

int bridges_has(const char *name);
