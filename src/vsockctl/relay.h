/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Standard input and output joined to a connection, each direction to its own end.
 *
 * A thread for each direction, and blocking calls: one direction that stands still never holds
 * the other up, nothing turns in circles, and our input and output keep their flags, which are
 * shared with the shell. The end of our input is a half-close; so is the peer's end, after
 * which our output is closed and our input goes on. What ends both is the peer's close.
 *
 * SOCK_SEQPACKET: what one read of our input gives is a message, at most 64 KiB; messages that
 * come are written one behind the other, or as they are if our output has messages, too.
 */
#pragma once

#include <stdbool.h>

struct relay {
	int in, out;				/* in: -1: nothing is sent */
	int sock;				/* connected, blocking */
	bool is_seqpacket;
	bool keeps_out;				/* others will write there, too */
};

enum {
	RELAY_E_LOST = 1,			/* something has not arrived */
	RELAY_E_OUTPUT,				/* our output takes no more */
};

/* Until all is over. 0, or one of these, and it has been said why. The socket stays open; a
 * thread may still read our input if it fails, so the process has to end then. */
int relay_run(const struct relay *r);
