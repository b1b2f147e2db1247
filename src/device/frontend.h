/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The other end of a device's vhost-user socket. Front-ends come, go, and come again: one
 * session at a time. They connect to a listening socket, of our making or passed to us; or
 * one listens itself, and we connect to it, again when it has gone; or a single one was
 * passed to us, and nobody comes after it.
 *
 * Whoever connects while another front-end is in session is refused; but first the
 * session is asked whether it is still alive, since a killed VMM and its successor may
 * arrive in one batch of events. A connection becomes the session by its first byte.
 * Until then it is a candidate: it may be a VMM that is still starting, and must not lose
 * its place to a probe that comes and goes.
 *
 * "The guest was reset" and "the VM is paused" are the same message to many front-ends,
 * GET_VRING_BASE. So the guest's connections live on for the pause grace: rings that come
 * back where they stopped were paused; rings that come back elsewhere, or not in time,
 * were reset. A guest that resumes too late gets its RSTs then. A front-end that has said
 * RESET_DEVICE says it at each reset: stopped rings are a pause then, for as long as it
 * takes.
 *
 * Where it is journalled, another process can take its place after a crash of this one: with
 * the front-end in session, and all candidates.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "protocol/virtio_vsock.h"
#include "util/acceptor.h"
#include "util/connector.h"
#include "util/listener.h"
#include "util/log_limit.h"
#include "util/loop.h"
#include "vhost/session.h"

enum { FRONTEND_CANDIDATES_MAX = 4 };

enum { FRONTEND_E_STATE = 1 };

struct blob;
struct blob_reader;
struct frontend;

/* What the device gives; called from the event loop, and by frontend_drop(). */
struct frontend_ops {
	/* The guest has something for us in that ring. */
	void (*kicked)(void *ctx, unsigned ring);
	/* What the front-end has sent is handled now; or that is over. */
	void (*handles)(void *ctx, bool is_begun);
	/* Rings may have begun to run, or ceased. To be looked at at once: a host program
	 * may connect right after the message that starts the last ring. */
	void (*rings_changed)(void *ctx);
	/* The guest's driver starts over: its connections are void. */
	void (*guest_reset)(void *ctx);
	/* A front-end is in session. */
	void (*came)(void *ctx);
	/* It is gone, and the guest with it. */
	void (*gone)(void *ctx);
	/* ... and no other can come: the socket that we were given was connected. Once. */
	void (*over)(void *ctx);
	/* It has been stopped for longer than the pause grace. */
	void (*guest_overdue)(void *ctx);
	/* As session_ops. The last three where it is journalled: the facts are those of
	 * frontend_save(), and whatever else the device has. */
	void (*read_config)(void *ctx, uint32_t offset, void *out, size_t len);
	void (*commit)(void *ctx);
	void (*settle)(void *ctx);
	struct msghdr *(*receipt)(void *ctx);
};

/* Where front-ends come from: one of three. */
struct frontend_address {
	const char *listen;			/* path of the socket that we make, or NULL */
	struct listener_access access;		/* to it */
	const char *connect;			/* path of a socket that a front-end makes, or NULL */
	int (*ask)(void *ask_ctx);		/* for that, see connector.h; or NULL */
	bool only_asks;				/* likewise */
	int (*accept)(void *ask_ctx);		/* where one listens, acceptor_config::ask; or NULL */
	void *ask_ctx;				/* of both */
	int fd;					/* a socket that we were given, or -1; taken over */
	bool is_sole;				/* that one is connected, and nobody can come after it;
						   -1: it is to be loaded, or gone */
};

struct frontend_config {
	const struct frontend_ops *ops;
	void *ctx;
	const char *tag;			/* for log lines; borrowed, as all here */
	struct loop *loop;
	struct frontend_address address;
	uint32_t queue_size, pause_grace_ms;
	struct gmem_limits memory;
	uint64_t *ring_stops;			/* as session_config */
	bool is_journalled;
	/* It takes another's place: frontend_go_on() or frontend_begin() is due, by a work of the
	 * loop's first batch. */
	bool waits;
};

struct frontend_candidate {			/* connected, and has not said anything yet */
	struct frontend *fe;
	int fd;					/* -1: none */
	uint64_t number;			/* of its arrival */
	struct loop_source source;
};

