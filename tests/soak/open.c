/* SPDX-License-Identifier: BSD-3-Clause */
/* How connections begin: who connects, who waits, and who must be refused. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "soak/link.h"
#include "support/deadline.h"
#include "support/host.h"
#include "support/host_messages.h"
#include "support/must.h"
#include "support/sock.h"

enum { NOBODYS_PORT = SOAK_STALLED_PORT + 1, NOBODYS_CID = 99 };

static void begin_end(struct end *e, struct vm *vm, enum end_state state)
{
	e->vm = vm;
	e->state = state;
	if (vm && vm->is_tight) {
		e->link->reasons |= WHY_TIGHT;
		e->link->may_be_refused = true;
	}
	if (vm && !vm_is_willing(vm))
		e->link->may_be_refused = true;
	if (vm && e->link->type == VSOCK_TYPE_SEQPACKET && !vm_knows_messages(vm))
		e->link->must_be_refused = true;
}

bool open_to_host(struct link *l, struct vm *from)
{
	if (!vm_can_send(from))
		return false;
	begin_end(&l->ends[0], from, END_OPENING);
	begin_end(&l->ends[1], NULL, END_ABSENT);
	l->listens_at = from;
	l->ends[1].listener = l->type == VSOCK_TYPE_SEQPACKET ?
		host_messages_listen(from->uds, l->id, 4) : host_listen(from->uds, l->id, 4);
	l->ends[0].sock = sock_dial_as(&from->d, l->type, VSOCK_CID_HOST, l->id);
	link_note(l, "vm %u connects to the host", from->index);
	return true;
}

static void dial_guest(struct link *l, struct vm *to, uint32_t port)
{
	struct end *e = &l->ends[0];
	static const char *const keywords[] = { "CONNECT", "connect", "Connect" };
	static const char *const ends[] = { "\n", "\r\n", " x\n" };
	uint32_t way = rng_below(&l->rng, 3);

	begin_end(e, NULL, END_OPENING);
	e->line_len = (uint8_t)snprintf(e->line, sizeof e->line, "%s %u%s", keywords[way],
					(unsigned)port, ends[way]);
	e->fd = l->type == VSOCK_TYPE_SEQPACKET ? host_messages_connect(to->uds) :
		host_connect(to->uds);
	if (e->fd < 0)
		link_fail(l, "nobody listens at vm %u's uds-path", to->index);
}

bool open_to_guest(struct link *l, struct vm *to)
{
	dial_guest(l, to, l->id);
	begin_end(&l->ends[1], to, to->state == VM_DOWN ? END_OVER : END_ABSENT);
	if (to->state == VM_DOWN)
		l->reasons |= WHY_DEATH;
	else
		sock_listen_as(&to->d, l->type, l->id);
	link_note(l, "the host connects to vm %u, state %d", to->index, (int)to->state);
	return true;
}

bool open_to_sibling(struct link *l, struct vm *from, struct vm *to)
{
	if (!vm_can_send(from) || !vm_may_reach(from, to) || to->state == VM_DOWN)
		return false;
	begin_end(&l->ends[0], from, END_OPENING);
	begin_end(&l->ends[1], to, END_ABSENT);
	sock_listen_as(&to->d, l->type, l->id);
	l->ends[0].sock = sock_dial_as(&from->d, l->type, to->cid, l->id);
	link_note(l, "vm %u connects to vm %u, state %d", from->index, to->index,
		  (int)to->state);
	return true;
}

bool open_to_nobody(struct link *l, struct vm *vm, struct vm *other, uint32_t variant)
{
	uint64_t cid = VSOCK_CID_HOST;
	uint32_t port = NOBODYS_PORT;

	l->must_be_refused = true;
	l->ends[1].state = END_OVER;
	switch (variant % 5) {
	case 0:
		if (vm->state == VM_DOWN)
			break;
		dial_guest(l, vm, NOBODYS_PORT);
		link_note(l, "the host connects to nobody at vm %u", vm->index);
		return true;
	case 1:
		cid = NOBODYS_CID;
		break;
	case 2:
		cid = other->cid;		/* nobody listens; or in no common group */
		break;
	case 3:
		port = SOAK_STALLED_PORT;
		break;
	default:
		break;
	}
	if (!vm_can_send(vm))
		return false;
	begin_end(&l->ends[0], vm, END_OPENING);
	l->ends[0].sock = sock_dial_as(&vm->d, l->type, cid, port);
	link_note(l, "vm %u connects to nobody at %u:%u", vm->index, (unsigned)cid,
		  (unsigned)port);
	return true;
}

