/* SPDX-License-Identifier: BSD-3-Clause */
/* The oracle: see link.h. */
#include "soak/link.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support/deadline.h"
#include "support/must.h"
#include "support/pattern.h"
#include "support/sock.h"

struct link_counts link_counts;
uint64_t soak_step;
int soak_patience_ms = DEADLINE_MS;
bool soak_is_settling;
int64_t soak_late_ms;

struct end *link_other(struct end *e)
{
	return &e->link->ends[e == e->link->ends];
}

void link_begin(struct link *l, uint32_t id, uint64_t seed)
{
	*l = (struct link){ .id = id, .rng = rng_new(seed, UINT64_C(1000) + id) };
	l->type = rng_one_in(&l->rng, 2) ? VSOCK_TYPE_SEQPACKET : VSOCK_TYPE_STREAM;
	l->opened_ms = l->moved_ms = now_ms();
	for (int i = 0; i < 2; i++)
		l->ends[i] = (struct end){ .link = l, .fd = -1, .listener = -1,
					   .taken = UINT64_MAX,
					   .is_slow = rng_one_in(&l->rng, 4) };
}

void link_note(struct link *l, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	history_add(&l->history, fmt, ap);
	va_end(ap);
}

static void print_end(const struct end *e)
{
	static const char *const states[] = { "absent", "opening", "open", "closing", "over" };

	printf("# end %d, ", (int)(e - e->link->ends));
	if (e->vm)
		printf("vm %u (state %d, life %u): ", e->vm->index, (int)e->vm->state,
		       e->vm->n_lives);
	else
		printf("host: ");
	printf("%s, %llu to send, %llu sent, %llu received%s%s%s%s\n", states[e->state],
	       (unsigned long long)e->to_send, (unsigned long long)e->sent,
	       (unsigned long long)e->received, e->is_fin ? ", fin" : "",
	       e->is_deaf ? ", deaf" : "", e->saw_end ? ", saw the end" : "",
	       e->reads_from > soak_step ? ", reader pauses" : "");
	if (e->has_message || e->under_way.n)
		printf("#   %u messages under way; of the next, %u of %u bytes are to be sent\n",
		       e->under_way.n, (unsigned)e->left, (unsigned)e->len);
	if (e->sock)
		printf("#   socket %u>%llu:%u: state %d, room %u, queue %u, peer shut %u, "
		       "we shut %u\n", (unsigned)e->sock->port,
		       (unsigned long long)e->sock->peer_cid, (unsigned)e->sock->peer_port,
		       (int)e->sock->state, (unsigned)sock_room(e->sock),
		       (unsigned)e->sock->n_queue, e->sock->peer_shutdown,
		       e->sock->our_shutdown);
}

void link_print(const struct link *l)
{
	printf("# connection %u, of %s, reasons %#x%s\n", (unsigned)l->id,
	       l->type == VSOCK_TYPE_SEQPACKET ? "messages" : "bytes", l->reasons,
	       l->may_be_refused ? ", may be refused" : "");
	print_end(&l->ends[0]);
	print_end(&l->ends[1]);
	history_print(&l->history);
}

void link_fail(struct link *l, const char *fmt, ...)
{
	char text[256];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	link_print(l);
	die("connection %u: %s", (unsigned)l->id, text);
}

/* In link_counts. */
static int way_to(const struct end *to)
{
	const struct end *from = &to->link->ends[to == to->link->ends];

	return !to->vm ? 0 : !from->vm ? 1 : 2;
}

void link_saw_bytes(struct end *e, const uint8_t *bytes, size_t n)
{
	struct end *from = link_other(e);
	size_t right = pattern_check(bytes, n, e->received, end_seed(from));

	if (right != n)
		link_fail(e->link, "end %d: byte %llu is wrong", (int)(e - e->link->ends),
			  (unsigned long long)(e->received + right));
	e->received += n;
	if (e->received > from->sent)
		link_fail(e->link, "end %d: more bytes than were sent",
			  (int)(e - e->link->ends));
	link_counts.bytes[way_to(e)] += n;
}