struct frontend_kick {				/* of one ring */
	struct frontend *fe;
	struct loop_source source;
	bool is_polled;				/* there is no kick to wait for */
	bool has_come;				/* one, since there is this eventfd */
};

struct frontend {
	struct frontend_config config;
	struct listener listener;
	struct acceptor acceptor;
	struct connector connector;
	struct frontend_candidate candidates[FRONTEND_CANDIDATES_MAX];
	uint64_t n_candidates;			/* that have arrived so far */
	struct session *session;		/* NULL: no front-end */
	struct loop_source session_source;
	struct frontend_kick kicks[VSOCK_NUM_QUEUES];
	struct loop_timer pause;		/* until when a stopped guest may go on */
	struct loop_timer no_memory;		/* until it is logged that none is seen */
	struct frontend_loaded *loaded;		/* owned, until it goes on; or NULL */
	int waiting_fd;				/* address.fd, connected: until it may begin; -1 */
	bool is_over;				/* ops->over() was called, or is not to be */
	bool was_held_up;			/* by an eventfd of an earlier front-end */
	struct log_once failures;		/* enum in frontend.c */
};

/* Listens, or whatever stands for it. 0, or as listener_open(). */
int frontend_init(struct frontend *fe, const struct frontend_config *config);
void frontend_deinit(struct frontend *fe);	/* also after a failed or no init */

/*
 * It goes to another thread, see loop_move.h; not while it may not: it is to go on, or to begin.
 * Then, in that thread and before anything else of it, frontend_enter_thread().
 */
void frontend_move(struct frontend *fe, struct loop_move *m);
void frontend_enter_thread(struct frontend *fe);

/*
 * Who is there. frontend_load() reads what another has saved, in any thread and without an
 * effect on any peer; @is_settled: what it announces is done. 0; FRONTEND_E_STATE, -errno:
 * nothing was loaded, and the descriptors are closed. frontend_go_on(), in place of
 * frontend_begin(), goes on where that was, and calls all rings that run once; @was_parked: that
 * has stopped between two turns, and owes no call.
 */
void frontend_save(const struct frontend *fe, struct blob *out);
int frontend_load(struct frontend *fe, struct blob_reader *in, bool is_settled);
void frontend_go_on(struct frontend *fe, bool was_parked);

/* The outcome of address.ask(), see connector_answer(). */
static inline void frontend_answer(struct frontend *fe, int outcome, int fd)
{
	connector_answer(&fe->connector, outcome, fd);
}

/* The outcome of address.accept(), see acceptor_answer(). False: that front-end is here already,
 * with another descriptor, and stays what it is. */
bool frontend_accepted(struct frontend *fe, int outcome, int fd);

/* Of one that listens: front-ends come to @fd from now on; taken over in any case. 0 or -errno:
 * they come to the old socket. The front-end in session stays. */
static inline int frontend_exchange_socket(struct frontend *fe, int fd)
{
	return acceptor_exchange(&fe->acceptor, fd);
}

/* There is nothing to load. @is_lost: but there was a front-end, which cannot go on. */
void frontend_begin(struct frontend *fe, bool is_lost);

/* Commits if a ring has begun to run: before anything of it is published. */
void frontend_commit_rings(struct frontend *fe);

/* From now on; of the front-end in session only the grace, the rest is for the next. */
void frontend_set_limits(struct frontend *fe, uint32_t queue_size, uint32_t pause_grace_ms,
			 const struct gmem_limits *memory);

/* The queue if the ring runs, else NULL. Never blocks. */
struct virtq *frontend_running(struct frontend *fe, unsigned ring);
bool frontend_has_guest(struct frontend *fe);	/* RX and TX run */
uint64_t frontend_features(const struct frontend *fe);	/* of virtio, acknowledged */

/* A ring runs that has no kick descriptor, or one that we cannot wait for. */
bool frontend_is_polled(struct frontend *fe);

/* Borrowed, to call the guest or to fail the ring; only while the ring runs. */
struct vring *frontend_vring(struct frontend *fe, unsigned ring);

/* Guest memory vanished (SIGBUS): nothing read since can be believed. */
bool frontend_lost_memory(const struct frontend *fe);

/* A write to one of its eventfds has blocked: it has to be dropped. */
bool frontend_has_held_up(const struct frontend *fe);

/* Ends the session, and with it the guest's connections. */
void frontend_drop(struct frontend *fe);
