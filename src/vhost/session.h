/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A vhost-user session: what one front-end has negotiated and set up, from its
 * first message until it leaves (vhost-user.rst).
 *
 * The attacker is the front-end: any message, in any order, at any time, and
 * then it vanishes. Handlers check what the table of requests cannot, before their
 * first effect, and say done or refused; session_input() alone answers: a reply
 * where the request has one, an acknowledgement where REPLY_ACK asks for it,
 * else a refused request ends the session. Requests that we do not know are
 * refused where an answer is wanted and otherwise ignored.
 *
 * A guest reset is RESET_DEVICE to some front-ends (QEMU from 10 on) and no message
 * to others. Then it shows in a ring that had run and is programmed anew from another
 * base than the one where it stopped; pausing and resuming (QEMU's stop and cont,
 * cloud-hypervisor's pause) come back to it. SET_OWNER said again begins anew.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vhost/gmem.h"
#include "vhost/vring.h"

enum { SESSION_E_AGAIN = 1, SESSION_E_END };

enum { SESSION_RINGS_MAX = 3 };

struct session;

/* What the device gives us; called only from session_input(). */
struct session_ops {
	/* A ring may run now or no more. @kick_fd: its kick descriptor, borrowed until the next
	 * call for the ring; -1: it has none, and is looked at without. */
	void (*ring_changed)(void *ctx, unsigned ring, int kick_fd);
	/* GET_VRING_BASE: nothing of the ring is published after the return. */
	void (*ring_stopped)(void *ctx, unsigned ring);
	/* The guest's driver starts over: connections are void. */
	void (*guest_reset)(void *ctx);
	/* Copies @len bytes from @offset of the configuration space; zeroes beyond it. */
	void (*read_config)(void *ctx, uint32_t offset, void *out, size_t len);
};

struct session_config {
	const struct session_ops *ops;
	void *ctx;
	const char *tag;			/* for log lines; borrowed */
	uint64_t features;			/* offered, without VHOST_USER_F_PROTOCOL_FEATURES */
	unsigned n_rings;
	uint32_t queue_size;			/* the largest that a ring may have */
	struct gmem_limits memory;		/* that the front-end may share */
	bool distrusts_eventfds;		/* looks before each write whether it would block */
};

/* Takes @sock over. 0 or -errno. */
int session_new(struct session **out, const struct session_config *config, int sock);
void session_free(struct session *s);

/*
 * Handles the messages that have arrived, a bounded number of them. 0: there
 * may be more; SESSION_E_AGAIN: wait for the socket; SESSION_E_END: free it.
 */
int session_input(struct session *s);

/* Always there, running or not. */
struct vring *session_vring(struct session *s, unsigned ring);

/* The queue if the ring runs, else NULL. Never blocks. */
struct virtq *session_running(struct session *s, unsigned ring);

/* A ring was started and enabled, but no memory was shared: none will run. */
bool session_lacks_memory(const struct session *s);

/* The front-end has used RESET_DEVICE: it says so when it resets the guest, so rings
 * that it merely stops are paused. */
bool session_says_reset(const struct session *s);

/* A write to one of its descriptors has blocked until the watchdog came. Whoever has that
 * done by it is to be rid of: nothing else keeps it from doing so again. */
bool session_has_held_up(const struct session *s);

/* Guest memory vanished (SIGBUS): nothing read since can be believed. */
bool session_memory_is_lost(const struct session *s);
