/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Stream sockets of the scripted guest: see sock.h.
 */
#include "support/sock.h"

#include <stdlib.h>
#include <string.h>

#include "support/deadline.h"
#include "support/must.h"

enum { BUCKETS = 4096, PACKET_MAX = 64 * 1024 };

static struct sock **bucket(struct driver *d, uint32_t port, uint32_t peer_port)
{
	return &d->socks[(port * 2654435761u ^ peer_port) % BUCKETS];
}

void sock_init(struct driver *d)
{
	d->socks = calloc(BUCKETS, sizeof *d->socks);
	must(d->socks);
	d->input = sock_input;
	d->next_port = 1024;
}

static void destroy(struct sock *s)
{
	free(s->queue);
	free(s);
}

void sock_forget_all(struct driver *d)
{
	struct sock *s;

	for (unsigned i = 0; i < BUCKETS; i++) {
		while ((s = d->socks[i])) {
			d->socks[i] = s->next;
			destroy(s);
		}
	}
	d->backlog = NULL;
}

void sock_deinit(struct driver *d)
{
	sock_forget_all(d);
	free(d->socks);
}

static struct sock *find(struct driver *d, uint64_t peer_cid, uint32_t port,
			 uint32_t peer_port)
{
	struct sock *s = *bucket(d, port, peer_port);

	while (s && (s->port != port || s->peer_port != peer_port ||
		     s->peer_cid != peer_cid))
		s = s->next;
	return s;
}

static struct sock *new(struct driver *d, uint32_t port, uint32_t peer_port)
{
	struct sock *s = calloc(1, sizeof *s), **b = bucket(d, port, peer_port);

	must(s);
	*s = (struct sock){
		.d = d, .next = *b, .port = port, .peer_port = peer_port,
		.peer_cid = VSOCK_CID_HOST, .buf_alloc = d->opt.buf_alloc,
	};
	return *b = s;
}

void sock_free(struct sock *s)
{
	struct sock **p = bucket(s->d, s->port, s->peer_port);

	while (*p != s)
		p = &(*p)->next;
	*p = s->next;
	destroy(s);
}

static void send_op(struct sock *s, uint16_t op, uint32_t flags,
		    const void *data, uint32_t len)
{
	struct driver_pkt p = driver_pkt(s->d, op, s->port, s->peer_port);

	p.dst_cid = s->peer_cid;
	p.flags = flags;
	p.len = len;
	p.buf_alloc = s->buf_alloc;
	p.fwd_cnt = s->reported_fwd_cnt = s->fwd_cnt;
	if (!driver_send(s->d, &p, data))
		die("the device does not take packets: op %u", op);
}

static void answer_stranger(struct driver *d, const struct driver_pkt *p)
{
	struct driver_pkt rst = driver_pkt(d, VSOCK_OP_RST, p->dst_port, p->src_port);

	d->n_strangers++;
	rst.dst_cid = p->src_cid;
	rst.type = p->type;
	rst.buf_alloc = 0;
	if (p->op != VSOCK_OP_RST)
		driver_send(d, &rst, NULL);
}

static void take_credit(struct sock *s, const struct driver_pkt *p)
{
	if ((uint32_t)(s->sent - p->fwd_cnt) > (uint32_t)(s->sent - s->peer_fwd_cnt))
		die("fwd_cnt %u is behind %u or beyond what was sent, %u",
		    (unsigned)p->fwd_cnt, (unsigned)s->peer_fwd_cnt,
		    (unsigned)s->sent);
	s->peer_buf_alloc = p->buf_alloc;
	s->peer_fwd_cnt = p->fwd_cnt;
}

static void on_request(struct driver *d, const struct driver_pkt *p)
{
	struct sock *s, **tail = &d->backlog;
	unsigned i = 0;

	while (i < d->n_listening && d->listening[i] != p->dst_port)
		i++;
	if (i == d->n_listening) {
		answer_stranger(d, p);
		return;
	}
	s = new(d, p->dst_port, p->src_port);
	s->peer_cid = p->src_cid;
	s->sink = d->accept_sink;
	s->state = SOCK_OPEN;
	take_credit(s, p);
	send_op(s, VSOCK_OP_RESPONSE, 0, NULL, 0);
	while (*tail)
		tail = &(*tail)->backlog_next;
	*tail = s;
}

static void enqueue(struct sock *s, const uint8_t *data, uint32_t len)
{
	uint32_t at = (s->queue_first + s->n_queue) % s->buf_alloc;
	uint32_t n = len < s->buf_alloc - at ? len : s->buf_alloc - at;

	if (!s->queue)
		must(s->queue = malloc(s->buf_alloc));
	memcpy(s->queue + at, data, n);
	memcpy(s->queue, data + n, len - n);
	s->n_queue += len;
}

