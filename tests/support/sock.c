/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Sockets of the scripted guest: see sock.h.
 */
#include "support/sock.h"

#include <stdlib.h>
#include <string.h>

#include "support/deadline.h"
#include "support/must.h"
#include "support/sock_internal.h"

enum { BUCKETS = 4096 };

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
	marks_deinit(&s->marks);
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

static struct sock *new(struct driver *d, uint16_t type, uint32_t port, uint32_t peer_port)
{
	struct sock *s = calloc(1, sizeof *s), **b = bucket(d, port, peer_port);

	must(s);
	*s = (struct sock){
		.d = d, .next = *b, .type = type, .port = port, .peer_port = peer_port,
		.peer_cid = VSOCK_CID_HOST, .buf_alloc = d->opt.buf_alloc,
		.packet_max = SOCK_PACKET_MAX,
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

void sock_send_op(struct sock *s, uint16_t op, uint32_t flags, const void *data,
		  uint32_t len)
{
	struct driver_pkt p = driver_pkt(s->d, op, s->port, s->peer_port);

	p.dst_cid = s->peer_cid;
	p.type = s->type;
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

	while (i < d->n_listening && (d->listening[i].port != p->dst_port ||
				      d->listening[i].type != p->type))
		i++;
	if (i == d->n_listening) {
		answer_stranger(d, p);
		return;
	}
	s = new(d, p->type, p->dst_port, p->src_port);
	s->peer_cid = p->src_cid;
	s->sink = d->accept_sink;
	s->state = SOCK_OPEN;
	take_credit(s, p);
	sock_send_op(s, VSOCK_OP_RESPONSE, 0, NULL, 0);
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

static bool ends_message(const struct sock *s, const struct driver_pkt *p)
{
	if (s->type != VSOCK_TYPE_SEQPACKET)
		return false;
	if (p->flags & ~(uint32_t)(VSOCK_SEQ_EOM | VSOCK_SEQ_EOR) || p->flags == VSOCK_SEQ_EOR)
		die("data packet with flags %#x", (unsigned)p->flags);
	return p->flags & VSOCK_SEQ_EOM;
}

static void give_sink(struct sock *s, const struct driver_pkt *p, const uint8_t *data)
{
	s->flags = p->flags;
	s->sink(s, data, p->len);
	s->total += p->len;
}

/* Behind the messages that are there; @ends: it is one more. */
static void on_part(struct sock *s, const struct driver_pkt *p, const uint8_t *data, bool ends)
{
	s->part += p->len;
	if (s->sink)
		give_sink(s, p, data);
	else if (p->len)
		enqueue(s, data, p->len);
	if (!ends)
		return;
	if (s->sink) {
		s->fwd_cnt += s->part;
		sock_tell_credit(s);
	} else {
		marks_add(&s->marks, s->part, p->flags);
	}
	s->part = 0;
}

static void on_data(struct sock *s, const struct driver_pkt *p,
		    const uint8_t *data)
{
	bool ends = ends_message(s, p);

	if (!p->len && !ends)
		die("data packet without data");
	s->arrived += p->len;
	if ((uint32_t)(s->arrived - s->reported_fwd_cnt) > s->buf_alloc)
		die("%u bytes beyond the credit of %u",
		    (unsigned)(s->arrived - s->reported_fwd_cnt), (unsigned)s->buf_alloc);
	if (s->peer_shutdown & VSOCK_SHUTDOWN_SEND)
		die("data behind SHUTDOWN");
	if (s->type == VSOCK_TYPE_SEQPACKET) {
		on_part(s, p, data, ends);
		return;
	}
	if (!s->sink) {
		enqueue(s, data, p->len);
		return;
	}
	give_sink(s, p, data);
	s->fwd_cnt += p->len;
	if (s->buf_alloc - (s->fwd_cnt - s->reported_fwd_cnt) < SOCK_PACKET_MAX)
		sock_tell_credit(s);
}

static void on_shutdown(struct sock *s, uint32_t flags)
{
	if (!flags || flags & ~(uint32_t)VSOCK_SHUTDOWN_BOTH)
		die("SHUTDOWN with flags %#x", (unsigned)flags);
	if (flags & VSOCK_SHUTDOWN_SEND && s->part && !(s->our_shutdown & VSOCK_SHUTDOWN_RCV))
		die("SHUTDOWN behind %u bytes of a message", (unsigned)s->part);
	s->peer_shutdown |= flags;
	if (s->peer_shutdown == VSOCK_SHUTDOWN_BOTH && !s->n_queue && !s->marks.n) {
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

	if (s && p->type != s->type)
		die("op %u of type %u for a socket of type %u", p->op, p->type, s->type);
	if (!s && p->op != VSOCK_OP_RST && p->type != VSOCK_TYPE_STREAM &&
	    p->type != VSOCK_TYPE_SEQPACKET)
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
	return sock_dial_as(d, d->opt.type, cid, port);
}

struct sock *sock_dial_as(struct driver *d, uint16_t type, uint64_t cid, uint32_t port)
{
	struct sock *s = new(d, type, d->next_port++, port);

	s->peer_cid = cid;
	s->state = SOCK_CONNECTING;
	sock_send_op(s, VSOCK_OP_REQUEST, 0, NULL, 0);
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
	sock_listen_as(d, d->opt.type, port);
}

void sock_listen_as(struct driver *d, uint16_t type, uint32_t port)
{
	for (unsigned i = 0; i < d->n_listening; i++)
		if (d->listening[i].port == port && d->listening[i].type == type)
			return;
	must(d->n_listening < sizeof d->listening / sizeof d->listening[0]);
	d->listening[d->n_listening].port = port;
	d->listening[d->n_listening++].type = type;
}

void sock_unlisten(struct driver *d, uint32_t port)
{
	for (unsigned i = 0; i < d->n_listening; i++)
		if (d->listening[i].port == port)
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

void sock_tell_credit(struct sock *s)
{
	sock_send_op(s, VSOCK_OP_CREDIT_UPDATE, 0, NULL, 0);
}

void sock_shutdown(struct sock *s, unsigned flags)
{
	s->our_shutdown |= flags;
	sock_send_op(s, VSOCK_OP_SHUTDOWN, flags, NULL, 0);
}

void sock_send_rst(struct sock *s)
{
	sock_send_op(s, VSOCK_OP_RST, 0, NULL, 0);
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