void link_saw_message(struct end *e, const uint8_t *bytes, size_t n, uint32_t flags)
{
	struct end *from = link_other(e);
	int i = (int)(e - e->link->ends);
	struct mark m;

	if (!from->under_way.n)
		link_fail(e->link, "end %d: a message of %zu bytes that was not sent", i, n);
	m = marks_take(&from->under_way);
	if (n != m.len)
		link_fail(e->link, "end %d: a message of %zu bytes was sent with %u", i, n,
			  (unsigned)m.len);
	if (e->vm && flags != (from->vm ? m.flags : VSOCK_SEQ_EOM))
		link_fail(e->link, "end %d: a message has flags %#x", i, (unsigned)flags);
	link_saw_bytes(e, bytes, n);
	link_counts.messages[way_to(e)]++;
}

/* How much of what @from sent the reader has to have when it sees the end of it. */
static uint64_t required(const struct end *from, bool is_orderly, bool to_guest)
{
	if (to_guest)
		return is_orderly ? from->sent : 0;
	if (from->link->reasons & (WHY_TIGHT | WHY_TOO_LONG))
		return 0;
	return from->sent < from->taken ? from->sent : from->taken;
}

/* Bytes of whole messages after @received that end within the first @required. Whether an empty
 * one at the end of these was taken is not known. */
static bool lacks_message(struct marks *under_way, uint64_t received, uint64_t required)
{
	while (under_way->n) {
		uint32_t len = marks_take(under_way).len;

		received += len;
		if (received > required)
			return false;
		if (len || received < required)
			return true;
	}
	return false;
}

static void check_all_came(struct end *e, bool is_orderly)
{
	struct end *from = link_other(e);
	uint64_t least = required(from, is_orderly, e->vm);
	int i = (int)(e - e->link->ends);

	if (e->link->type == VSOCK_TYPE_STREAM && e->received < least)
		link_fail(e->link, "end %d: %llu of %llu bytes lost", i,
			  (unsigned long long)(from->sent - e->received),
			  (unsigned long long)from->sent);
	if (e->link->type == VSOCK_TYPE_STREAM)
		return;
	if (e->vm && is_orderly && from->under_way.n)
		link_fail(e->link, "end %d: %u messages lost", i, from->under_way.n);
	if (lacks_message(&from->under_way, e->received, least))
		link_fail(e->link, "end %d: a message lost, of the first %llu bytes", i,
			  (unsigned long long)least);
	from->under_way.n = 0;			/* nothing is owed any more */
}

void link_saw_end(struct end *e, bool is_orderly)
{
	struct end *from = link_other(e);
	int i = (int)(e - e->link->ends);

	e->saw_end = true;
	link_note(e->link, "end %d: sees %s at %llu", i, is_orderly ? "the end" : "a reset",
		  (unsigned long long)e->received);
	if (e->vm && is_orderly && !from->is_fin)
		link_fail(e->link, "end %d: an orderly end that nobody said", i);
	if (!from->is_fin && !e->link->reasons)
		link_fail(e->link, "end %d: an end for no reason", i);
	if (e->vm && !is_orderly && !e->link->reasons)
		link_fail(e->link, "end %d: a reset for no reason", i);
	check_all_came(e, is_orderly);
	if (!is_orderly)
		link_counts.reset++;
	if (e->vm && !is_orderly)
		end_close(e, false);
	else
		e->close_due = true;
}

void link_saw_write_fail(struct end *e)
{
	struct end *o = link_other(e);

	if (e->state == END_OPENING)
		link_allow_refusal(e->link);
	if (!e->link->reasons && !o->is_deaf && !e->link->must_be_refused &&
	    !e->link->may_be_refused)
		link_fail(e->link, "end %d: cannot write for no reason",
			  (int)(e - e->link->ends));
	link_note(e->link, "end %d: cannot write at %llu", (int)(e - e->link->ends),
		  (unsigned long long)e->sent);
	e->to_send = 0;
	e->write_failed = true;
}

