/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The sandbox: what a worker may still do when somebody has taken it over.
 *
 * The daemon reads bytes of guests, front-ends and host programs. Should one of
 * them find the hole that everything else here is meant to prevent, it finds
 * itself in a process that has its descriptors and no more: one that cannot open
 * a file, run a program, talk to a network, signal or trace another process, or
 * make memory executable, and that reaches no unix socket outside the folders of
 * the sockets it was started with. Under a supervisor it cannot remove a name there, either.
 *
 * It is made of pieces that do not rely on one another, entered in this order
 * because each takes away what the one before it needs:
 *
 *   network        a namespace without any, unless AF_VSOCK is needed: it has no
 *                  abstract unix sockets of others; named ones are not part of it
 *   file tree      a mount namespace whose root holds only those folders: what
 *                  has no name cannot be connected to. As root, or else, as the
 *                  network, in a user namespace of its own
 *   user, group    if asked for
 *   capabilities   none left, in no set, and no_new_privs: none to be had again
 *   dumpable       off: no core, no tracing by the same user
 *   landlock       in those folders names may be removed (ours, at the end), and
 *                  connected to; no TCP, from Linux 6.12 on no abstract unix
 *                  sockets and no signals out
 *   seccomp        the system calls of the workers, with their arguments
 *
 * What the kernel lacks, or a container forbids, is left out with one warning,
 * or refused (is_strict). What it does not promise: to keep somebody who has
 * taken over the process from the guests and host connections in it.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct sandbox_config {
	bool is_strict;				/* a piece that is not to be had is an error */
	bool only_reports;			/* seccomp alone, which logs instead of refusing */
	bool has_vsock;				/* AF_VSOCK sockets are made later on */
	bool has_names;				/* of sockets, which we remove at the end */
	bool dies_with_parent;			/* which also does what folders out of reach are
						   needed for */
	const char *const *sockets;		/* paths: their folders stay in reach */
	size_t n_sockets;
	uid_t uid;				/* to become; -1: stay */
	gid_t gid;
};

/*
 * Enters it, for good: before the first thread is made, after the last file is
 * opened and the last socket bound. 0, or -errno, which has been logged.
 */
int sandbox_enter(const struct sandbox_config *config);

/* From now on the process is ended when the one that has started it is. 0, or -errno, which
 * has been logged. A change of user undoes it. */
int sandbox_die_with_parent(void);

/*
 * For the process that starts the one above: as root it gives up the capabilities that are
 * not needed for that, or for sockets in others' folders; and nobody that it starts has more.
 * What is not to be had is a warning, or with @is_strict an error: 0, or -errno.
 */
int sandbox_enter_supervisor(bool is_strict);

/* May we become them later? Asked before anything is made for them. 0, or -errno,
 * which has been logged. */
int sandbox_check_user(uid_t uid, gid_t gid);

/* Changes only user and group (-1: stay), and drops supplementary groups. 0, or
 * -errno, which has been logged. */
int sandbox_change_user(uid_t uid, gid_t gid);
