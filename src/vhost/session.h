/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A vhost-user session: what one front-end has negotiated and set up, from its
 * first message until it leaves (vhost-user.rst).
 *
 * The attacker is the front-end: any message, in any order, at any time, and
 * then it vanishes. Before its first effect a handler checks what the table of requests
 * cannot, and says done or refused. session_input() alone answers: by a reply where the
 * request has one, by an acknowledgement where REPLY_ACK asks for it. Where no answer
 * is wanted, a refused request ends the session, but an unknown one is ignored.
 *
 * Some front-ends say RESET_DEVICE when the guest is reset (QEMU from 10 on), others
 * nothing. Then it shows in a ring that has run and is set up again from another base
 * than the one where it stopped; after a pause (QEMU's stop and cont, cloud-hypervisor's
 * pause) it is the same. A second SET_OWNER begins a new session.
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
	/* A ring may have begun to run, or ceased. @kick_fd: its kick descriptor, borrowed
	 * until the next call for the ring; -1: it has none, and has to be polled. */
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
	uint64_t features;			/* offered, but for F_PROTOCOL_FEATURES */
	unsigned n_rings;
	uint32_t queue_size;			/* the largest that a ring may have */
	struct gmem_limits memory;		/* that the front-end may share */
	bool distrusts_eventfds;		/* poll before each write to one */
};

/* Takes @sock over, also on failure. 0 or -ENOMEM. */
int session_new(struct session **out, const struct session_config *config, int sock);
void session_free(struct session *s);

/*
 * Handles the messages that have arrived, a bounded number of them. 0: there
 * may be more; SESSION_E_AGAIN: wait for the socket; SESSION_E_END: free it.
 */
int session_input(struct session *s);

/* Borrowed; there whether the ring runs or not. */
struct vring *session_vring(struct session *s, unsigned ring);

/* The queue if the ring runs, else NULL. Never blocks. */
struct virtq *session_running(struct session *s, unsigned ring);

/* A ring was started and enabled, but no memory was shared: none will run. */
bool session_lacks_memory(const struct session *s);

/* The front-end has used RESET_DEVICE. It says so at each reset of the guest, so rings
 * that it only stops are paused. */
bool session_says_reset(const struct session *s);

/* A write to one of its eventfds blocked until the watchdog came. The session must be
 * freed: nothing else keeps the front-end from doing so again. */
bool session_has_held_up(const struct session *s);

/* Guest memory vanished (SIGBUS): nothing read since can be believed. */
bool session_memory_is_lost(const struct session *s);
