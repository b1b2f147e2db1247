/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The supervisor: the process that the user started. It binds the sockets and removes their
 * names, keeps a duplicate of every descriptor on which a device's life depends, starts the
 * engine and, when that dies or hangs, another; and it connects where the engine, confined
 * as it is, cannot. It never reads a byte of a guest, a front-end or a host program.
 */
#pragma once

#include <signal.h>

#include <sys/types.h>

struct plan;

struct supervisor_config {
	struct plan *plan;			/* borrowed, and another one after a reload */
	const sigset_t *ends;			/* signals to end by, which are blocked */
	int argc;				/* to read the configuration again, as main() got it */
	char **argv;
	mode_t umask;
};

/*
 * Serves the VMs of the plan until one of the signals comes, or nothing is left to serve.
 * SIGHUP reads the file again, if there is one. In the main thread, once, while there is no
 * other. 0; otherwise what did not work, which has been logged: LISTENER_E_*, -errno.
 */
int supervisor_run(const struct supervisor_config *config);
