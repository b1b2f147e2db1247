/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The guest's ends of many streams: see flow.h.
 */
#include "e2e/flow.h"

#include "support/deadline.h"
#include "support/must.h"
#include "support/pattern.h"

enum { CHUNK = 64 * 1024 };

static _Thread_local uint8_t chunk[CHUNK];

static void sink(struct sock *s, const uint8_t *data, size_t len)
{
	struct flow *f = s->arg;

	if (f->received + len > f->to_recv)
		die("more bytes than were sent");
	if (pattern_check(data, len, f->received, f->recv_seed) != len)
		die("wrong bytes near %llu", (unsigned long long)f->received);
	f->received += len;
}

static uint64_t send_turn(struct flow *f)
{
	uint64_t left = f->to_send - f->sent;
	size_t len = left < CHUNK ? (size_t)left : CHUNK;

	if (len > sock_room(f->sock))
		len = sock_room(f->sock);
	if (!len || !driver_can_send(f->sock->d))
		return 0;
	pattern_fill(chunk, len, f->sent, f->send_seed);
	len = sock_send_some(f->sock, chunk, len);
	f->sent += len;
	return len;
}

static bool is_done(struct flow *f)
{
	if (f->sent < f->to_send || f->received < f->to_recv) {
		if (f->sock->state != SOCK_OPEN)
			die("reset with %llu and %llu bytes to go",
			    (unsigned long long)(f->to_send - f->sent),
			    (unsigned long long)(f->to_recv - f->received));
		return false;
	}
	if (!f->done_ms)
		f->done_ms = now_ms();
	return true;
}

void flow_attach(struct flow *f)
{
	must(!f->sock->n_queue);
	f->sock->sink = sink;
	f->sock->arg = f;
}

void flow_run(struct driver *d, struct flow *flows, unsigned n)
{
	int64_t deadline = deadline_in(DEADLINE_MS);
	uint64_t moved;
	unsigned open;

	for (unsigned i = 0; i < n; i++)
		flow_attach(&flows[i]);
	do {
		moved = open = 0;
		for (unsigned i = 0; i < n; i++) {
			moved += send_turn(&flows[i]);
			open += !is_done(&flows[i]) && !flows[i].may_be_stuck;
		}
		if (moved || driver_turn(d))
			deadline = deadline_in(DEADLINE_MS);
		else if (open && !driver_wait(d, deadline, !driver_can_send(d)))
			die("stuck with %u streams open", open);
	} while (open);
}
