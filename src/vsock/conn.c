/* SPDX-License-Identifier: BSD-3-Clause */
/* One connection: the state machine. The contract of each state is in conn.h;
 * what a connection says to its guest is in conn_say.c. */
#include "vsock/conn.h"

#include <stdlib.h>
#include <sys/socket.h>

#include "util/error.h"
#include "vsock/conn_internal.h"

struct conn *conn_new(const struct vsock_addr *guest, const struct vsock_addr *peer,
		      struct stream *stream, uint32_t buf_alloc, struct byte_budget *budget)
{
	struct conn *c = malloc(sizeof *c);

	if (!c)
		return NULL;
	*c = (struct conn){ .guest = *guest };
	list_init(&c->ready_link);
	list_init(&c->timer_link);
	list_init(&c->share_link);
	c->peer = *peer;
	c->credit.buf_alloc = buf_alloc;
	c->read_hint = READ_HINT_FIRST;
	byte_ring_init(&c->to_host, buf_alloc, budget);
	c->stream = stream;
	stream->conn = c;
	return c;
}

static void close_stream(struct conn *c)
{
	bool is_orderly = c->guest_shutdown & VSOCK_SHUTDOWN_SEND && !c->to_host.len &&
		!c->host_lacks;

	if (c->stream)
		c->stream->ops->close(c->stream, is_orderly);
	c->stream = NULL;
	byte_ring_deinit(&c->to_host);
}

void conn_free(struct conn *c)
{
	close_stream(c);
	free(c);
}

void conn_end(struct conn *c)
{
	close_stream(c);
	c->state = CONN_DEAD;
}

void conn_reset(struct conn *c)
{
	bool is_known = !c->nameless && !(c->state == CONN_REQUESTED && c->request_due);

	if (c->state == CONN_RESET || c->state == CONN_DEAD)
		return;
	close_stream(c);
	c->state = is_known ? CONN_RESET : CONN_DEAD;
}

void conn_abort(struct conn *c)
{
	if (c->state == CONN_OPEN && c->to_host.len)
		c->state = CONN_LINGERING;
	else if (c->state != CONN_LINGERING)
		conn_reset(c);
}

void conn_begin_connecting(struct conn *c, const struct pkt *request)
{
	c->state = CONN_CONNECTING;
	credit_update(&c->credit, request->buf_alloc, request->fwd_cnt);
}

void conn_begin_requested(struct conn *c)
{
	c->state = CONN_REQUESTED;
	c->from_peer = true;
	c->request_due = true;
}

void conn_connected(struct conn *c, int error)
{
	if (c->state != CONN_CONNECTING)
		return;
	if (error) {
		conn_reset(c);
	} else {
		c->state = CONN_OPEN;
		c->response_due = true;
	}
}

/* The host will neither read nor write any more: tell the guest, wait for its RST. */
static void host_is_over(struct conn *c)
{
	if (c->host_failed || c->to_host.len) {
		conn_reset(c);
		return;
	}
	close_stream(c);
	c->shutdown_due = VSOCK_SHUTDOWN_BOTH;
	c->state = CONN_CLOSING;
}

/* All that the guest sent is with the host. */
static void host_has_all(struct conn *c)
{
	if (c->state == CONN_LINGERING) {
		conn_reset(c);
	} else if (c->guest_shutdown & VSOCK_SHUTDOWN_SEND && !c->host_shut) {
		c->host_shut = true;
		c->stream->ops->shutdown(c->stream, SHUT_WR);
		if (c->host_eof)
			host_is_over(c);
	}
}

/* Writing to the stream failed; the host may still have something to say. What it has
 * not taken is lost: the guest's fwd_cnt never covers it, and in the end there is a reset. */
static void host_turns_deaf(struct conn *c, int error)
{
	c->host_lacks |= c->to_host.len && error != -EPIPE;
	c->host_failed |= c->to_host.len || error == -ECONNRESET;
	byte_ring_deinit(&c->to_host);
	c->host_deaf = true;
	if (c->state == CONN_LINGERING || (error != -EPIPE && error != -ECONNRESET)) {
		c->error = error;
		conn_reset(c);
		return;
	}
	c->shutdown_due |= VSOCK_SHUTDOWN_RCV;
	if (c->host_eof || c->guest_shutdown & VSOCK_SHUTDOWN_RCV)
		host_is_over(c);
}

