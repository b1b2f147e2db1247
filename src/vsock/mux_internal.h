/* SPDX-License-Identifier: BSD-3-Clause */
/* What the files of a mux share: mux.c (input, deadlines), mux_output.c, mux_connect.c (how
 * connections begin, and why not), mux_ends.c (all of them at once), mux_count.c (what is counted of
 * them), mux_move.c (from one thread to another), mux_save.c (taken over by another process). */
#pragma once

#include "util/log_limit.h"
#include "vsock/conn_table.h"
#include "vsock/counters.h"
#include "vsock/gather.h"
#include "vsock/host_ports.h"
#include "vsock/mux.h"
#include "vsock/replies.h"
#include "vsock/shares.h"

enum {
	TURNS_PER_OUTPUT = 256,			/* of connections, before the device's turn ends */
	RSTS_PER_OUTPUT = 2 * TURNS_PER_OUTPUT,	/* no longer wait: more than go out, so that another
						   output follows where there are more */
};

enum ending {					/* conn::mux.ending; saved */
	ENDING_NOT,
	ENDING_GUEST_GONE,
	ENDING_ABORT,
	ENDING_DROP,
	NUM_ENDINGS,
};

struct mux {
	struct mux_config config;
	struct backend *backends[MUX_BACKENDS_MAX];
	size_t n_backends;
	bool is_running;
	uint8_t types;				/* of sockets that the guest knows: MUX_* */
	bool is_held;				/* loaded, and not resumed yet */

	struct byte_budget *buffered;		/* for all connections together */
	struct conn_table table;
	struct conn_names names;		/* of those in the table, and of replies */
	size_t n_conns;				/* orphaned ones included */
	struct shares shares;			/* of those, begun by siblings */
	struct list ready;			/* conn::mux.ready_node: has something to send */
	struct list timers[CONN_NUM_TIMERS];	/* conn::mux.timer_node, first to expire first:
						   all of a kind run equally long */
	struct list ending;			/* conn::mux.ready_node: due to end */
	uint32_t timer_ms[CONN_NUM_TIMERS];

	struct replies replies;			/* full: mux_is_clogged() */
	unsigned rsts_at_once;			/* so many more do not wait: */
	unsigned rsts_after_vain;		/* as many as after the last that waited in vain */
	bool rst_is_alone;			/* the next output is of such a one: no company */

	struct host_ports ports;		/* of host-initiated connections */
	struct gather gather;			/* payload for one connection */
	struct vsock_counters counters;
	uint64_t starved_since_ms;		/* the guest gives no RX buffers; 0: it does */
	struct log_once from_guest, to_guest;	/* connects that failed, by errno */
};

/* ---- mux.c ---- */

/* A new connection, which takes @stream over; NULL: no memory, it does not. */
struct conn *mux_conn_new(struct mux *mux, const struct vsock_addr *guest,
			  const struct vsock_addr *peer, struct stream *stream);

void mux_conn_free(struct mux *mux, struct conn *c);	/* not in the table */

/* Into the table, and out of it. */
void mux_conn_enter(struct mux *mux, struct conn *c);
void mux_conn_leave(struct mux *mux, struct conn *c);

/* Called after each input of a connection: does what follows from its state. May free
 * it. */
void mux_finish(struct mux *mux, struct conn *c, uint64_t now_ms);

void mux_trace(const struct mux *mux, const struct pkt *pkt);	/* a line of the log */

/* ---- mux_count.c ---- */

/* For who wants to know: see mux_config::changed. */
void mux_tell_changed(const struct mux *mux, const struct conn *c, uint64_t now_ms);

/* It may have another state than before, conn::mux.logged_state; or it is freed with that one. */
void mux_count_state(struct mux *mux, struct conn *c, uint64_t now_ms);
void mux_count_loaded(struct mux *mux, struct conn *c);	/* it had it with another process */
void mux_uncount_state(struct mux *mux, const struct conn *c);

/* It may wait for something else. */
void mux_count_wait(struct mux *mux, struct conn *c, uint64_t now_ms);

/* A connect has come to nothing: BACKEND_E_*, -errno. */
void mux_count_refused(struct mux *mux, enum counters_direction direction, int error);

/* What its credit has counted since it had @before: for each packet, so it is cheap. */
static inline void mux_count_to_host(struct mux *mux, struct conn *c, uint32_t before)
{
	mux->counters.payload[COUNTERS_TO_HOST] += c->credit.received - before;
	c->mux.to_host_high += c->credit.received < before;
}

static inline void mux_count_to_guest(struct mux *mux, struct conn *c, uint32_t before)
{
	mux->counters.payload[COUNTERS_TO_GUEST] += c->credit.sent_to_guest - before;
	c->mux.to_guest_high += c->credit.sent_to_guest < before;
}

/* ---- mux_move.c ---- */

/* Calls it for each connection, in the order in which they are to be looked at; it may not end any. */
void mux_visit_conns(const struct mux *mux, void (*visit)(struct conn *c, void *ctx), void *ctx);

/* ---- mux_save.c ---- */

/* Undoes mux_load(), before mux_resume(). No peer notices. */
void mux_unload(struct mux *mux);

/* ---- mux_ends.c ---- */

/* Called before each input of a connection: ends it if it is due to end. True: it was, and
 * mux_finish() must follow. */
bool mux_end_pending(struct conn *c);

/*
 * The RST that answers a guest's SHUTDOWN wakes it for nothing but that, and most guests do not
 * wait for it: Linux only where a program lingers in its close(2), or binds the port of a socket
 * that it has closed, which is in use (EADDRINUSE) until the RST comes. So the RST waits for another
 * packet to go with, for CONN_TIMER_RST; where that came to nothing, the next go at once, and the
 * more of them the more often it did. Another RST that waits is no such packet.
 *
 * Connections that wait count against the guest's limit, so none does where they are many, and
 * whoever connects may have the place or the name of one: its RST is a reply then, which goes first.
 */
void mux_let_rst_wait(struct mux *mux, struct conn *c);		/* in CONN_RESET */
void mux_note_rst_alone(struct mux *mux);			/* one has waited in vain */
void mux_end_rst_waits(struct mux *mux, uint64_t now_ms);	/* others are about to be sent */

/* Frees @c, or the first, if its RST waits. False: it does not, or there are too many replies. */
bool mux_free_waiting(struct mux *mux, struct conn *c, uint64_t now_ms);
bool mux_free_first_waiting(struct mux *mux, uint64_t now_ms);

/* ---- mux_connect.c ---- */

/* Does the guest know sockets of that type, enum vsock_type or anything? */
bool mux_knows_type(const struct mux *mux, unsigned type);

/* Who answers for the CID; NULL: nobody. */
struct backend *mux_route(const struct mux *mux, uint64_t cid);

/* The guest wants to connect. 0; BACKEND_E_* or -errno, which it sees as RST. */
int mux_on_request(struct mux *mux, const struct pkt *pkt, uint64_t now_ms);

/* Count, and log why: the guest's connect failed; the guest refused one; somebody did not answer, or
 * read, in time. */
void mux_log_refused(struct mux *mux, const struct vsock_addr *src, const struct vsock_addr *dst,
		     int error);
void mux_log_guest_refuses(struct mux *mux, const struct conn *c);
void mux_log_expired(struct mux *mux, const struct conn *c);

struct vsock_route mux_path(const struct conn *c);	/* who began it, and whom it asked */
