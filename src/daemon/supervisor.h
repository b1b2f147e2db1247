/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The supervisor: the process that the user started. It binds the sockets and removes their
 * names, keeps a duplicate of every descriptor on which a device's life depends, starts the
 * engine and, when that dies or hangs, another; and it connects where the engine, confined
 * as it is, cannot, or may not. It never reads a byte of a guest, a front-end or a host program.
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

/* The same for what another program has begun, which is in the file @state, taken over: the
 * plan is empty, and is filled from there. */
int supervisor_resume(const struct supervisor_config *config, int state);

/* In main(): was this program executed to do that? The file; -1: no. */
int supervisor_upgrade_state(int argc, char **argv);

/* Or is it asked whether it could? The exit status; -1: no. */
int supervisor_upgrade_check(int argc, char **argv);