/* The device gives a guest two seconds to answer; one that is paused, none. */
void link_allow_refusal(struct link *l)
{
	if (soak_late_ms >= l->opened_ms)
		l->may_be_refused = true;
	for (int i = 0; i < 2; i++)
		if (l->ends[i].vm && !vm_is_willing(l->ends[i].vm))
			l->may_be_refused = true;
}

void link_saw_refusal(struct end *e)
{
	struct link *l = e->link;

	link_allow_refusal(l);
	if (!l->must_be_refused && !l->may_be_refused && !(l->reasons & ~(unsigned)WHY_REFUSED))
		link_fail(l, "refused for no reason");
	link_note(l, "end %d: refused", (int)(e - l->ends));
	link_counts.refused++;
	l->reasons |= WHY_REFUSED;
	end_close(e, false);
}

static bool end_is_owed(struct end *e)
{
	struct end *o = link_other(e);

	if (e->state == END_OVER)
		return false;
	if (e->state != END_OPEN)
		return true;
	if (e->to_send)
		return true;
	if (e->fin_due || e->close_due)
		return true;
	return !e->saw_end && !e->is_deaf &&
		(end_has_under_way(o, e) || o->is_fin || o->state == END_OVER);
}

bool link_is_owed(const struct link *l)
{
	struct link *m = (struct link *)(uintptr_t)l;

	return end_is_owed(&m->ends[0]) || end_is_owed(&m->ends[1]);
}

/* A guest's close is over when the device has said RST, or has closed as well. */
static bool closing_turn(struct end *e)
{
	struct sock *s = e->sock;

	if (e->vm->state != VM_RUNNING)
		return false;
	if (s->state == SOCK_OPEN && s->peer_shutdown == VSOCK_SHUTDOWN_BOTH &&
	    vm_can_send(e->vm))
		sock_send_rst(s);
	else if (s->state != SOCK_RESET)
		return false;
	sock_free(s);
	e->sock = NULL;
	e->state = END_OVER;
	return true;
}

/* Half-close and close, behind what was to be sent. */
static bool say_what_is_due(struct end *e)
{
	if (e->state != END_OPEN || (!e->fin_due && !e->close_due))
		return false;
	if (e->to_send)
		return false;
	if (e->vm && !vm_can_send(e->vm))
		return false;
	if (e->close_due)
		end_close(e, false);
	else if (!e->is_fin)
		end_fin(e);
	e->fin_due = e->close_due = false;
	return true;
}

static bool end_turn(struct end *e)
{
	bool moved;

	switch (e->state) {
	case END_ABSENT:
		return open_turn(e);
	case END_OPENING:
		moved = end_push(e);
		return open_turn(e) || moved;
	case END_OPEN:
		moved = end_push(e);
		moved |= end_pull(e);
		return say_what_is_due(e) || moved;
	case END_CLOSING:
		return closing_turn(e);
	case END_OVER:
		break;
	}
	return false;
}

bool link_turn(struct link *l)
{
	bool moved = end_turn(&l->ends[0]);

	moved |= end_turn(&l->ends[1]);
	if (moved || !link_is_owed(l) || !end_is_willing(&l->ends[0]) ||
	    !end_is_willing(&l->ends[1]))
		l->moved_ms = now_ms();
	else if (now_ms() - l->moved_ms > soak_patience_ms)
		link_fail(l, "hangs");
	if (l->ends[0].state == END_OVER && l->ends[1].state == END_OVER) {
		link_counts.finished++;
		l->is_used = false;
		marks_deinit(&l->ends[0].under_way);
		marks_deinit(&l->ends[1].under_way);
	}
	return moved;
}

void link_guest_died(struct link *l, const struct vm *vm)
{
	for (int i = 0; i < 2; i++) {
		struct end *e = &l->ends[i];

		if (e->vm != vm || e->state == END_OVER)
			continue;
		link_note(l, "end %d: vm %u is dead, %llu sent, %llu taken", i, vm->index,
			  (unsigned long long)e->sent,
			  (unsigned long long)(e->sent < e->taken ? e->sent : e->taken));
		l->reasons |= WHY_DEATH;
		if (e->state == END_ABSENT)
			open_give_up(e);
		e->sock = NULL;
		e->state = END_OVER;
		e->to_send = 0;
	}
}
