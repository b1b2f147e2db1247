/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The unix-socket backend, Firecracker's hybrid vsock: the guest's connection
 * to the host's port P goes to the unix socket "<path>_P"; a host program that
 * connects to <path> and says "CONNECT P\n" reaches the guest's port P. Sockets of
 * SOCK_SEQPACKET connect to "<path>_seqpacket", and their first message is that line.
 *
 * Where this process cannot see or use the name "<path>_P", or may not try, somebody else is
 * asked to connect, if there is one who may see more.
 *
 * handshake.h keeps a client until its line is there, dial.h a connect that waits for room
 * in a backlog. The socket that comes out of either becomes a stream (uds_stream.h).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "util/listener.h"
#include "util/loop.h"
#include "vsock/backend.h"

struct uds_config {
	const char *path;			/* copied */
	struct listener_access access;		/* of the listening socket */
	int fd;					/* one that we were given for it, or -1; taken over */
	int seqpacket_fd;			/* the other socket; -1: there is none; taken over */
	const uint64_t *host_cids;		/* answered for besides CID 2; the host's programs
						   call from the first; copied */
	size_t n_host_cids;
	/*
	 * Asks somebody who sees more of the file system, or may do more, to connect to
	 * "<path>_@port", where this process cannot for want of a name or a right. 0: then
	 * uds_answer() tells the outcome, if any, from the event loop; @id is never 0. Else (-EAGAIN: too
	 * many) what this process has seen is what the guest gets. NULL: there is nobody.
	 */
	int (*ask)(void *ctx, enum vsock_type type, uint32_t port, uint32_t id);
	void *ask_ctx;
	bool only_asks;				/* whatever this process sees: somebody else has
						   chosen the path, and could lead it anywhere */
	bool is_held;				/* nothing happens before mux_resume() */
	uint32_t max_handshakes;		/* one more, and the oldest is closed */
	uint32_t handshake_ms;			/* how long a client may take for its line */
	const char *tag;			/* for log lines; borrowed */
	struct loop *loop;			/* borrowed, as the mux is */
	struct mux *mux;
};

/*
 * What was asked as @id has an outcome, as unix_connect()'s: 0 with @fd, connected and
 * taken over; else -1. -EAGAIN: none, too many ask; it is asked again. Nobody may be waiting
 * for it any more. In the backend's thread.
 */
void uds_answer(struct backend *b, uint32_t id, int result, int fd);

/* Binds and listens. 0, or as listener_open(). */
int uds_new(struct backend **out, const struct uds_config *config);

struct uds_change {
	const char *path;			/* copied */
	int fd;					/* a socket that listens there, taken over in any
						   case; -1: the one that listens stays */
	int seqpacket_fd;			/* likewise */
	const uint64_t *host_cids;		/* copied */
	size_t n_host_cids;
	uint32_t max_handshakes, handshake_ms;
	bool only_asks;
};

/*
 * From now on the guest's connects go to "<path>_P", and host programs come to the other
 * socket. Connections that are there stay, and so do clients that have connected to the
 * old socket: whoever exchanges it has removed its name before. 0; -errno: nothing has
 * changed.
 */
int uds_change(struct backend *b, const struct uds_change *change);
