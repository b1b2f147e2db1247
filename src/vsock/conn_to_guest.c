/* SPDX-License-Identifier: BSD-3-Clause */
/* One connection, towards the guest: what there is to send, and sending it. */
#include "vsock/conn_internal.h"

enum { READS_MAX = 512 };			/* in one turn of a connection */

static bool has_room(const struct conn *c)
{
	return credit_room(&c->credit) && conn_packets(c);
}

static bool can_read(const struct conn *c)
{
	return conn_wants_to_read(c) && conn_may_read(c) && has_room(c);
}

static bool must_ask(const struct conn *c)
{
	return (!c->credit_asked && conn_lacks_credit(c)) || (!c->news_asked && conn_lacks_news(c));
}

static bool must_send_credit(const struct conn *c)
{
	bool has_begun = c->messages && c->messages->begun;

	return c->state == CONN_OPEN && !(c->guest_shutdown & VSOCK_SHUTDOWN_SEND) &&
		(c->credit_update_pending || credit_is_due(&c->credit) ||
		 (has_begun && credit_is_due_to_finish(&c->credit)));
}

bool conn_has_output(const struct conn *c)
{
	switch ((enum conn_state)c->state) {
	case CONN_REQUESTED:
		return c->request_pending;
	case CONN_OPEN:
		return c->response_pending || can_read(c) ||
			c->shutdown_pending & ~c->shutdown_sent || must_ask(c) ||
			must_send_credit(c);
	case CONN_CLOSING:
		return c->response_pending || c->shutdown_pending & ~c->shutdown_sent;
	case CONN_RESET:
		return !c->rst_waits;
	case CONN_CONNECTING:
	case CONN_LINGERING:
	case CONN_DEAD:
		return false;
	}
	return false;
}

unsigned conn_interest(const struct conn *c)
{
	unsigned events = 0;

	if (conn_wants_to_read(c) && has_room(c))
		events |= STREAM_IN;
	if ((c->state == CONN_OPEN || c->state == CONN_LINGERING) && conn_has_for_host(c))
		events |= STREAM_OUT;
	return events;
}

/* Makes a packet to the guest; each carries our credit. */
static struct pkt make_pkt(struct conn *c, uint16_t op, uint32_t flags)
{
	conn_count_consumed(c);
	return (struct pkt){
		.src = c->peer, .dst = c->guest, .type = (uint16_t)conn_type(c), .op = op,
		.flags = flags, .buf_alloc = c->credit.buf_alloc, .fwd_cnt = c->credit.fwd_cnt,
	};
}

static void credit_was_sent(struct conn *c)
{
	c->credit.reported_fwd_cnt = c->credit.fwd_cnt;
	c->credit_update_pending = false;
}

/* False: starved. */
static bool send(struct conn *c, const struct rx_sink *rx, uint16_t op, uint32_t flags)
{
	struct pkt pkt = make_pkt(c, op, flags);

	if (!rx_send(rx, &pkt))
		return false;
	credit_was_sent(c);
	return true;
}

bool conn_send_credit_update(struct conn *c, const struct rx_sink *rx, size_t *moved)
{
	*moved += PKT_HDR_SIZE;
	return send(c, rx, VSOCK_OP_CREDIT_UPDATE, 0);
}

/* Where the @len bytes after a buffer's header lie: at most @max iovecs, which
 * describe @described of them. */
static size_t slice_body(const struct rx_buf *buf, size_t len, struct iovec *out, size_t max,
			 size_t *described)
{
	struct iov_cur cur;

	if (buf->n == 1) {			/* as a Linux guest's */
		*out = (struct iovec){ (char *)buf->iov->iov_base + PKT_HDR_SIZE, len };
		*described = len;
		return 1;
	}
	iov_cur_init(&cur, buf->iov, buf->n);
	iov_cur_slice(&cur, PKT_HDR_SIZE, out, max, described);
	if (*described < PKT_HDR_SIZE) {
		*described = 0;
		return 0;
	}
	return iov_cur_slice(&cur, len, out, max, described);
}

size_t conn_slice_bodies(const struct rx_buf *bufs, size_t n_bufs, size_t limit,
			 struct iovec *scratch, size_t n_scratch, size_t *described)
{
	size_t n = 0, total = 0;

	for (size_t i = 0; i < n_bufs && total < limit && n < n_scratch; i++) {
		size_t body = bufs[i].len - PKT_HDR_SIZE, here;

		if (body > VSOCK_BODY_MAX)
			body = VSOCK_BODY_MAX;
		if (body > limit - total)
			body = limit - total;
		n += slice_body(&bufs[i], body, scratch + n, n_scratch - n, &here);
		total += here;
		if (here < body)
			break;
	}
	*described = total;
	return n;
}

size_t conn_fill_headers(struct conn *c, const struct rx_sink *rx, const struct rx_buf *bufs,
			 size_t got, uint32_t flags)
{
	struct pkt pkt = make_pkt(c, VSOCK_OP_RW, 0);
	uint32_t lens[RX_BORROW_MAX];
	struct wire_vsock_hdr hdr;
	size_t n = 0, total = got;

	pkt_build(&pkt, &hdr);
	for (; got || (flags && !n); n++) {
		size_t body = bufs[n].len - PKT_HDR_SIZE;

		if (body > VSOCK_BODY_MAX)
			body = VSOCK_BODY_MAX;
		if (body > got)
			body = got;
		hdr.len = le32_of((uint32_t)body);
		if (body == got)
			hdr.flags = le32_of(flags);
		iov_copy_to(bufs[n].iov, bufs[n].n, &hdr, sizeof hdr);
		if (rx->trace) {
			pkt.len = (uint32_t)body;
			pkt.flags = body == got ? flags : 0;
			rx->trace(rx->trace_ctx, &pkt, &bufs[n]);
		}
		lens[n] = (uint32_t)(PKT_HDR_SIZE + body);
		got -= body;
	}
	rx->used(rx->ctx, lens, n);
	credit_sent(&c->credit, (uint32_t)total, (uint32_t)n);
	credit_was_sent(c);
	return n;
}

