/* SPDX-License-Identifier: BSD-3-Clause */
/* What an end of a connection does: a guest's socket or a host program's. */
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "soak/link.h"
#include "support/must.h"
#include "support/pattern.h"
#include "support/sock.h"

enum {
	CHUNK_MAX = 64 * 1024,			/* one packet of a guest at most */
	SLOW_READ_MAX = 2000,
	SLOW_TURNS = 8,				/* a slow reader reads in one of so many */
};

static uint8_t chunk[CHUNK_MAX + 64];

uint32_t end_seed(const struct end *e)
{
	return e->link->id * 2 + (e == &e->link->ends[1]);
}

bool end_is_willing(const struct end *e)
{
	if (e->vm && e->state != END_OVER && !vm_is_willing(e->vm))
		return false;
	return e->state != END_OPEN || e->reads_from <= soak_step;
}

static bool is_slow_now(const struct end *e)
{
	return e->is_slow && !soak_is_settling;
}

static size_t draw_chunk(struct end *e, uint64_t limit)
{
	uint64_t n = rng_one_in(&e->link->rng, 3) ? CHUNK_MAX :
		     rng_size(&e->link->rng, CHUNK_MAX);

	return (size_t)(n < limit ? n : limit);
}

static void count_sent(struct end *e, size_t n)
{
	e->sent += n;
	e->to_send -= n;
}

static bool guest_push(struct end *e)
{
	uint32_t room;
	size_t n;

	if (!vm_can_send(e->vm))
		return false;
	if (e->sock->state != SOCK_OPEN || e->sock->peer_shutdown & VSOCK_SHUTDOWN_RCV) {
		link_saw_write_fail(e);
		return true;
	}
	room = sock_room(e->sock);
	n = draw_chunk(e, e->to_send < room ? e->to_send : room);
	if (!n)
		return false;
	pattern_fill(chunk, n, e->sent, end_seed(e));
	must(sock_send_some(e->sock, chunk, n) == n);
	vm_note_tx(e->vm, e->link->id, (unsigned)(e - e->link->ends), e->sent);
	count_sent(e, n);
	return true;
}

/* What is left of the CONNECT line, in pieces or with the first bytes behind it. */
static size_t put_line(struct end *e, size_t *n_body)
{
	size_t left = (size_t)(e->line_len - e->line_sent);

	if (left && rng_one_in(&e->link->rng, 2)) {
		left = rng_range(&e->link->rng, 1, (uint32_t)left);
		*n_body = 0;
	}
	memcpy(chunk, e->line + e->line_sent, left);
	return left;
}

