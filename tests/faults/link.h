/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A connection through a daemon in which something fails: patterned bytes both
 * ways between two ends, each a guest's socket or a host's descriptor. It is
 * done when all have arrived, or when both ends have seen it end; what arrived
 * before is always right. Whoever waits longer than the deadline has found a
 * connection that is stuck.
 */
#pragma once

#include "e2e/sibs.h"

enum { LINK_BYTES = 400 * 1024 };		/* more than sockets and buffers hold */

struct link_end {
	struct sock *sock;			/* or: */
	int fd;
	uint64_t sent, received;
	bool has_ended;				/* end, reset, or writing fails */
};

enum link_kind { LINK_GUEST_TO_HOST, LINK_HOST_TO_GUEST, LINK_SIBLINGS };

struct link {
	enum link_kind kind;
	struct sib *from, *to;			/* ->to: of siblings only */
	struct link_end ends[2];		/* [0]: of the guest ->from */
	uint32_t port;				/* another one for each attempt */
	unsigned n_resets;			/* and refusals */
};

/* All guests that are up take what came. */
void link_turn(void);

/* Connects, more than once if need be. False: it cannot be had. */
bool link_open(struct link *l);
/* Moves the bytes of all of them at once. A host program does not read before
 * its guest has sent what it can. */
void link_run(struct link *links, unsigned n);
/* Both ends close, or see that it is over. */
void link_close(struct link *l);
/* The guest ->from is gone, with its socket: the other end sees an end. */
void link_wait_end(struct link *l);
