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
 *               (ends it), CREDIT_*. Leaves: stream connected -> OPEN, saying
 *               RESPONSE; failed, or not done in time -> RESET.
 *   REQUESTED   a host program asked. We say REQUEST; the stream is not read.
 *               Packets: RESPONSE -> OPEN; RST -> end; CREDIT_*. Deadline: end.
 *   OPEN        Packets: RW, unless the guest has shut down sending; SHUTDOWN
 *               (accumulates; both -> LINGERING); CREDIT_*; RST -> drain, end.
 *               The stream's end, once all that was read is sent, makes us say
 *               SHUTDOWN: SEND for half, both -> CLOSING; but RESET where the host
 *               has not taken all that the guest sent.
 *   LINGERING   the guest is done; what it sent is drained to the stream, for
 *               as long as it makes progress within the linger time. Then RST.
 *               After the guest's own RST the connection is `orphaned`: no
 *               longer in the table, nothing more is said.
 *   CLOSING     the host is done both ways and the stream closed; we say
 *               SHUTDOWN both. Packets: RST -> end; SHUTDOWN both -> RESET;
 *               CREDIT_* ignored. Deadline: RESET.
 *   RESET       the stream is closed, an RST is still to be said. Packets:
 *               ignored; RST -> end.
 *   DEAD        nothing left; the mux frees it.
 *
 * The connection pulls: it remembers that it has something to say and builds
 * the packet when the guest gives a buffer, in the order RST, RESPONSE,
 * REQUEST, data, SHUTDOWN, credit. It sees no clock, loop or table: after each
 * input the mux looks at its state and does what follows (mux.c, settle()).
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

#include "util/list.h"
#include "util/byte_ring.h"
#include "vsock/backend.h"
#include "vsock/credit.h"
#include "vsock/pkt.h"
#include "vsock/rx.h"

enum conn_state {
	CONN_CONNECTING,
	CONN_REQUESTED,
	CONN_OPEN,
	CONN_LINGERING,
	CONN_CLOSING,
	CONN_RESET,
	CONN_DEAD,
};

enum conn_timer {
	CONN_TIMER_NONE,
	CONN_TIMER_CONNECT,			/* the stream must be connected */
	CONN_TIMER_REQUEST,			/* the guest must answer our REQUEST */
	CONN_TIMER_LINGER,			/* the drain must make progress */
	CONN_TIMER_CLOSING,			/* the guest must answer our SHUTDOWN */
	CONN_TIMER_ASK_SOON,			/* it is to be asked for credit again: ... */
	CONN_TIMER_ASK,
	CONN_TIMER_ASK_LATE,			/* ... the less often, the longer in vain */
	CONN_NUM_TIMERS,
};

/* Asked so often in vain, a connection waits for CONN_TIMER_ASK, or for _ASK_LATE. */
enum { CONN_ASKS_SOON = 16, CONN_ASKS = 32 };

enum {
	CONN_E_STARVED = 1,			/* the guest gives no more buffers */
	CONN_E_MORE,				/* its turn is over, but it has more to say */
};

/* Bytes, with headers, that one connection moves to the guest in one turn. */
enum { CONN_TURN_MAX = 256 * 1024 };

struct conn {
	struct stream *stream;			/* owned; NULL once closed */
	struct conn *hash_next;			/* in the mux's table */
	struct list ready_node;			/* mux::ready */
	struct list timer_node;			/* mux::timers[armed] */
	struct list share_node;			/* shares::own */
	uint64_t deadline_ms;
	struct vsock_addr guest, peer;
	struct credit credit;
	struct byte_ring to_host;		/* taken from the guest, not by the stream */
	uint32_t read_hint;			/* bytes that the next read may find */
	int error;				/* -errno that ended it; 0: none, or it was logged */
	uint8_t state;				/* enum conn_state */
	uint8_t armed;				/* enum conn_timer: the one that it has */
	uint8_t share;				/* enum share: the mux's, of those begun by siblings */
	uint8_t ending;				/* the mux's: on mux::ending, and how it is to end */
	uint8_t guest_shutdown;			/* VSOCK_SHUTDOWN_* that the guest said */
	uint8_t shutdown_pending;			/* ... that we are to say */
	uint8_t shutdown_sent;
	uint8_t asks;				/* for news, in vain; no more than CONN_ASKS */
	bool from_peer : 1;			/* begun by the peer, not by the guest */
	bool orphaned : 1;			/* the guest has forgotten it */
	bool timer_restart : 1;			/* it made progress */
	bool response_pending : 1, request_pending : 1;
	bool credit_asked : 1;			/* since the guest's credit changed last */
	bool news_asked : 1;			/* what the guest has consumed, for its peer */
	bool news_came : 1;			/* since then it has said something */
	bool credit_update_pending : 1;
	bool host_eof : 1;			/* nothing more to read */
	bool host_read_closed : 1;			/* nothing more can be written */
	bool host_failed : 1;			/* ends in RST: the host failed, or did not take all */
	bool host_lost_data : 1;			/* bytes that it would have taken are lost */
	bool host_shut : 1;			/* we shut down writing to it */
};

/*
 * @stream is taken over. @buf_alloc: bytes we buffer for the guest, within
 * @budget; a connection that needs more than that allows is reset.
 * NULL: no memory, @stream is still the caller's.
 */
struct conn *conn_new(const struct vsock_addr *guest, const struct vsock_addr *peer,
		      struct stream *stream, uint32_t buf_alloc, struct byte_budget *budget);
void conn_free(struct conn *c);			/* closes the stream */

/* Set-up. A guest-initiated one begins by the guest's REQUEST. */
void conn_begin_connecting(struct conn *c, const struct pkt *request);
void conn_begin_requested(struct conn *c);
void conn_connected(struct conn *c, int error);	/* of the stream: 0 or -errno */

/*
 * A packet from the guest. True: it is RW, counted against the credit, and the
 * caller must hand its payload to conn_forward(), in order with everything else.
 */
bool conn_input(struct conn *c, const struct pkt *pkt);

/* Bytes from the guest: to the stream what it takes, the rest is buffered. */
void conn_forward(struct conn *c, const struct iovec *iov, size_t n, size_t len);

/* The stream's `ready` has changed. */
void conn_stream_ready(struct conn *c);

/* The timer that the state asks for. */
enum conn_timer conn_timer(const struct conn *c);

/* That timer has expired. */
void conn_expired(struct conn *c);

/* The guest does not know it any more: RST, or a reset of the whole guest. What
 * is buffered is still drained. */
void conn_guest_gone(struct conn *c);

/* Ends it without a word to anybody, and with nothing drained. */
void conn_end(struct conn *c);

/* Ends it on our side: RST to the guest if it knows the connection. */
void conn_reset(struct conn *c);

/* The same, but what is buffered is still drained first. */
void conn_abort(struct conn *c);

/* Is there anything that it would say if it were given buffers? */
bool conn_has_output(const struct conn *c);

/*
 * Its turn: says what it has to. @scratch: room for @n_scratch iovecs. Adds to *@moved
 * the bytes of data, with headers. 0: all said; CONN_E_STARVED; CONN_E_MORE.
 */
int conn_output(struct conn *c, const struct rx_sink *rx, struct iovec *scratch,
		size_t n_scratch, size_t *moved);

/* The stream events that can change anything: a pure function of the state. */
unsigned conn_interest(const struct conn *c);