/* After a read of @got bytes, where @hint were expected and @asked for. Next time twice as much
 * after a full read, else a little more than there was, but not much less than this time: it may
 * be the rest of something. Buffers are borrowed for it, and given back where it was too much. A
 * read that was full because credit or buffers were short says nothing. */
static void adapt_hint(struct conn *c, size_t hint, size_t asked, size_t got)
{
	size_t less = hint - hint / 8;

	if (got == asked && asked < hint)
		return;
	hint = got == asked ? 2 * hint : got + got / 8;
	if (hint < less)
		hint = less;
	if (hint > CONN_TURN_MAX)
		hint = CONN_TURN_MAX;
	c->read_hint = (uint32_t)(hint > READ_HINT_MIN ? hint : READ_HINT_MIN);
}

/* Reads once, into as many buffers as it may fill. Adds to *@moved; false: starved. */
static bool read_to_guest(struct conn *c, const struct rx_sink *rx, struct iovec *scratch,
			  size_t n_scratch, size_t *moved)
{
	size_t limit = credit_room(&c->credit), body, hint, want, n, asked, got;
	const struct rx_buf *bufs;
	int r;

	if (!rx->borrow(rx->ctx, 1, &bufs))
		return false;
	if (bufs[0].len == PKT_HDR_SIZE)	/* no room for data: use it up all the same */
		return conn_send_credit_update(c, rx, moved);
	body = bufs[0].len - PKT_HDR_SIZE;
	hint = c->read_hint > body ? c->read_hint : body;	/* one buffer, all of it */
	if (limit > hint)
		limit = hint;
	want = (limit + body - 1) / body;
	if (want > credit_packets(&c->credit))
		want = credit_packets(&c->credit);
	n = rx->borrow(rx->ctx, want < RX_BORROW_MAX ? want : RX_BORROW_MAX, &bufs);
	n = conn_slice_bodies(bufs, n, limit, scratch, n_scratch, &asked);
	r = c->stream->ops->read(c->stream, scratch, (int)n, &got);
	if (r == 0) {
		adapt_hint(c, hint, asked, got);
		*moved += got + conn_fill_headers(c, rx, bufs, got, 0) * PKT_HDR_SIZE;
	} else if (r == STREAM_E_AGAIN) {
		c->stream->ready &= ~(unsigned)STREAM_IN;
	} else {
		conn_read_ended(c, r);
	}
	return true;
}

static int output_data(struct conn *c, const struct rx_sink *rx, struct iovec *scratch,
		       size_t n_scratch, const struct conn_spill *spill, size_t *moved)
{
	size_t begin = *moved;

	for (int n = 0; can_read(c); n++) {
		bool is_sent;

		if (*moved - begin >= CONN_TURN_MAX || n == READS_MAX)
			return CONN_E_MORE;
		is_sent = c->messages ?
			conn_message_to_guest(c, rx, scratch, n_scratch, spill, moved) :
			read_to_guest(c, rx, scratch, n_scratch, moved);
		if (!is_sent)
			return CONN_E_STARVED;
	}
	return 0;
}

/* After the data: SHUTDOWN, credit. */
static int output_control(struct conn *c, const struct rx_sink *rx)
{
	uint8_t pending = c->shutdown_pending & (uint8_t)~c->shutdown_sent;

	if (pending && (c->state == CONN_OPEN || c->state == CONN_CLOSING)) {
		if (!send(c, rx, VSOCK_OP_SHUTDOWN, c->shutdown_pending))
			return CONN_E_STARVED;
		c->shutdown_sent |= pending;
	}
	if (must_ask(c)) {
		if (!send(c, rx, VSOCK_OP_CREDIT_REQUEST, 0))
			return CONN_E_STARVED;
		c->credit_asked = conn_lacks_credit(c);
		c->news_asked = conn_lacks_news(c);
		c->news_came = false;
	}
	if (must_send_credit(c) && !send(c, rx, VSOCK_OP_CREDIT_UPDATE, 0))
		return CONN_E_STARVED;
	return 0;
}

int conn_output(struct conn *c, const struct rx_sink *rx, struct iovec *scratch,
		size_t n_scratch, const struct conn_spill *spill, size_t *moved)
{
	int r;

	if (c->state == CONN_RESET) {
		if (!send(c, rx, VSOCK_OP_RST, 0))
			return CONN_E_STARVED;
		conn_end(c, c->end);
		return 0;
	}
	if (c->response_pending && (c->state == CONN_OPEN || c->state == CONN_CLOSING)) {
		if (!send(c, rx, VSOCK_OP_RESPONSE, 0))
			return CONN_E_STARVED;
		c->response_pending = false;
	}
	if (c->state == CONN_REQUESTED && c->request_pending) {
		if (!send(c, rx, VSOCK_OP_REQUEST, 0))
			return CONN_E_STARVED;
		c->request_pending = false;
	}
	if ((r = output_data(c, rx, scratch, n_scratch, spill, moved)))
		return r;
	return output_control(c, rx);
}
