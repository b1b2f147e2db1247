/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A vhost-user session: what one front-end has negotiated and set up, from its
 * first message until it leaves (vhost-user.rst).
 *
 * The attacker is the front-end: any message, in any order, at any time, and
 * then it vanishes. Before its first effect a handler checks what the table of requests
 * cannot, and says done or refused. session_input() alone answers: by a reply where the
 * request has one, by an acknowledgement where REPLY_ACK asks for it. Where no answer
 * is wanted, a refused request ends the session, but an unknown one is ignored, and so is one
 * that only passes on what the guest's driver did: SET_CONFIG.
 *
 * Some front-ends say RESET_DEVICE when the guest is reset (QEMU from 10 on), others
 * nothing. Then it shows in a ring that has run and is set up again from another base
 * than the one where it stopped; after a pause (QEMU's stop and cont, cloud-hypervisor's
 * pause) it is the same. A second SET_OWNER begins a new session.
 *
 * A session can be journalled, so that another process goes on with it after a crash of this
 * one, wherever that came: a request has one answer, and what it asked for is done once. So
 * facts are committed before each thing that shows at the socket, and say what that is:
 *
 *   a piece of a message is seen  -> commit: it is here, and in the socket still -> taken
 *   a message is handled          -> commit: its effects, and the answer that is owed -> sent
 *
 * The kernel does the last step of each line, and knows whether it is done: the piece was
 * peeked at, and taking it moves the socket's peek offset; the answer lies in a pipe before
 * the commit, and leaves by splice. A crash before the second commit of a message has it
 * handled again, which shows nowhere else: all other effects are of the process.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vhost/gmem.h"
#include "vhost/vring.h"

enum { SESSION_E_AGAIN = 1, SESSION_E_END, SESSION_E_STATE };

enum { SESSION_RINGS_MAX = 3 };

struct blob;
struct blob_reader;
struct msghdr;
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

	/* The rest for sessions that are journalled. Notes all facts, of session_save() and
	 * others; if that fails, it is not for the session to know. Also called from
	 * session_commit(). */
	void (*commit)(void *ctx);
	/* What the last commit has announced is done. */
	void (*settle)(void *ctx);
	/* Memory that outlives the process as the facts do; NULL: there is none now. */
	struct msghdr *(*receipt)(void *ctx);
};

struct session_config {
	const struct session_ops *ops;
	void *ctx;
	const char *tag;			/* for log lines; borrowed */
	uint64_t features;			/* offered, but for F_PROTOCOL_FEATURES */
	unsigned n_rings;
	uint32_t queue_size;			/* the largest that a ring may have */
	struct gmem_limits memory;		/* that the front-end may share */
	uint64_t *ring_stops;			/* borrowed: counts of each ring; or NULL */
	bool distrusts_eventfds;		/* poll before each write to one */
	bool is_journalled;
};

/* Takes @sock over, also on failure. 0 or -ENOMEM. */
int session_new(struct session **out, const struct session_config *config, int sock);
void session_free(struct session *s);

/*
 * All facts, where it is journalled (which it is not if it could not begin to be). What is
 * loaded is checked; @is_settled: what it announces is done. Guest memory has not been looked
 * at, and none of the ops been called. 0; SESSION_E_STATE, -errno, and nothing is left.
 */
bool session_is_journalled(const struct session *s);
void session_save(const struct session *s, struct blob *out);
int session_load(struct session **out, const struct session_config *config, bool is_settled,
		 struct blob_reader *in);

/* One that was loaded in another thread: called in the one, then in the other, as for gmem. */
void session_leave_thread(struct session *s);
void session_enter_thread(struct session *s);

/* Commits if a ring has begun to run. To be called before anything of it is published. */
void session_commit_rings(struct session *s);

/* For a socket that session_load() is not given after all: it is read from its front again. */
void session_forget_peeks(int sock);

/*
 * Handles the messages that have arrived, a bounded number of them. 0: there
 * may be more; SESSION_E_AGAIN: wait for the socket; SESSION_E_END: free it.
 */
int session_input(struct session *s);

/* Of one that was loaded: a message, or the answer to it, is half-way. session_input() has to go on
 * with it, though the socket may have no event. */
bool session_is_in_message(const struct session *s);

/* The socket, borrowed, to be waited for. */
int session_sock(const struct session *s);

/* Borrowed; there whether the ring runs or not. */
struct vring *session_vring(struct session *s, unsigned ring);
const struct vring *session_look_at_vring(const struct session *s, unsigned ring);

uint64_t session_features(const struct session *s);	/* that the front-end has acknowledged */
uint64_t session_protocol_features(const struct session *s);

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
