/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The unix-socket backend, Firecracker's hybrid vsock: the guest's connection
 * to the host's port P goes to the unix socket "<path>_P"; a host program that
 * connects to <path> and says "CONNECT P\n" reaches the guest's port P.
 *
 * handshake.h keeps a client until its line is there, dial.h a connect that waits for room
 * in a backlog. The socket that comes out of either becomes a stream (uds_stream.h).
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "util/listener.h"
#include "util/loop.h"
#include "vsock/backend.h"

struct uds_config {
	const char *path;
	struct listener_access access;		/* of the listening socket */
	int fd;					/* one that we were given for it, or -1; taken over */
	const uint64_t *host_cids;		/* answered for besides CID 2; the host's programs
						   call from the first; borrowed */
	size_t n_host_cids;
	uint32_t max_handshakes;		/* one more, and the oldest is closed */
	uint32_t handshake_ms;			/* how long a client may take for its line */
	const char *tag;			/* for log lines; borrowed */
	struct loop *loop;			/* borrowed, as the mux is */
	struct mux *mux;
};

/* Binds and listens. 0, or as listener_open(). */
int uds_new(struct backend **out, const struct uds_config *config);
