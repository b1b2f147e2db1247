/* SPDX-License-Identifier: BSD-3-Clause */
/* Connections that may fail: see link.h. */
#include "faults/link.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "support/deadline.h"

enum { CHUNK = 32 * 1024, ATTEMPTS = 3 };

void link_turn(void)
{
	bool any = false;

	for (unsigned i = 0; i < SIBS_MAX; i++)
		if (sibs[i].d.inbox)		/* it is up */
			any |= driver_turn(&sibs[i].d);
	if (!any)
		poll(NULL, 0, 1);
}

static void turn_until(int64_t deadline, const char *what)
{
	if (!deadline_left(deadline))
		die("stuck: %s", what);
	link_turn();
}

/* ---- set-up ---- */

/* True when the answer is there; false when the guest has lost its device. */
static bool wait_answer(struct sock *s, const char *what)
{
	int64_t deadline = deadline_in(DEADLINE_MS);

	while (s->state == SOCK_CONNECTING) {
		if (vmm_is_closed(&s->d->fe, 0))
			return false;
		turn_until(deadline, what);
	}
	return s->state == SOCK_OPEN;
}

static bool dial_host(struct link *l)
{
	int listener = host_listen(l->from->uds, l->port, 16);
	struct sock *s = sock_dial(&l->from->d, l->port);

	l->ends[0].sock = s;
	if (wait_answer(s, "a guest's connect"))
		l->ends[1].fd = host_accept(listener);
	else
		sock_free(s);
	host_unlisten(listener, l->from->uds, l->port);
	return l->ends[1].fd >= 0;
}

/* The connection that came to @port; it may have been reset since. */
static struct sock *take_accepted(struct driver *d, uint32_t port)
{
	for (struct sock **p = &d->backlog; *p; p = &(*p)->backlog_next) {
		struct sock *s = *p;

		if (s->port == port) {
			*p = s->backlog_next;
			return s;
		}
	}
	return NULL;
}

/* The one that came is of no use: it has to be reset. */
static void drop_accepted(struct driver *d, uint32_t port)
{
	int64_t deadline = deadline_in(DEADLINE_MS);
	struct sock *s = take_accepted(d, port);

	if (!s)
		return;
	while (s->state != SOCK_RESET && !vmm_is_closed(&d->fe, 0))
		turn_until(deadline, "the guest's end of a connection that was refused");
	sock_free(s);
}

/* One line or the end; true: "OK". Slow for a blocking program, fine here. */
static bool wait_ok(int fd)
{
	int64_t deadline = deadline_in(DEADLINE_MS);

	while (!deadline_poll(fd, POLLIN, 0))
		turn_until(deadline, "a host client without an answer");
	return host_read_ok(fd);
}

static bool dial_guest(struct link *l)
{
	int fd = host_dial(l->from->uds, l->port);

	sock_listen(&l->from->d, l->port);
	if (!wait_ok(fd)) {
		close(fd);
		drop_accepted(&l->from->d, l->port);
		return false;
	}
	l->ends[0].sock = take_accepted(&l->from->d, l->port);
	l->ends[1].fd = fd;
	must(l->ends[0].sock);
	return true;
}

static bool dial_sibling(struct link *l)
{
	struct sock *s;

	sock_listen(&l->to->d, l->port);
	s = sock_dial_to(&l->from->d, l->to->cid, l->port);
	if (!wait_answer(s, "a connect to a sibling")) {
		sock_free(s);
		drop_accepted(&l->to->d, l->port);
		return false;
	}
	l->ends[0].sock = s;
	l->ends[1].sock = take_accepted(&l->to->d, l->port);
	must(l->ends[1].sock);
	return true;
}

static bool dial(struct link *l)
{
	switch (l->kind) {
	case LINK_GUEST_TO_HOST:
		return dial_host(l);
	case LINK_HOST_TO_GUEST:
		return dial_guest(l);
	case LINK_SIBLINGS:
		return dial_sibling(l);
	}
	return false;
}

bool link_open(struct link *l)
{
	static uint32_t next_port = 2000;

	for (int i = 0; i < ATTEMPTS; i++) {
		l->ends[0] = l->ends[1] = (struct link_end){ .fd = -1 };
		l->from->d.n_listening = 0;
		if (l->to)
			l->to->d.n_listening = 0;
		l->port = next_port++;
		if (dial(l))
			return true;
		l->n_resets++;
	}
	return false;
}

/* ---- bytes ---- */

