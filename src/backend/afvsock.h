/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The AF_VSOCK backend: the guest's connects, to whatever CID, go to the same
 * port of one other CID, by the kernel's own vsock; programs there reach the
 * guest by the ports that we listen on for it.
 *
 * Connects never block. A connection that is closed early cannot be reset:
 * AF_VSOCK has no such close, so the peer reads an end and its writes fail.
 *
 * The attackers are programs at other CIDs, other guests of this machine among
 * them. A listening port takes connections to any of our CIDs, so peers are let
 * in by theirs: the one that the guest's connects go to, and this machine.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "util/mailbox.h"
#include "vsock/backend.h"

struct afvsock_config {
	uint32_t cid;				/* where the guest's connects go */
	const uint32_t *listen;			/* ports; borrowed until it is made */
	size_t n_listen;
	const uint32_t *listen_seqpacket;	/* of SOCK_SEQPACKET, others than those: the kernel
						   gives a port to one socket, of one type */
	size_t n_listen_seqpacket;
	bool listen_any;			/* let every CID in */
	const char *tag;			/* for log lines; borrowed */
	struct loop *loop;			/* borrowed, as the mux is */
	struct mux *mux;
	struct mailbox *mailbox;		/* of the same thread */
	bool is_held;				/* nothing happens before mux_resume(), and ports
						   that another process has are expected of it */
};

/* Learns which CID is our own, for those that are made later on: before the sandbox closes, and
 * before there is another thread. */
void afvsock_init(void);

/* Listens. 0, or -errno: what it could not do is in the log. */
int afvsock_new(struct backend **out, const struct afvsock_config *config);
