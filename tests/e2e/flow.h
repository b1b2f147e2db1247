/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Many patterned streams at once: the guest's ends, driven by the test's own
 * thread, while threads or the same thread play the host programs.
 */
#pragma once

#include "support/sock.h"

struct flow {
	struct sock *sock;
	uint64_t to_send, to_recv;		/* bytes */
	uint32_t send_seed, recv_seed;
	bool may_be_stuck;			/* nobody waits for its end */
	uint64_t sent, received;
	int64_t done_ms;			/* when the last byte moved */
};

/* What comes from now on is checked and counted, whoever turns the driver. */
void flow_attach(struct flow *f);

/* Moves all bytes of all flows, in turns; checks each. Dies when nothing moved
 * for DEADLINE_MS. A flow that was not done can go on in another run. */
void flow_run(struct driver *d, struct flow *flows, unsigned n);
