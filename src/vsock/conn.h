/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One connection between a guest and a stream: the state machine.
 *
 * A vsock primer. Connections are named by (cid, port) of both ends. REQUEST
 * asks, RESPONSE accepts, RST refuses or kills and is never answered. RW
 * carries bytes, within the credit of the receiver (credit.h). SHUTDOWN says
 * which directions its sender is done with, flags add up; when both ends know
 * that both directions are over, the one that was told answers with RST, and
 * only then is the connection's name free again.
 *
 * Contract per state; what is not named here is answered with RST and ends the
 * connection. Every packet but RST updates the credit.
 *
 *   CONNECTING  the guest asked, the stream is being connected. Packets: RST
 *               (ends it), CREDIT_*. Leaves: stream connected -> OPEN, sending
 *               RESPONSE; failed, or not done in time -> RESET.
 *   REQUESTED   a host program asked. We send REQUEST; the stream is not read.
 *               Packets: RESPONSE -> OPEN; RST -> end; CREDIT_*. Deadline: end.
 *   OPEN        Packets: RW, unless the guest has shut down sending; SHUTDOWN
 *               (accumulates; both -> LINGERING); CREDIT_*; RST -> drain, end.
 *               The stream's end, once all that was read is sent, makes us send
 *               SHUTDOWN: SEND for half, both -> CLOSING; but RESET where the host
 *               has not taken all that the guest sent.
 *   LINGERING   the guest is done; what it sent is drained to the stream, for
 *               as long as it makes progress within the linger time. Then RST.
 *               After the guest's own RST the connection is `orphaned`: no
 *               longer in the table, nothing more is sent.
 *   CLOSING     the host is done both ways and the stream closed; we send
 *               SHUTDOWN both. Packets: RST -> end; SHUTDOWN both -> RESET;
 *               CREDIT_* ignored. Deadline: RESET.
 *   RESET       the stream is closed, an RST is still to be sent; `rst_waits`: not
 *               before its deadline, or another packet. Packets: ignored; RST -> end.
 *   DEAD        nothing left; the mux frees it.
 *
 * The connection pulls: it remembers that it has something to send and builds
 * the packet when the guest gives a buffer, in the order RST, RESPONSE,
 * REQUEST, data, SHUTDOWN, credit. It sees no clock, loop or table: after each
 * input the mux looks at its state and does what follows (mux_finish()).
 *
 * Asking for credit (CREDIT_REQUEST). A guest tells what it has consumed when it thinks
 * that we need to know, and may be wrong (Linux before 6.8, mostly). So it is asked once
 * when there is data that it has no room for, and again after a long while, as long as
 * nothing changes. Where the peer is a guest as well, the sender's credit depends on
 * what the receiver has consumed, and on nothing else: the receiver is asked when a
 * sender that may have stream::peer_window on the way comes close to that, and again
 * after an answer without news, first often and then less.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "util/byte_ring.h"
#include "util/list.h"
#include "vsock/conn_names.h"
#include "vsock/credit.h"
#include "vsock/pkt.h"
#include "vsock/rx.h"
#include "vsock/stream.h"

struct blob;
struct blob_reader;
struct conn_messages;
struct gather;

enum conn_state {				/* saved: another goes at the end */
	CONN_CONNECTING,
	CONN_REQUESTED,
	CONN_OPEN,
	CONN_LINGERING,
	CONN_CLOSING,
	CONN_RESET,
	CONN_DEAD,
};
enum { CONN_NUM_STATES = CONN_DEAD + 1 };

const char *conn_str_state(enum conn_state state);