static uint32_t seed_of(const struct link *l, int i)
{
	return 2 * l->port + (uint32_t)i;
}

/* Bytes taken; 0: none now. */
static size_t send_some(struct link_end *e, const uint8_t *bytes, size_t len)
{
	ssize_t n;

	if (e->sock) {
		e->has_ended |= e->sock->state == SOCK_RESET;
		return e->has_ended ? 0 : sock_send_some(e->sock, bytes, len);
	}
	n = send(e->fd, bytes, len, MSG_NOSIGNAL | MSG_DONTWAIT);
	if (n < 0 && errno != EAGAIN)
		e->has_ended = true;
	return n > 0 ? (size_t)n : 0;
}

static size_t receive_some(struct link_end *e, uint8_t *bytes, size_t len)
{
	ssize_t n;

	if (!e->sock) {
		n = recv(e->fd, bytes, len, MSG_DONTWAIT);
		e->has_ended |= n == 0 || (n < 0 && errno != EAGAIN);
	} else if (e->sock->n_queue) {
		n = sock_recv(e->sock, bytes, len, 0);
	} else {
		n = 0;
		e->has_ended |= e->sock->state == SOCK_RESET ||
			e->sock->peer_shutdown == VSOCK_SHUTDOWN_BOTH;
	}
	return n > 0 ? (size_t)n : 0;
}

static bool has_all(const struct link *l)
{
	return l->ends[0].received == LINK_BYTES && l->ends[1].received == LINK_BYTES;
}

static bool is_done(const struct link *l)
{
	return has_all(l) || (l->ends[0].has_ended && l->ends[1].has_ended);
}

/* From end @i to the other. @lazy: nobody reads. Returns bytes moved. */
static size_t move_some(struct link *l, int i, bool lazy)
{
	static uint8_t bytes[CHUNK];
	struct link_end *e = &l->ends[i], *o = &l->ends[1 - i];
	size_t left = LINK_BYTES - e->sent, moved, got;

	left = left < CHUNK ? left : CHUNK;
	pattern_fill(bytes, left, e->sent, seed_of(l, i));
	moved = left ? send_some(e, bytes, left) : 0;
	e->sent += moved;
	if (lazy)
		return moved;
	got = receive_some(o, bytes, sizeof bytes);
	if (pattern_check(bytes, got, o->received, seed_of(l, i)) != got)
		die("wrong bytes, near %llu", (unsigned long long)o->received);
	o->received += got;
	if (o->received > e->sent)
		die("more bytes than were sent");
	return moved + got;
}

/* Until nothing moves for a moment. */
static void fill(struct link *links, unsigned n)
{
	size_t moved;

	for (int idle = 0; idle < 5; idle = moved ? 0 : idle + 1) {
		moved = 0;
		for (unsigned i = 0; i < n; i++)
			moved += move_some(&links[i], 0, true) + move_some(&links[i], 1, true);
		link_turn();
	}
}

void link_run(struct link *links, unsigned n)
{
	int64_t deadline = deadline_in(DEADLINE_MS);
	unsigned open;

	fill(links, n);
	do {
		size_t moved = 0;

		open = 0;
		for (unsigned i = 0; i < n; i++) {
			if (is_done(&links[i]))
				continue;
			open++;
			moved += move_some(&links[i], 0, false) + move_some(&links[i], 1, false);
		}
		if (moved)
			deadline = deadline_in(DEADLINE_MS);
		turn_until(deadline, "a connection with bytes to go");
	} while (open);
	for (unsigned i = 0; i < n; i++)
		links[i].n_resets += !has_all(&links[i]);
}

/* ---- the end ---- */

static void wait_end(struct link_end *e)
{
	int64_t deadline = deadline_in(DEADLINE_MS);
	uint8_t bytes[4096];

	while (!e->has_ended) {
		receive_some(e, bytes, sizeof bytes);
		turn_until(deadline, "an end that the other one has closed");
	}
	if (e->sock)
		sock_free(e->sock);
	else
		close(e->fd);
}

void link_wait_end(struct link *l)
{
	wait_end(&l->ends[1]);
}

void link_close(struct link *l)
{
	struct sock *s = l->ends[0].sock;
	int64_t deadline = deadline_in(DEADLINE_MS);

	if (s->state == SOCK_OPEN)
		sock_shutdown(s, VSOCK_SHUTDOWN_BOTH);
	while (s->state != SOCK_RESET)
		turn_until(deadline, "a guest's close");
	sock_free(s);
	wait_end(&l->ends[1]);
}
