/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Packets on the scripted guest's rings: see driver.h. This is the hot path of
 * benchmarks: no allocation, and no system call unless the device asked for a
 * kick or there is nothing to do.
 */
#include "support/driver_io.h"

#include <poll.h>
#include <string.h>

#include "support/deadline.h"
#include "support/must.h"

enum { HDR = sizeof(struct wire_vsock_hdr), PIECES = 5 };

static unsigned rx_layout(const struct driver *d, uint64_t gpa,
			  struct guest_ring_buf *b)
{
	static const uint32_t cuts[RX_SHAPES][3] = {
		[RX_TWO] = { HDR }, [RX_SPLIT_HEADER] = { 20, 23, 3 },
		[RX_INDIRECT] = { HDR, 100 },
	};
	uint32_t left = d->opt.rx_buf_len, cut;
	unsigned n = 0;

	for (unsigned i = 0; i < 3 && (cut = cuts[d->opt.rx_shape][i]); i++) {
		if (cut >= left)
			break;
		b[n++] = (struct guest_ring_buf){ gpa, cut, true };
		gpa += cut;
		left -= cut;
	}
	b[n++] = (struct guest_ring_buf){ gpa, left, true };
	return n;
}

bool driver_io_post_rx(struct driver *d, uint16_t buf)
{
	struct guest_ring *r = &d->vq[VSOCK_RXQ];
	uint64_t gpa = d->rx_gpa + buf * d->rx_stride;
	uint64_t table = gpa + (d->opt.rx_buf_len + 15) / 16 * 16;
	struct guest_ring_buf b[4];
	unsigned n = rx_layout(d, gpa, b);

	if (d->opt.rx_shape == RX_INDIRECT)
		return guest_ring_add_indirect(r, b, n, table, buf);
	return guest_ring_add(r, b, n, buf);
}

struct driver_pkt driver_parse(const uint8_t *header)
{
	struct wire_vsock_hdr w;

	memcpy(&w, header, sizeof w);
	return (struct driver_pkt){
		.src_cid = le64_get(w.src_cid), .dst_cid = le64_get(w.dst_cid),
		.src_port = le32_get(w.src_port), .dst_port = le32_get(w.dst_port),
		.len = le32_get(w.len), .type = le16_get(w.type),
		.op = le16_get(w.op), .flags = le32_get(w.flags),
		.buf_alloc = le32_get(w.buf_alloc), .fwd_cnt = le32_get(w.fwd_cnt),
	};
}

static struct wire_vsock_hdr wire(const struct driver_pkt *p)
{
	return (struct wire_vsock_hdr){
		.src_cid = le64_of(p->src_cid), .dst_cid = le64_of(p->dst_cid),
		.src_port = le32_of(p->src_port), .dst_port = le32_of(p->dst_port),
		.len = le32_of(p->len), .type = le16_of(p->type),
		.op = le16_of(p->op), .flags = le32_of(p->flags),
		.buf_alloc = le32_of(p->buf_alloc), .fwd_cnt = le32_of(p->fwd_cnt),
	};
}

void driver_put_header(struct driver *d, uint64_t gpa, const struct driver_pkt *p)
{
	struct wire_vsock_hdr w = wire(p);

	guest_write(&d->guest, gpa, &w, sizeof w);
}

static void take_rx(struct driver *d, uint64_t buf, uint32_t used_len)
{
	const uint8_t *mem = d->rx_mem + buf * d->rx_stride;
	struct driver_pkt p;

	if (used_len < HDR || used_len > d->opt.rx_buf_len)
		die("RX buffer of %u bytes used with length %u",
		    (unsigned)d->opt.rx_buf_len, (unsigned)used_len);
	p = driver_parse(mem);
	if (p.len != used_len - HDR)
		die("packet of %u bytes, used length %u", (unsigned)p.len,
		    (unsigned)used_len);
	if (p.dst_cid != d->opt.cid)
		die("packet for CID %llu", (unsigned long long)p.dst_cid);
	if (p.len && p.op != VSOCK_OP_RW)
		die("packet of op %u with %u bytes", p.op, (unsigned)p.len);
	d->n_rx_pkts++;
	d->input(d, &p, mem + HDR);
}