enum conn_end {					/* why a connection ends; saved, as states are */
	CONN_END_NONE,				/* it does not */
	CONN_END_GUEST,				/* shut down by the guest; the host has all */
	CONN_END_HOST,				/* closed by the host; the guest has all */
	CONN_END_GUEST_RST,			/* the guest reset it, or refused it */
	CONN_END_HOST_RST,			/* the host did */
	CONN_END_GUEST_GONE,			/* the guest is gone, or new */
	CONN_END_GUEST_STOPPED,			/* it has been stopped for too long */
	CONN_END_MEMORY_LOST,			/* what the guest had sent is not to be believed */
	CONN_END_PROTOCOL,			/* a packet that must not come */
	CONN_END_CREDIT,			/* more bytes than it had credit for */
	CONN_END_NO_MEMORY,			/* ours, or its VM's share of it */
	CONN_END_REFUSED,			/* the stream could not be connected */
	CONN_END_HOST_LEFT,			/* the host closed without having taken all */
	CONN_END_HOST_ERROR,			/* reading or writing failed */
	CONN_END_CONNECT_TIMEOUT,		/* the timers of those names have expired */
	CONN_END_REQUEST_TIMEOUT,
	CONN_END_LINGER_TIMEOUT,
	CONN_END_CLOSING_TIMEOUT,
	CONN_END_LOST,				/* with the process that had it */
	/* A message of SEQPACKET is longer than ... */
	CONN_END_TOO_LONG,			/* what we buffer for the guest */
	CONN_END_TOO_LONG_FOR_HOST,		/* the host's socket takes */
	CONN_END_TOO_LONG_FOR_GUEST,		/* the guest buffers */
	CONN_END_OPERATOR,			/* who runs the daemon wants it to */
	CONN_NUM_ENDS,
};

const char *conn_str_end(enum conn_end why);	/* for people */

/* Room for a message that the guest's buffers do not hold, until it is kept. */
struct conn_spill {
	char *bytes;
	size_t size;
};

enum conn_timer {
	CONN_TIMER_NONE,
	CONN_TIMER_CONNECT,			/* the stream must be connected */
	CONN_TIMER_REQUEST,			/* the guest must answer our REQUEST */
	CONN_TIMER_LINGER,			/* the drain must make progress */
	CONN_TIMER_CLOSING,			/* the guest must answer our SHUTDOWN */
	CONN_TIMER_ASK_SOON,			/* ask it for credit again, ... */
	CONN_TIMER_ASK,
	CONN_TIMER_ASK_LATE,			/* ... the less often, the longer in vain */
	CONN_TIMER_RST,				/* its RST waits for company no longer */
	CONN_NUM_TIMERS,
};

/* After so many asks in vain a connection waits for CONN_TIMER_ASK, then _ASK_LATE. */
enum { CONN_ASKS_SOON = 16, CONN_ASKS = 32 };

enum {
	CONN_E_STARVED = 1,			/* the guest gives no more buffers */
	CONN_E_MORE,				/* its turn is over, but it has more to send */
	CONN_E_BAD_STATE,			/* what was saved cannot be believed */
};

/* Bytes, with headers, that one connection moves to the guest in one turn. */
enum { CONN_TURN_MAX = 256 * 1024 };

struct conn {
	struct stream *stream;			/* owned; NULL once closed */
	struct vsock_addr guest, peer;
	struct credit credit;
	uint32_t read_hint;			/* bytes that the next read may find */
	struct byte_ring to_host;		/* taken from the guest, not by the stream */
	struct conn_messages *messages;		/* owned; NULL: of type STREAM */
	int error;				/* -errno that ended it; 0: none, or logged */
	uint8_t state;				/* enum conn_state */
	uint8_t end;				/* enum conn_end: the first reason to end it */
	uint8_t guest_shutdown;			/* VSOCK_SHUTDOWN_* that the guest sent */
	uint8_t shutdown_pending;		/* ... that we are to send */
	uint8_t shutdown_sent;
	uint8_t asks;				/* for news, in vain; no more than CONN_ASKS */
	bool from_peer : 1;			/* begun by the peer, not by the guest */
	bool orphaned : 1;			/* the guest has forgotten it */
	bool timer_restart : 1;			/* it made progress */
	bool response_pending : 1, request_pending : 1;
	bool credit_asked : 1;			/* since the guest's credit changed last */
	bool news_asked : 1;			/* asked what it has consumed, for its peer */
	bool news_came : 1;			/* a packet has come since */
	bool credit_update_pending : 1;
	bool host_write_closed : 1;		/* nothing more to read */
	bool host_read_closed : 1;		/* nothing more can be written */
	bool host_failed : 1;			/* ends in RST: it failed, or did not take all */
	bool host_lost_data : 1;		/* bytes that it would have taken are lost */
	bool host_shut : 1;			/* we shut down writing to it */
	bool rst_waits : 1;			/* in CONN_RESET, for another packet to go with */

