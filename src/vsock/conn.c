/* SPDX-License-Identifier: BSD-3-Clause */
/* One connection: the state machine. The contract of each state is in conn.h. */
#include "vsock/conn.h"

#include <stdlib.h>
#include <sys/socket.h>

#include "util/error.h"
#include "vsock/conn_internal.h"
#include "vsock/gather.h"

struct conn *conn_alloc(const struct vsock_addr *guest, const struct vsock_addr *peer,
			uint32_t buf_alloc, struct byte_budget *budget)
{
	struct conn *c = malloc(sizeof *c);

	if (!c)
		return NULL;
	*c = (struct conn){ .guest = *guest };
	list_init(&c->mux.ready_node);
	list_init(&c->mux.timer_node);
	list_init(&c->mux.share_node);
	c->mux.name = CONN_NO_NAME;
	c->peer = *peer;
	c->credit.buf_alloc = buf_alloc;
	c->read_hint = READ_HINT_MIN;
	byte_ring_init(&c->to_host, buf_alloc, budget);
	return c;
}

void conn_set_stream(struct conn *c, struct stream *stream)
{
	c->stream = stream;
	stream->conn = c;
}

/* False: no memory. */
static bool conn_set_type(struct conn *c, enum vsock_type type)
{
	if (type == VSOCK_TYPE_SEQPACKET)
		c->messages = conn_messages_new(c->credit.buf_alloc, c->to_host.budget);
	return type == VSOCK_TYPE_STREAM || c->messages;
}

enum vsock_type conn_type(const struct conn *c)
{
	return c->messages ? VSOCK_TYPE_SEQPACKET : VSOCK_TYPE_STREAM;
}

struct conn *conn_new(const struct vsock_addr *guest, const struct vsock_addr *peer,
		      struct stream *stream, uint32_t buf_alloc, struct byte_budget *budget)
{
	struct conn *c = conn_alloc(guest, peer, buf_alloc, budget);

	if (!c || !conn_set_type(c, stream->type)) {
		free(c);
		return NULL;
	}
	conn_set_stream(c, stream);
	return c;
}

struct conn *conn_new_lost(enum vsock_type type, const struct vsock_addr *guest,
			   const struct vsock_addr *peer, struct byte_budget *budget)
{
	struct conn *c = conn_alloc(guest, peer, 0, budget);

	if (!c || !conn_set_type(c, type)) {
		free(c);
		return NULL;
	}
	c->state = CONN_RESET;
	c->end = CONN_END_LOST;
	return c;
}

/* A message that has been read from the stream does not reach the guest, not whole. */
static bool has_lost_message(const struct conn *c)
{
	return conn_has_rest(c) || c->end == CONN_END_TOO_LONG_FOR_GUEST ||
		c->end == CONN_END_NO_MEMORY;
}

void conn_close_stream(struct conn *c)
{
	bool is_orderly = c->guest_shutdown & VSOCK_SHUTDOWN_SEND && !conn_holds_any(c) &&
		!c->host_lost_data && !has_lost_message(c);

	if (c->stream)
		c->stream->ops->close(c->stream, is_orderly);
	c->stream = NULL;
	byte_ring_deinit(&c->to_host);
	if (c->messages) {
		conn_clear_messages(c);
		byte_ring_deinit(&c->messages->to_guest);
	}
}

void conn_free(struct conn *c)
{
	conn_close_stream(c);
	conn_messages_free(c->messages);
	free(c);
}

static void note_end(struct conn *c, enum conn_end why)
{
	if (!c->end)
		c->end = (uint8_t)why;
}

void conn_end(struct conn *c, enum conn_end why)
{
	note_end(c, why);
	conn_close_stream(c);
	c->state = CONN_DEAD;
}

void conn_reset(struct conn *c, enum conn_end why)
{
	bool is_known = !c->orphaned && !(c->state == CONN_REQUESTED && c->request_pending);

	c->rst_waits = false;
	if (c->state == CONN_RESET || c->state == CONN_DEAD)
		return;
	note_end(c, why);
	conn_close_stream(c);
	c->state = is_known ? CONN_RESET : CONN_DEAD;
}

void conn_abort(struct conn *c, enum conn_end why)
{
	conn_drop_begun(c);
	if (c->state == CONN_OPEN && conn_has_for_host(c)) {
		note_end(c, why);
		c->state = CONN_LINGERING;
	} else if (c->state != CONN_LINGERING) {
		conn_reset(c, why);
	}
}

/* The credit that a packet carries; true if it is another. A peer that is a guest has to know
 * what may come, and what it has consumed may be due now. */
static bool take_credit(struct conn *c, const struct pkt *pkt)
{
	uint32_t window = credit_window(&c->credit);
	bool changed = credit_update(&c->credit, pkt->buf_alloc, pkt->fwd_cnt);

	if (c->stream && c->stream->consumed && credit_window(&c->credit) != window) {
		c->stream->ops->window(c->stream, credit_window(&c->credit));
		conn_count_consumed(c);
	}
	return changed;
}