static bool turn_rx(struct driver *d)
{
	struct guest_ring *r = &d->vq[VSOCK_RXQ];
	uint32_t len, n = 0;
	uint64_t buf;

	while (n < r->num && guest_ring_pop(r, &buf, &len)) {
		n++;
		take_rx(d, buf, len);
		if (d->holds_rx)
			d->held[d->n_held++] = (uint16_t)buf;
		else
			driver_io_post_rx(d, (uint16_t)buf);
	}
	if (n)
		guest_ring_publish(r);
	return n;
}

static bool turn_tx(struct driver *d)
{
	struct guest_ring *r = &d->vq[VSOCK_TXQ];
	uint32_t len, n = 0;
	uint64_t slot;

	for (; guest_ring_pop(r, &slot, &len); n++) {
		if (len)
			die("TX chain used with length %u", (unsigned)len);
		d->tx_free[d->n_tx_free++] = (uint16_t)slot;
	}
	return n;
}

static bool turn_events(struct driver *d)
{
	struct guest_ring *r = &d->vq[VSOCK_EVENTQ];
	struct guest_ring_buf b = { .len = sizeof(struct wire_vsock_event), .writable = true };
	struct wire_vsock_event e;
	uint64_t i;
	uint32_t len;

	if (d->opt.habits->n_queues <= VSOCK_EVENTQ || !guest_ring_pop(r, &i, &len))
		return false;
	if (len != sizeof e)
		die("event of %u bytes", (unsigned)len);
	b.gpa = d->event_gpa + i * sizeof e;
	guest_read(&d->guest, b.gpa, &e, sizeof e);
	d->last_event = le32_get(e.id);
	d->n_events++;
	guest_ring_add(r, &b, 1, i);
	guest_ring_publish(r);
	return true;
}

bool driver_turn(struct driver *d)
{
	bool tx = turn_tx(d), rx = turn_rx(d), events = turn_events(d);

	return tx || rx || events;
}

bool driver_wait(struct driver *d, int64_t deadline, bool for_tx)
{
	struct guest_ring *rx = &d->vq[VSOCK_RXQ], *tx = &d->vq[VSOCK_TXQ];
	struct pollfd p[2] = {
		{ .fd = rx->call_fd, .events = POLLIN },
		{ .fd = for_tx ? tx->call_fd : -1, .events = POLLIN },
	};
	bool ready;

	while (!driver_turn(d)) {
		ready = guest_ring_want_call(rx) || (for_tx && guest_ring_want_call(tx));
		if (!ready && poll(p, 2, deadline_left(deadline)) <= 0)
			return driver_turn(d);
		guest_ring_take_call(rx);
		guest_ring_refuse_calls(rx);
		if (for_tx) {
			guest_ring_take_call(tx);
			guest_ring_refuse_calls(tx);
		}
	}
	return true;
}

bool driver_is_quiet(struct driver *d, int ms)
{
	uint64_t before = d->n_rx_pkts;
	int64_t deadline = deadline_in(ms);

	while (driver_wait(d, deadline, false) && d->n_rx_pkts == before)
		;
	return d->n_rx_pkts == before;
}

bool driver_flush(struct driver *d)
{
	int64_t deadline = deadline_in(DEADLINE_MS);

	while (guest_ring_in_flight(&d->vq[VSOCK_TXQ]))
		if (!driver_wait(d, deadline, true))
			return false;
	return true;
}

void driver_release_some(struct driver *d, uint32_t n)
{
	while (d->n_held && n--)
		driver_io_post_rx(d, d->held[--d->n_held]);
	guest_ring_publish(&d->vq[VSOCK_RXQ]);
}