	struct conn_in_mux {			/* the mux's own */
		struct conn *hash_next;		/* in its table */
		struct list ready_node;		/* mux::ready, ::ending or ::dead */
		struct list timer_node;		/* mux::timers[armed] */
		struct list share_node;		/* shares::own */
		uint64_t deadline_ms;
		uint8_t armed;			/* enum conn_timer: the one that it has */
		uint8_t share : 3;		/* enum share: of those begun by siblings */
		uint8_t waits_for : 4;		/* enum conn_wait, as counted */
		uint8_t was_open : 1;		/* both sides had accepted it */
		uint8_t ending;			/* on mux::ending, and how it is to end */
		uint8_t logged_state;		/* enum conn_state; CONN_NUM_STATES: none yet */
		uint32_t name;			/* its row in mux::names, or CONN_NO_NAME */

		/* For who looks at it. */
		uint64_t begun_ms, waits_since_ms;
		uint32_t to_guest_high, to_host_high;	/* of its bytes: above what credit counts */
	} mux;
};

/*
 * @stream is taken over. @buf_alloc: bytes we buffer for the guest, within
 * @budget; a connection that needs more than that allows is reset.
 * NULL: no memory, @stream is still the caller's.
 */
struct conn *conn_new(const struct vsock_addr *guest, const struct vsock_addr *peer,
		      struct stream *stream, uint32_t buf_alloc, struct byte_budget *budget);
void conn_free(struct conn *c);			/* closes the stream */
enum vsock_type conn_type(const struct conn *c);

/* One in CONN_RESET, of another process that is gone. NULL: no memory. */
struct conn *conn_new_lost(enum vsock_type type, const struct vsock_addr *guest,
			   const struct vsock_addr *peer, struct byte_budget *budget);

/* Set-up. A guest-initiated one begins by the guest's REQUEST. */
void conn_begin_connecting(struct conn *c, const struct pkt *request);
void conn_begin_requested(struct conn *c);
void conn_connected(struct conn *c, struct stream *live);	/* NULL: it could not be */

/* A packet from the guest. Its payload goes to the stream by way of @gather, which holds
 * nothing of another connection. */
void conn_input(struct conn *c, const struct pkt *pkt, struct iov_cur *payload,
		struct gather *gather);

/* Bytes from the guest: to the stream what it takes, the rest is buffered. @flags of the last
 * packet: VSOCK_SEQ_EOM ends a message. */
void conn_forward(struct conn *c, const struct iovec *iov, size_t n, size_t len,
		  uint32_t flags);

/* Whole messages, one after the other in @iov; at most STREAM_MESSAGES_MAX. */
void conn_forward_messages(struct conn *c, const struct iovec *iov, const struct stream_message *m,
			   size_t n);

/* The stream's `ready` has changed. */
void conn_stream_ready(struct conn *c);

/* The timer that the state asks for. */
enum conn_timer conn_timer(const struct conn *c);

/* That timer has expired. */
void conn_expired(struct conn *c);

/* The guest does not know it any more: RST, or a reset of the whole guest. What
 * is buffered is still drained. */
void conn_guest_gone(struct conn *c, enum conn_end why);

/* Ends it without a word to anybody, and with nothing drained. */
void conn_end(struct conn *c, enum conn_end why);

/* Ends it on our side: RST to the guest if it knows the connection. */
void conn_reset(struct conn *c, enum conn_end why);

/* The same, but what is buffered is still drained first. */
void conn_abort(struct conn *c, enum conn_end why);

/* Is there anything that it would send if it were given buffers? */
bool conn_has_output(const struct conn *c);

/*
 * Its turn: sends what it has to. @scratch: room for @n_scratch iovecs. Adds to *@moved
 * the bytes of data, with headers. 0: all sent; CONN_E_STARVED; CONN_E_MORE.
 */
int conn_output(struct conn *c, const struct rx_sink *rx, struct iovec *scratch,
		size_t n_scratch, const struct conn_spill *spill, size_t *moved);

/*
 * One section, without the stream and what is the mux's own. conn_load: 0, and with
 * conn_needs_stream() nothing may be done with it but conn_free() until conn_set_stream();
 * CONN_E_BAD_STATE; -ENOMEM.
 */
void conn_save(const struct conn *c, struct blob *out);
int conn_load(struct conn **out, struct blob_reader *in, uint64_t guest_cid,
	      struct byte_budget *budget);
bool conn_needs_stream(const struct conn *c);	/* its state is one with a stream */
void conn_set_stream(struct conn *c, struct stream *stream);	/* taken over */

/* The stream events that can change anything: a pure function of the state. */
unsigned conn_interest(const struct conn *c);
