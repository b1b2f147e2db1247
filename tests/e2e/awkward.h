/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Descriptors to hand to the daemon, whose kind makes a system call on them take as
 * long as somebody else likes.
 */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

/*
 * A TCP socket whose last close takes LINGERING_S: it has bytes that its peer, over
 * loopback, does not take. Closing the peer ends that.
 */
enum { LINGERING_S = 3 };

struct lingering {
	int fd, peer;
};

struct lingering lingering_new(void);

/*
 * A file whose server, a child process, answers until it is opened and then never again:
 * a stat that asks it, a poll or a close hang for ever, also from SIGKILL. silent_file_end()
 * ends the server, and with it all that hangs. Nothing may be forked in between: exec
 * closes.
 */
struct silent_file {
	int fd;
	pid_t server;
};

/* NULL, or why there can be none: it needs a mount of FUSE, in a namespace of its own. */
const char *silent_file_new(struct silent_file *f);
void silent_file_end(struct silent_file *f);	/* f->fd too */

/* Sends @len bytes with the descriptor. False: the kernel, or the receiver, refuses. */
bool send_with_fd(int sock, const void *bytes, size_t len, int fd);

/* From here on, in this process and its children, no socket can refuse descriptors:
 * kernels before Linux 6.16. */
void take_away_passrights(void);