void driver_release_rx(struct driver *d)
{
	d->holds_rx = false;
	driver_release_some(d, d->n_held);
}

static unsigned tx_layout(const struct driver *d, uint64_t slot, uint32_t len,
			  struct guest_ring_buf *b)
{
	uint64_t hdr = slot + TX_HEADER_AT, data = slot + TX_DATA_AT;
	uint32_t piece = len / PIECES;
	unsigned n = 0;

	b[n++] = (struct guest_ring_buf){ hdr, HDR, false };
	if (d->opt.tx_shape == TX_ONE || (!len && d->opt.tx_shape != TX_SPLIT_HEADER)) {
		b[0].len += len;
		return n;
	}
	if (d->opt.tx_shape == TX_SPLIT_HEADER) {
		b[0].len = 1;
		b[n++] = (struct guest_ring_buf){ hdr + 1, HDR - 2, false };
		b[n++] = (struct guest_ring_buf){ hdr + HDR - 1, 1 + len, false };
		return n;
	}
	for (; d->opt.tx_shape != TX_TWO && d->opt.tx_shape != TX_INDIRECT_TWO &&
	       n < PIECES && piece; n++) {
		b[n] = (struct guest_ring_buf){ data, piece, false };
		data += piece;
		len -= piece;
	}
	b[n++] = (struct guest_ring_buf){ data, len, false };
	return n;
}

bool driver_can_send(struct driver *d)
{
	if (d->n_tx_free && d->vq[VSOCK_TXQ].n_free >= 8)
		return true;
	turn_tx(d);
	return d->n_tx_free && d->vq[VSOCK_TXQ].n_free;
}

/* Only the TX ring moves: the caller may be in the middle of a received packet. */
static bool wait_tx(struct driver *d, int64_t deadline)
{
	struct guest_ring *r = &d->vq[VSOCK_TXQ];

	while (!turn_tx(d)) {
		if (!guest_ring_want_call(r) &&
		    !deadline_poll(r->call_fd, POLLIN, deadline))
			return turn_tx(d);
		guest_ring_take_call(r);
		guest_ring_refuse_calls(r);
	}
	return true;
}

static bool add_tx(struct driver *d, uint16_t slot, const struct driver_pkt *p)
{
	struct guest_ring *r = &d->vq[VSOCK_TXQ];
	uint64_t gpa = d->tx_gpa + (uint64_t)slot * TX_SLOT;
	struct guest_ring_buf b[PIECES + 2];
	unsigned n = tx_layout(d, gpa, p->len, b);

	if (d->opt.tx_shape == TX_INDIRECT || (d->opt.tx_shape == TX_INDIRECT_TWO && n > 1))
		return guest_ring_add_indirect(r, b, n, gpa + TX_TABLE_AT, slot);
	return guest_ring_add(r, b, n, slot);
}

bool driver_send(struct driver *d, const struct driver_pkt *p, const void *data)
{
	int64_t deadline = -1;
	struct wire_vsock_hdr w = wire(p);
	uint8_t *mem;
	uint16_t slot;

	must(p->len <= VSOCK_BODY_MAX);
	for (;;) {
		if (driver_can_send(d)) {
			slot = d->tx_free[d->n_tx_free - 1];
			mem = d->tx_mem + (uint64_t)slot * TX_SLOT;
			memcpy(mem + TX_HEADER_AT, &w, sizeof w);
			if (data && p->len)
				memcpy(mem + TX_DATA_AT, data, p->len);
			else if (d->fill && p->len)
				d->fill(d, slot, mem + TX_DATA_AT, p->len);
			if (add_tx(d, slot, p))
				break;
		}
		if (deadline < 0)
			deadline = deadline_in(DEADLINE_MS);
		if (!wait_tx(d, deadline))
			return false;
	}
	d->n_tx_free--;
	d->n_tx_pkts++;
	guest_ring_publish(&d->vq[VSOCK_TXQ]);
	return true;
}