static bool host_push(struct end *e)
{
	size_t n_body = draw_chunk(e, e->to_send), n_line = put_line(e, &n_body);
	ssize_t n;

	if (!n_line && !n_body)
		return false;
	pattern_fill(chunk + n_line, n_body, e->sent, end_seed(e));
	n = send(e->fd, chunk, n_line + n_body, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (n < 0 && errno == EAGAIN)
		return false;
	if (n < 0) {
		link_saw_write_fail(e);
		return true;
	}
	if ((size_t)n < n_line)
		n_line = (size_t)n;
	e->line_sent = (uint8_t)(e->line_sent + n_line);
	count_sent(e, (size_t)n - n_line);
	return true;
}

static bool is_of_messages(const struct end *e)
{
	return e->link->type == VSOCK_TYPE_SEQPACKET;
}

/* A guest is not told that a host program has stopped reading before the device
 * can write to it, which may be never: at some point it stops waiting. */
static bool gives_up(const struct end *e)
{
	const struct end *o = &e->link->ends[e == e->link->ends];

	return soak_is_settling && e->vm && !o->vm && o->is_deaf;
}

bool end_push(struct end *e)
{
	if (gives_up(e))
		e->to_send = 0;
	if (e->is_fin || e->write_failed)
		return false;
	if (e->vm)
		return e->state == END_OPEN && e->to_send &&
			(is_of_messages(e) ? message_guest_push(e) : guest_push(e));
	return (e->state == END_OPEN || e->state == END_OPENING) &&
		(is_of_messages(e) ? message_host_push(e) : host_push(e));
}

static size_t draw_read(struct end *e)
{
	return draw_chunk(e, is_slow_now(e) ? SLOW_READ_MAX : CHUNK_MAX);
}

static bool guest_pull(struct end *e)
{
	struct sock *s = e->sock;
	bool is_orderly = s->peer_shutdown & VSOCK_SHUTDOWN_SEND;
	ssize_t n;

	if (s->n_queue) {
		n = sock_recv(s, chunk, draw_read(e), 0);
		must(n > 0);
		link_saw_bytes(e, chunk, (size_t)n);
		return true;
	}
	if (e->saw_end || (!is_orderly && s->state != SOCK_RESET))
		return false;
	link_saw_end(e, is_orderly);
	return true;
}

static bool host_pull(struct end *e)
{
	ssize_t n = recv(e->fd, chunk, draw_read(e), MSG_DONTWAIT);

	if (n > 0) {
		link_saw_bytes(e, chunk, (size_t)n);
		return true;
	}
	if (n < 0 && errno == EAGAIN)
		return false;
	link_saw_end(e, n == 0);
	return true;
}

bool end_pull(struct end *e)
{
	if (e->state != END_OPEN || e->is_deaf || e->saw_end || e->reads_from > soak_step)
		return false;
	if (is_slow_now(e) && !rng_one_in(&e->link->rng, SLOW_TURNS))
		return false;
	if (!e->vm)
		return is_of_messages(e) ? message_host_pull(e) : host_pull(e);
	if (e->vm->state != VM_RUNNING)
		return false;
	return is_of_messages(e) ? message_guest_pull(e) : guest_pull(e);
}

/* Both directions shut is what close(2) says: the device has to answer with RST. */
static void guest_shutdown(struct end *e, unsigned flags)
{
	sock_shutdown(e->sock, flags);
	e->is_fin |= (flags & VSOCK_SHUTDOWN_SEND) != 0;
	e->is_deaf |= (flags & VSOCK_SHUTDOWN_RCV) != 0;
	if (e->sock->our_shutdown != VSOCK_SHUTDOWN_BOTH)
		return;
	e->state = END_CLOSING;
	e->link->reasons |= WHY_CLOSE;
}

static bool guest_can_say(const struct end *e)
{
	return e->state == END_OPEN && e->sock->state == SOCK_OPEN;
}

void end_fin(struct end *e)
{
	link_note(e->link, "end %d: half-close at %llu", (int)(e - e->link->ends),
		  (unsigned long long)e->sent);
	if (e->vm && guest_can_say(e)) {
		guest_shutdown(e, VSOCK_SHUTDOWN_SEND);
	} else if (!e->vm) {
		shutdown(e->fd, SHUT_WR);
		e->is_fin = true;
	}
}

/* What the program has not read, and never will, makes its close a reset. */
void end_deafen(struct end *e)
{
	link_note(e->link, "end %d: deaf at %llu", (int)(e - e->link->ends),
		  (unsigned long long)e->received);
	if (e->vm && guest_can_say(e)) {
		guest_shutdown(e, VSOCK_SHUTDOWN_RCV);
	} else if (!e->vm) {
		shutdown(e->fd, SHUT_RD);
		e->is_deaf = true;
		e->link->reasons |= WHY_ABORT;
	}
}

static void end_is_over(struct end *e)
{
	e->state = END_OVER;
	e->to_send = 0;
}

static void guest_drop(struct end *e)
{
	sock_free(e->sock);
	e->sock = NULL;
	end_is_over(e);
}

static void guest_close(struct end *e, bool abort)
{
	struct link *l = e->link;

	if (e->sock->state == SOCK_RESET) {
		guest_drop(e);
	} else if (abort || e->state == END_OPENING ||
		   e->sock->peer_shutdown == VSOCK_SHUTDOWN_BOTH) {
		l->reasons |= WHY_CLOSE | (abort || e->state == END_OPENING ? WHY_RST : 0);
		sock_send_rst(e->sock);
		guest_drop(e);
	} else {
		e->sock->n_queue = e->sock->marks.n = 0;
		guest_shutdown(e, VSOCK_SHUTDOWN_BOTH & ~e->sock->our_shutdown);
		e->to_send = 0;
	}
}

static void host_close(struct end *e)
{
	struct link *l = e->link;

	l->reasons |= WHY_CLOSE;
	if (e->received < link_other(e)->sent || end_has_under_way(link_other(e), e) ||
	    e->state == END_OPENING)
		l->reasons |= WHY_ABORT;
	close(e->fd);
	e->fd = -1;
	e->is_fin = true;
	end_is_over(e);
}

void end_close(struct end *e, bool abort)
{
	if (e->state == END_CLOSING || e->state == END_OVER)
		return;
	link_note(e->link, "end %d: %s at %llu sent, %llu received", (int)(e - e->link->ends),
		  abort ? "abort" : "close", (unsigned long long)e->sent,
		  (unsigned long long)e->received);
	if (e->state == END_ABSENT)
		return;
	if (e->vm)
		guest_close(e, abort);
	else
		host_close(e);
}