static void on_data(struct sock *s, const struct driver_pkt *p,
		    const uint8_t *data)
{
	if (!p->len)
		die("data packet without data");
	s->arrived += p->len;
	if ((uint32_t)(s->arrived - s->reported_fwd_cnt) > s->buf_alloc)
		die("%u bytes beyond the credit of %u",
		    (unsigned)(s->arrived - s->reported_fwd_cnt), (unsigned)s->buf_alloc);
	if (s->peer_shutdown & VSOCK_SHUTDOWN_SEND)
		die("data behind SHUTDOWN");
	if (!s->sink) {
		enqueue(s, data, p->len);
		return;
	}
	s->sink(s, data, p->len);
	s->total += p->len;
	s->fwd_cnt += p->len;
	if (s->buf_alloc - (s->fwd_cnt - s->reported_fwd_cnt) < PACKET_MAX)
		sock_tell_credit(s);
}

static void on_shutdown(struct sock *s, uint32_t flags)
{
	if (!flags || flags & ~(uint32_t)VSOCK_SHUTDOWN_BOTH)
		die("SHUTDOWN with flags %#x", (unsigned)flags);
	s->peer_shutdown |= flags;
	if (s->peer_shutdown == VSOCK_SHUTDOWN_BOTH && !s->n_queue) {
		sock_send_rst(s);
		s->state = SOCK_RESET;
	}
}

static void on_open(struct sock *s, const struct driver_pkt *p,
		    const uint8_t *data)
{
	if (p->op != VSOCK_OP_RST)
		take_credit(s, p);
	switch (p->op) {
	case VSOCK_OP_RW:
		on_data(s, p, data);
		break;
	case VSOCK_OP_RST:
		s->state = SOCK_RESET;
		break;
	case VSOCK_OP_SHUTDOWN:
		on_shutdown(s, p->flags);
		break;
	case VSOCK_OP_CREDIT_UPDATE:
		s->n_credit_updates++;
		break;
	case VSOCK_OP_CREDIT_REQUEST:
		s->n_credit_requests++;
		sock_tell_credit(s);
		break;
	default:
		die("op %u on an open connection", p->op);
	}
}

void sock_input(struct driver *d, const struct driver_pkt *p, const uint8_t *data)
{
	struct sock *s = find(d, p->src_cid, p->dst_port, p->src_port);

	if (p->type != VSOCK_TYPE_STREAM && (s || p->op != VSOCK_OP_RST))
		die("packet of type %u", p->type);
	if (!s && p->op == VSOCK_OP_REQUEST) {
		on_request(d, p);
	} else if (!s) {
		answer_stranger(d, p);
	} else if (s->state == SOCK_OPEN) {
		on_open(s, p, data);
	} else if (s->state == SOCK_CONNECTING) {
		if (p->op != VSOCK_OP_RESPONSE && p->op != VSOCK_OP_RST)
			die("op %u before RESPONSE", p->op);
		s->was_refused = p->op == VSOCK_OP_RST;
		s->state = s->was_refused ? SOCK_RESET : SOCK_OPEN;
		if (s->state == SOCK_OPEN)
			take_credit(s, p);
	} else if (p->op != VSOCK_OP_RST) {
		die("op %u behind RST", p->op);
	}
}

struct sock *sock_dial(struct driver *d, uint32_t port)
{
	return sock_dial_to(d, VSOCK_CID_HOST, port);
}

struct sock *sock_dial_to(struct driver *d, uint64_t cid, uint32_t port)
{
	struct sock *s = new(d, d->next_port++, port);

	s->peer_cid = cid;
	s->state = SOCK_CONNECTING;
	send_op(s, VSOCK_OP_REQUEST, 0, NULL, 0);
	return s;
}

bool sock_wait_open(struct sock *s)
{
	int64_t deadline = deadline_in(DEADLINE_MS);

	while (s->state == SOCK_CONNECTING)
		if (!driver_wait(s->d, deadline, false))
			die("no answer to REQUEST");
	return s->state == SOCK_OPEN;
}

struct sock *sock_connect(struct driver *d, uint32_t port)
{
	struct sock *s = sock_dial(d, port);

	if (!sock_wait_open(s))
		die("connection to port %u refused", (unsigned)port);
	return s;
}

void sock_listen(struct driver *d, uint32_t port)
{
	for (unsigned i = 0; i < d->n_listening; i++)
		if (d->listening[i] == port)
			return;
	must(d->n_listening < sizeof d->listening / sizeof d->listening[0]);
	d->listening[d->n_listening++] = port;
}

void sock_unlisten(struct driver *d, uint32_t port)
{
	for (unsigned i = 0; i < d->n_listening; i++)
		if (d->listening[i] == port)
			d->listening[i--] = d->listening[--d->n_listening];
}

struct sock *sock_accept(struct driver *d, uint32_t port)
{
	int64_t deadline = deadline_in(DEADLINE_MS);
	struct sock **p, *s;