/* Writes once; counts what the stream took. False: it takes no more now. */
static bool write_some(struct conn *c, const struct iovec *iov, size_t n, size_t *taken)
{
	int r = c->stream->ops->write(c->stream, iov, (int)n, taken);

	if (r == STREAM_E_AGAIN)
		c->stream->ready &= ~(unsigned)STREAM_OUT;
	else if (r)
		host_turns_deaf(c, r);
	if (r)
		return false;
	if (!c->stream->consumed)
		c->credit.fwd_cnt += (uint32_t)*taken;
	return true;
}

void conn_forward(struct conn *c, const struct iovec *iov, size_t n, size_t len)
{
	size_t taken = 0;
	int r;

	if (c->state != CONN_OPEN)
		return;
	if (!c->to_host.len && !c->host_deaf && c->stream->ready & STREAM_OUT)
		write_some(c, iov, n, &taken);
	if (c->state != CONN_OPEN || taken == len)
		return;
	if (c->host_deaf) {
		c->host_failed = true;
	} else if ((r = byte_ring_append(&c->to_host, iov, n, taken)) < 0) {
		c->error = r;
		conn_reset(c);
	}
}

/* Moves what is buffered to the stream. */
static void drain(struct conn *c)
{
	struct iovec iov[2];
	size_t taken;

	while (c->to_host.len && c->stream->ready & STREAM_OUT) {
		if (!write_some(c, iov, byte_ring_peek(&c->to_host, iov), &taken))
			return;
		byte_ring_drop(&c->to_host, taken);
		c->timer_restart = true;
	}
	if (!c->to_host.len)
		host_has_all(c);
}

void conn_stream_ready(struct conn *c)
{
	if (c->state != CONN_OPEN && c->state != CONN_LINGERING)
		return;
	conn_count_consumed(c);
	/* No event tells that the peer of a full unix socket has stopped reading; a
	 * write does. While nothing is read, there are few events and it costs little. */
	if (c->state == CONN_LINGERING)
		c->stream->ready |= STREAM_OUT;
	if (c->stream->ready & STREAM_DEAF && !c->host_deaf)
		host_turns_deaf(c, -EPIPE);
	else if (c->to_host.len)
		drain(c);
	if (c->state == CONN_OPEN && c->stream->ready & STREAM_HUP &&
	    (c->host_eof || c->guest_shutdown & VSOCK_SHUTDOWN_RCV))
		host_is_over(c);
}

void conn_guest_gone(struct conn *c)
{
	if ((c->state == CONN_OPEN || c->state == CONN_LINGERING) && c->to_host.len) {
		c->state = CONN_LINGERING;
		c->nameless = true;
		conn_stream_ready(c);
	} else {
		conn_end(c);
	}
}

static void on_shutdown(struct conn *c, uint32_t flags)
{
	uint8_t news = (uint8_t)(flags & VSOCK_SHUTDOWN_BOTH & ~(uint32_t)c->guest_shutdown);

	c->guest_shutdown |= news;
	if (c->guest_shutdown == VSOCK_SHUTDOWN_BOTH)
		c->state = CONN_LINGERING;
	if (!c->to_host.len)
		host_has_all(c);
	if (news & VSOCK_SHUTDOWN_RCV && c->stream)
		c->stream->ops->shutdown(c->stream, SHUT_RD);
	conn_stream_ready(c);			/* a host that has closed is over now */
}

/* True: the payload is to be forwarded. */
static bool on_rw(struct conn *c, uint32_t len)
{
	if (c->guest_shutdown & VSOCK_SHUTDOWN_SEND || !credit_receive(&c->credit, len)) {
		conn_reset(c);
		return false;
	}
	return len > 0;
}

static void on_response(struct conn *c)
{
	c->state = CONN_OPEN;
	c->stream->ops->accepted(c->stream, &c->guest);
}

static bool input_open(struct conn *c, const struct pkt *pkt)
{
	switch (pkt->op) {
	case VSOCK_OP_RW:
		return on_rw(c, pkt->len);
	case VSOCK_OP_SHUTDOWN:
		on_shutdown(c, pkt->flags);
		return false;
	case VSOCK_OP_CREDIT_REQUEST:
		c->credit_update_due = true;
		return false;
	case VSOCK_OP_CREDIT_UPDATE:
		return false;
	default:
		conn_reset(c);
		return false;
	}
}