void conn_begin_connecting(struct conn *c, const struct pkt *request)
{
	c->state = CONN_CONNECTING;
	take_credit(c, request);
}

void conn_begin_requested(struct conn *c)
{
	c->state = CONN_REQUESTED;
	c->from_peer = true;
	c->request_pending = true;
}

void conn_connected(struct conn *c, struct stream *live)
{
	if (live && live != c->stream) {
		if (c->stream)
			c->stream->ops->close(c->stream, false);
		c->stream = live;
		live->conn = c;
	}
	if (!live) {
		conn_reset(c, CONN_END_REFUSED);
	} else {
		c->state = CONN_OPEN;
		c->response_pending = true;
	}
}

void conn_guest_gone(struct conn *c, enum conn_end why)
{
	conn_drop_begun(c);
	if ((c->state == CONN_OPEN || c->state == CONN_LINGERING) && conn_has_for_host(c)) {
		note_end(c, why);
		c->state = CONN_LINGERING;
		c->orphaned = true;
		conn_stream_ready(c);
	} else {
		conn_end(c, why);
	}
}

static void on_shutdown(struct conn *c, uint32_t flags)
{
	uint8_t news = (uint8_t)(flags & VSOCK_SHUTDOWN_BOTH & ~(uint32_t)c->guest_shutdown);

	c->guest_shutdown |= news;
	if (c->guest_shutdown & VSOCK_SHUTDOWN_SEND)
		conn_drop_begun(c);
	if (c->guest_shutdown == VSOCK_SHUTDOWN_BOTH)
		c->state = CONN_LINGERING;
	if (!conn_has_for_host(c))
		conn_host_has_all(c);
	if (news & VSOCK_SHUTDOWN_RCV && c->stream)
		c->stream->ops->shutdown(c->stream, SHUT_RD);
	conn_stream_ready(c);			/* where the host has closed, this is the end */
}

static void on_rw(struct conn *c, uint32_t len, uint32_t flags, struct iov_cur *payload,
		  struct gather *gather)
{
	if (c->guest_shutdown & VSOCK_SHUTDOWN_SEND)
		conn_reset(c, CONN_END_PROTOCOL);
	else if (!credit_receive(&c->credit, len))
		conn_reset(c, CONN_END_CREDIT);
	else
		gather_add(gather, c, payload, len, c->messages && flags & VSOCK_SEQ_EOM ? flags : 0);
}

static void on_response(struct conn *c)
{
	c->state = CONN_OPEN;
	c->stream->ops->accepted(c->stream, &c->guest);
}

static void input_open(struct conn *c, const struct pkt *pkt, struct iov_cur *payload,
		       struct gather *gather)
{
	switch (pkt->op) {
	case VSOCK_OP_RW:
		on_rw(c, pkt->len, pkt->flags, payload, gather);
		return;
	case VSOCK_OP_SHUTDOWN:
		on_shutdown(c, pkt->flags);
		return;
	case VSOCK_OP_CREDIT_REQUEST:
		c->credit_update_pending = true;
		return;
	case VSOCK_OP_CREDIT_UPDATE:
		return;
	default:
		conn_reset(c, CONN_END_PROTOCOL);
	}
}

