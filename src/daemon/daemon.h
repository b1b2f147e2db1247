/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Serves the VMs of a plan: the sockets of all of them are opened, the process gives up
 * what it needs no more, workers begin; a signal ends it.
 */
#pragma once

struct plan;

/*
 * In the main thread, once, while there is no other. Returns 0 after a signal to end,
 * else what it was that did not work, which has been logged. Lowers in @plan what the
 * process cannot have. @argc, @argv, as main() gets them, are where it comes from: that may be
 * read again.
 */
int daemon_run(struct plan *plan, int argc, char **argv);

/* Goes on in the place of another program, see supervisor_resume(). Fills @plan, which is empty. */
int daemon_resume(struct plan *plan, int argc, char **argv, int state);