static void input_closing(struct conn *c, const struct pkt *pkt)
{
	switch (pkt->op) {
	case VSOCK_OP_SHUTDOWN:
		c->guest_shutdown |= pkt->flags & VSOCK_SHUTDOWN_BOTH;
		if (c->guest_shutdown == VSOCK_SHUTDOWN_BOTH)
			conn_reset(c);
		return;
	case VSOCK_OP_CREDIT_UPDATE:
	case VSOCK_OP_CREDIT_REQUEST:
		return;
	default:
		conn_reset(c);
	}
}

static bool is_credit_op(uint16_t op)
{
	return op == VSOCK_OP_CREDIT_UPDATE || op == VSOCK_OP_CREDIT_REQUEST;
}

/* The guest has consumed more of what was sent to it. */
static void on_consumed(struct conn *c)
{
	c->asks = 0;
	if (!c->stream || !c->stream->consumed)
		return;
	c->stream->ops->consumed(c->stream, c->credit.consumed);
	if (!conn_lacks_news(c))
		c->news_asked = false;
}

bool conn_input(struct conn *c, const struct pkt *pkt)
{
	uint32_t consumed = c->credit.consumed;

	if (pkt->op == VSOCK_OP_RST) {
		conn_guest_gone(c);
		return false;
	}
	if (credit_update(&c->credit, pkt->buf_alloc, pkt->fwd_cnt))
		c->credit_asked = false;
	if (c->credit.consumed != consumed)
		on_consumed(c);
	c->news_came = true;
	switch ((enum conn_state)c->state) {
	case CONN_CONNECTING:
		if (!is_credit_op(pkt->op))
			conn_reset(c);
		return false;
	case CONN_REQUESTED:
		if (pkt->op == VSOCK_OP_RESPONSE && !c->request_due)
			on_response(c);
		else if (!is_credit_op(pkt->op))
			conn_reset(c);
		return false;
	case CONN_OPEN:
		return input_open(c, pkt);
	case CONN_LINGERING:
		if (!is_credit_op(pkt->op) && pkt->op != VSOCK_OP_SHUTDOWN)
			conn_reset(c);
		return false;
	case CONN_CLOSING:
		input_closing(c, pkt);
		return false;
	case CONN_RESET:
	case CONN_DEAD:
		return false;
	}
	return false;
}

static enum conn_timer ask_timer(const struct conn *c)
{
	if (!c->credit_asked && !c->news_asked)
		return CONN_TIMER_NONE;
	if (!c->news_asked || !c->news_came || c->asks == CONN_ASKS)
		return CONN_TIMER_ASK_LATE;
	return c->asks < CONN_ASKS_SOON ? CONN_TIMER_ASK_SOON : CONN_TIMER_ASK;
}

enum conn_timer conn_timer(const struct conn *c)
{
	switch ((enum conn_state)c->state) {
	case CONN_REQUESTED:
		return CONN_TIMER_REQUEST;
	case CONN_LINGERING:
		return CONN_TIMER_LINGER;
	case CONN_CLOSING:
		return CONN_TIMER_CLOSING;
	case CONN_OPEN:
		return ask_timer(c);
	case CONN_CONNECTING:
		return CONN_TIMER_CONNECT;
	case CONN_RESET:
	case CONN_DEAD:
		return CONN_TIMER_NONE;
	}
	return CONN_TIMER_NONE;
}

void conn_expired(struct conn *c)
{
	if (c->state == CONN_REQUESTED) {
		conn_end(c);			/* a late RESPONSE is answered by RST */
	} else if (c->state == CONN_OPEN) {
		if (c->news_asked && c->asks < CONN_ASKS)
			c->asks++;
		c->news_asked = c->credit_asked = false;
	} else {
		conn_reset(c);
	}
}

void conn_read_ended(struct conn *c, int r)
{
	if (r < 0) {
		c->error = r;
		conn_reset(c);
		return;
	}
	c->host_eof = true;
	c->shutdown_due |= VSOCK_SHUTDOWN_SEND;
	if (r == STREAM_E_CLOSED || c->host_shut || c->host_deaf)
		host_is_over(c);
}