static void input_closing(struct conn *c, const struct pkt *pkt)
{
	switch (pkt->op) {
	case VSOCK_OP_SHUTDOWN:
		c->guest_shutdown |= pkt->flags & VSOCK_SHUTDOWN_BOTH;
		if (c->guest_shutdown == VSOCK_SHUTDOWN_BOTH)
			conn_reset(c, CONN_END_HOST);
		return;
	case VSOCK_OP_CREDIT_UPDATE:
	case VSOCK_OP_CREDIT_REQUEST:
		return;
	default:
		conn_reset(c, CONN_END_PROTOCOL);
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

/* What RST means depends on who is waiting for it. */
static enum conn_end why_rst(const struct conn *c)
{
	return c->state == CONN_CLOSING ? CONN_END_HOST : CONN_END_GUEST_RST;
}

void conn_input(struct conn *c, const struct pkt *pkt, struct iov_cur *payload,
		struct gather *gather)
{
	uint32_t consumed = c->credit.consumed;

	if (pkt->op == VSOCK_OP_RST) {
		conn_guest_gone(c, why_rst(c));
		return;
	}
	if (pkt->type != conn_type(c)) {
		conn_reset(c, CONN_END_PROTOCOL);
		return;
	}
	if (take_credit(c, pkt))
		c->credit_asked = false;
	if (c->credit.consumed != consumed)
		on_consumed(c);
	if (conn_wants_to_read(c) && !conn_rest_fits(c)) {
		conn_reset(c, CONN_END_TOO_LONG_FOR_GUEST);
		return;
	}
	c->news_came = true;
	switch ((enum conn_state)c->state) {
	case CONN_CONNECTING:
		if (!is_credit_op(pkt->op))
			conn_reset(c, CONN_END_PROTOCOL);
		return;
	case CONN_REQUESTED:
		if (pkt->op == VSOCK_OP_RESPONSE && !c->request_pending)
			on_response(c);
		else if (!is_credit_op(pkt->op))
			conn_reset(c, CONN_END_PROTOCOL);
		return;
	case CONN_OPEN:
		input_open(c, pkt, payload, gather);
		return;
	case CONN_LINGERING:
		if (!is_credit_op(pkt->op) && pkt->op != VSOCK_OP_SHUTDOWN)
			conn_reset(c, CONN_END_PROTOCOL);
		return;
	case CONN_CLOSING:
		input_closing(c, pkt);
		return;
	case CONN_RESET:
	case CONN_DEAD:
		return;
	}
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
		return c->rst_waits ? CONN_TIMER_RST : CONN_TIMER_NONE;
	case CONN_DEAD:
		return CONN_TIMER_NONE;
	}
	return CONN_TIMER_NONE;
}

void conn_expired(struct conn *c)
{
	switch ((enum conn_state)c->state) {
	case CONN_CONNECTING:
		conn_reset(c, CONN_END_CONNECT_TIMEOUT);
		return;
	case CONN_REQUESTED:
		conn_end(c, CONN_END_REQUEST_TIMEOUT);	/* a late RESPONSE is answered by RST */
		return;
	case CONN_OPEN:
		if (c->news_asked && c->asks < CONN_ASKS)
			c->asks++;
		c->news_asked = c->credit_asked = false;
		return;
	case CONN_LINGERING:
		conn_reset(c, CONN_END_LINGER_TIMEOUT);
		return;
	case CONN_CLOSING:
		conn_reset(c, CONN_END_CLOSING_TIMEOUT);
		return;
	case CONN_RESET:
		c->rst_waits = false;
		return;
	case CONN_DEAD:
		return;
	}
}

const char *conn_str_state(enum conn_state state)
{
	static const char *const text[] = {
		[CONN_CONNECTING] = "connecting", [CONN_REQUESTED] = "requested",
		[CONN_OPEN] = "open", [CONN_LINGERING] = "lingering", [CONN_CLOSING] = "closing",
		[CONN_RESET] = "reset", [CONN_DEAD] = "dead",
	};
	static_assert(sizeof text / sizeof *text == CONN_NUM_STATES, "each has a name");

	return text[state];
}

const char *conn_str_end(enum conn_end why)
{
	static const char *const text[] = {
		[CONN_END_NONE] = "not at all",
		[CONN_END_GUEST] = "closed by the guest", [CONN_END_HOST] = "closed by the host",
		[CONN_END_GUEST_RST] = "reset by the guest",
		[CONN_END_HOST_RST] = "reset by the host",
		[CONN_END_GUEST_GONE] = "the guest was reset or is gone",
		[CONN_END_GUEST_STOPPED] = "the guest stays stopped",
		[CONN_END_MEMORY_LOST] = "guest memory vanished",
		[CONN_END_PROTOCOL] = "the guest sent a packet that must not come",
		[CONN_END_CREDIT] = "the guest sent more than it had credit for",
		[CONN_END_NO_MEMORY] = "no memory to buffer it",
		[CONN_END_REFUSED] = "refused",
		[CONN_END_HOST_LEFT] = "the host closed without having read all",
		[CONN_END_HOST_ERROR] = "an error of the host's side",
		[CONN_END_CONNECT_TIMEOUT] = "the host's side did not connect in time",
		[CONN_END_REQUEST_TIMEOUT] = "the guest did not answer",
		[CONN_END_LINGER_TIMEOUT] = "the host did not read the rest in time",
		[CONN_END_CLOSING_TIMEOUT] = "the guest did not answer SHUTDOWN",
		[CONN_END_LOST] = "lost with the process that had it",
		[CONN_END_TOO_LONG] = "a message from the guest is longer than what is buffered "
			"for it (tx-buffer-size)",
		[CONN_END_TOO_LONG_FOR_HOST] = "a message from the guest is longer than the "
			"host's socket can take (net.core.wmem_max, at most about 4 MiB; "
			"SO_VM_SOCKETS_BUFFER_SIZE of an AF_VSOCK one)",
		[CONN_END_TOO_LONG_FOR_GUEST] = "a message from the host is longer than what the "
			"guest buffers (SO_VM_SOCKETS_BUFFER_SIZE of its socket)",
		[CONN_END_OPERATOR] = "reset by the operator",
	};
	static_assert(sizeof text / sizeof *text == CONN_NUM_ENDS, "each has a text");

	return text[why];
}