static void has_opened(struct end *e)
{
	if (e->link->must_be_refused)
		link_fail(e->link, "a connect to nobody was accepted");
	e->state = END_OPEN;
	link_note(e->link, "end %d: open", (int)(e - e->link->ends));
}

void open_accepted(struct end *e, struct sock *s)
{
	e->sock = s;
	has_opened(e);
}

void open_give_up(struct end *e)
{
	struct link *l = e->link;

	if (e->listener >= 0)
		host_unlisten(e->listener, l->listens_at->uds, l->id);
	e->listener = -1;
	if (e->vm && e->vm->state != VM_DOWN)
		sock_unlisten(&e->vm->d, l->id);
	e->state = END_OVER;
}

/* A host client that has said its line and left is a one-shot sender: the guest
 * gets the connection all the same. */
static bool may_still_come(const struct end *e)
{
	const struct end *o = &e->link->ends[0];

	if (o->state != END_OVER)
		return true;
	return !o->vm && e->vm && o->line_sent == o->line_len && !e->link->may_be_refused &&
		!(e->link->reasons & (WHY_REFUSED | WHY_DEATH | WHY_TIGHT));
}

static bool absent_turn(struct end *e)
{
	if (e->listener >= 0 && deadline_poll(e->listener, POLLIN, 0)) {
		e->fd = e->link->type == VSOCK_TYPE_SEQPACKET ?
			host_messages_accept(e->listener) : host_accept(e->listener);
		open_give_up(e);
		has_opened(e);
		return true;
	}
	if (may_still_come(e))
		return false;
	open_give_up(e);
	return true;
}

static bool guest_hears(struct end *e)
{
	if (e->vm->state != VM_RUNNING || e->sock->state == SOCK_CONNECTING)
		return false;
	if (e->sock->was_refused)
		link_saw_refusal(e);
	else
		has_opened(e);
	return true;
}

static void check_answer(struct end *e)
{
	char want[24];

	snprintf(want, sizeof want, "OK %u\n", (unsigned)e->link->id);
	e->answer[e->n_answer] = '\0';
	if (strcmp(e->answer, want) != 0)
		link_fail(e->link, "the answer to CONNECT was '%s'", e->answer);
	has_opened(e);
}

static bool host_hears_message(struct end *e)
{
	ssize_t n = host_recv_message(e->fd, e->answer, sizeof e->answer - 1, 0);

	if (n == HOST_LATE)
		return false;
	if (n == HOST_END) {
		link_saw_refusal(e);
		return true;
	}
	e->n_answer = (uint8_t)n;
	check_answer(e);
	return true;
}

static bool host_hears(struct end *e)
{
	ssize_t n = recv(e->fd, e->answer + e->n_answer, 1, MSG_DONTWAIT);

	if (n < 0 && errno == EAGAIN)
		return false;
	if (n <= 0) {
		link_saw_refusal(e);
		return true;
	}
	e->n_answer++;
	if (e->answer[e->n_answer - 1] == '\n' || e->n_answer + 1u == sizeof e->answer)
		check_answer(e);
	return true;
}

bool open_turn(struct end *e)
{
	link_allow_refusal(e->link);
	if (e->state == END_ABSENT)
		return absent_turn(e);
	if (e->vm)
		return guest_hears(e);
	return e->link->type == VSOCK_TYPE_SEQPACKET ? host_hears_message(e) : host_hears(e);
}
