/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Sockets of the scripted guest, as Linux's af_vsock has them over virtio:
 * connect, listen and accept, credit both ways, half-close, reset.
 *
 * A socket checks its peer: data before the RESPONSE, beyond the credit given or
 * behind a SHUTDOWN, and credit for bytes never sent, end the test. Packets for
 * no socket are answered with RST.
 *
 * What is on the way is never more than the socket's own buffer, however much the peer takes
 * (driver_options::sends_ahead). Credit updates are sent as Linux sends them: when what was not reported leaves
 * less than 64 KiB of room, or when a read emptied the queue. A sink (below)
 * takes data as it arrives and is polite only in the first way.
 *
 * Seqpacket sockets carry messages, of any number of packets: the last has
 * VSOCK_SEQ_EOM, and VSOCK_SEQ_EOR where a record ends. Sends are messages then:
 * what one call sends is one; so is what repeated calls of sock_send_some() send
 * that each get the rest. fwd_cnt moves with whole messages, and each of them is
 * reported, as Linux does it. Checked besides: no packet has other flags, or EOR
 * alone, or carries nothing without being the end of a message; no SHUTDOWN
 * comes in the middle of one, unless this side has said that it reads no more.
 */
#pragma once

#include <stddef.h>
#include <sys/types.h>

#include "support/driver.h"
#include "support/marks.h"

enum sock_state { SOCK_CONNECTING, SOCK_OPEN, SOCK_RESET };

struct sock {
	struct driver *d;
	struct sock *next;			/* in its bucket */
	struct sock *backlog_next;
	enum sock_state state;
	uint16_t type;				/* enum vsock_type */
	uint32_t port, peer_port;
	uint64_t peer_cid;

	uint32_t peer_buf_alloc, peer_fwd_cnt;	/* as last told */
	uint32_t sent;				/* bytes, modulo 2^32 */
	uint32_t buf_alloc, fwd_cnt, reported_fwd_cnt;
	uint32_t arrived;			/* bytes, modulo 2^32 */
	uint32_t packet_max;			/* what it sends at most in one [64 KiB] */
	unsigned peer_shutdown, our_shutdown;	/* VSOCK_SHUTDOWN_* */
	bool was_refused;			/* RST instead of RESPONSE */
	unsigned n_credit_requests, n_credit_updates;	/* that came */

	uint8_t *queue;				/* buf_alloc bytes, circular */
	uint32_t queue_first, n_queue;
	struct marks marks;			/* seqpacket: messages in the queue */
	uint32_t part;				/* bytes behind them, of one still to end */
	/* When set, takes all data at once instead of the queue: packet by packet. */
	void (*sink)(struct sock *s, const uint8_t *data, size_t len);
	void *arg;
	uint64_t total;				/* bytes given to the sink */
	uint32_t flags;				/* for the sink: of this packet */
};

void sock_init(struct driver *d);
void sock_deinit(struct driver *d);
void sock_forget_all(struct driver *d);
void sock_input(struct driver *d, const struct driver_pkt *p, const uint8_t *data);

/* Sends the REQUEST only, to the host or to any CID, by any type. */
struct sock *sock_dial(struct driver *d, uint32_t port);
struct sock *sock_dial_to(struct driver *d, uint64_t cid, uint32_t port);
struct sock *sock_dial_as(struct driver *d, uint16_t type, uint64_t cid, uint32_t port);
/* ... and waits for the answer: true when the socket is open. */
bool sock_wait_open(struct sock *s);
/* Both, and it must be open. */
struct sock *sock_connect(struct driver *d, uint32_t port);
void sock_listen(struct driver *d, uint32_t port);	/* may be repeated */
void sock_listen_as(struct driver *d, uint16_t type, uint32_t port);
void sock_unlisten(struct driver *d, uint32_t port);	/* all types */
/* A connection that came to @port; dies at the deadline. */
struct sock *sock_accept(struct driver *d, uint32_t port);

/* Bytes sent now within credit and ring; never waits. */
size_t sock_send_some(struct sock *s, const void *bytes, size_t len);
/* True when all went out before the deadline. */
bool sock_send(struct sock *s, const void *bytes, size_t len);
/* Bytes that it may have on the way to the peer: no message may be longer; how many more it may
 * send now. */
uint32_t sock_window(const struct sock *s);
uint32_t sock_room(const struct sock *s);
/* A whole message, of which the last packet has also @flags: 0 or VSOCK_SEQ_EOR. */
bool sock_send_msg(struct sock *s, const void *bytes, size_t len, uint32_t flags);
/* A part of one, within credit and ring; never waits. The bytes that went; its last packet has
 * @flags if that is all of them, VSOCK_SEQ_EOM where the message ends. */
size_t sock_send_part(struct sock *s, const void *bytes, size_t len, uint32_t flags);
/* > 0 bytes, 0 at the end (SHUTDOWN or RST), -1 at the deadline. Of a seqpacket
 * socket a message as below, and an empty one looks like the end. */
ssize_t sock_recv(struct sock *s, void *bytes, size_t len, int ms);
/* The length of the next whole message, which has to fit, and the flags of its
 * last packet (@flags may be NULL); SOCK_END; SOCK_LATE at the deadline. */
enum { SOCK_LATE = -1, SOCK_END = -2 };
ssize_t sock_recv_msg(struct sock *s, void *bytes, size_t len, uint32_t *flags, int ms);
/* Fills @bytes; less only at the end or the deadline. */
size_t sock_recv_full(struct sock *s, void *bytes, size_t len);
void sock_tell_credit(struct sock *s);		/* CREDIT_UPDATE, now */
void sock_shutdown(struct sock *s, unsigned flags);
void sock_send_rst(struct sock *s);
/* Waits for RST; false at the deadline. */
bool sock_wait_reset(struct sock *s, int ms);
/* Waits until the peer has sent all of these SHUTDOWN flags (or RST). */
bool sock_wait_shutdown(struct sock *s, unsigned flags, int ms);
/* close(2): SHUTDOWN and RST as Linux exchanges them, then frees. False when
 * the peer did not answer in time. */
bool sock_close(struct sock *s);
void sock_free(struct sock *s);			/* without a word */