	for (;;) {
		for (p = &d->backlog; *p && (*p)->port != port;)
			p = &(*p)->backlog_next;
		if ((s = *p)) {
			*p = s->backlog_next;
			return s;
		}
		if (!driver_wait(d, deadline, false))
			die("nobody connected to the guest's port %u",
			    (unsigned)port);
	}
}

uint32_t sock_room(const struct sock *s)
{
	uint32_t in_flight = s->sent - s->peer_fwd_cnt;

	return in_flight < s->peer_buf_alloc ? s->peer_buf_alloc - in_flight : 0;
}

size_t sock_send_some(struct sock *s, const void *bytes, size_t len)
{
	const uint8_t *p = bytes;
	size_t done = 0;
	uint32_t n;

	while (done < len && s->state == SOCK_OPEN && driver_can_send(s->d)) {
		n = sock_room(s);
		n = n < PACKET_MAX ? n : PACKET_MAX;
		n = n < len - done ? n : (uint32_t)(len - done);
		if (!n)
			break;
		s->sent += n;
		send_op(s, VSOCK_OP_RW, 0, p ? p + done : NULL, n);
		done += n;
	}
	return done;
}

bool sock_send(struct sock *s, const void *bytes, size_t len)
{
	int64_t deadline = deadline_in(DEADLINE_MS);
	const uint8_t *p = bytes;
	size_t n;

	while (len) {
		n = sock_send_some(s, p, len);
		p = p ? p + n : NULL;
		len -= n;
		if (n || !len)
			continue;
		if (s->state != SOCK_OPEN || !driver_wait(s->d, deadline, !driver_can_send(s->d)))
			return false;
	}
	return true;
}

void sock_tell_credit(struct sock *s)
{
	send_op(s, VSOCK_OP_CREDIT_UPDATE, 0, NULL, 0);
}

static size_t dequeue(struct sock *s, uint8_t *to, size_t len)
{
	uint32_t n = s->n_queue < len ? s->n_queue : (uint32_t)len;
	uint32_t first = s->buf_alloc - s->queue_first;

	first = first < n ? first : n;
	memcpy(to, s->queue + s->queue_first, first);
	memcpy(to + first, s->queue, n - first);
	s->queue_first = (s->queue_first + n) % s->buf_alloc;
	s->n_queue -= n;
	s->fwd_cnt += n;
	if (s->state == SOCK_OPEN && !(s->peer_shutdown & VSOCK_SHUTDOWN_SEND) &&
	    (!s->n_queue ||
	     s->buf_alloc - (s->fwd_cnt - s->reported_fwd_cnt) < PACKET_MAX))
		sock_tell_credit(s);
	return n;
}

ssize_t sock_recv(struct sock *s, void *bytes, size_t len, int ms)
{
	int64_t deadline = deadline_in(ms);

	while (!s->n_queue) {
		if (s->state == SOCK_RESET || s->peer_shutdown & VSOCK_SHUTDOWN_SEND)
			return 0;
		if (!driver_wait(s->d, deadline, false))
			return -1;
	}
	return (ssize_t)dequeue(s, bytes, len);
}

size_t sock_recv_full(struct sock *s, void *bytes, size_t len)
{
	uint8_t *p = bytes;
	size_t done = 0;
	ssize_t n;

	while (done < len && (n = sock_recv(s, p + done, len - done, DEADLINE_MS)) > 0)
		done += (size_t)n;
	return done;
}

void sock_shutdown(struct sock *s, unsigned flags)
{
	s->our_shutdown |= flags;
	send_op(s, VSOCK_OP_SHUTDOWN, flags, NULL, 0);
}

void sock_send_rst(struct sock *s)
{
	send_op(s, VSOCK_OP_RST, 0, NULL, 0);
}

bool sock_wait_reset(struct sock *s, int ms)
{
	int64_t deadline = deadline_in(ms);

	while (s->state != SOCK_RESET)
		if (!driver_wait(s->d, deadline, false))
			return false;
	return true;
}

bool sock_wait_shutdown(struct sock *s, unsigned flags, int ms)
{
	int64_t deadline = deadline_in(ms);

	while (s->state != SOCK_RESET && (s->peer_shutdown & flags) != flags)
		if (!driver_wait(s->d, deadline, false))
			return false;
	return true;
}

bool sock_close(struct sock *s)
{
	bool answered = true;

	if (s->state == SOCK_OPEN && s->peer_shutdown == VSOCK_SHUTDOWN_BOTH) {
		sock_send_rst(s);
	} else if (s->state == SOCK_OPEN) {
		sock_shutdown(s, VSOCK_SHUTDOWN_BOTH);
		s->n_queue = 0;
		answered = sock_wait_reset(s, DEADLINE_MS);
	}
	sock_free(s);
	return answered;
}
