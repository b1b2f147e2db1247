/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Siblings: the real backend, with its links and pipes. Loop and mailbox, of
 * which it needs but one function each, are replaced: the time is the world's,
 * and mail waits until the script has it delivered, each VM's by itself, as if
 * each had a thread; or the first two had one together.
 *
 * The first mail of a link, posted while it is opened, begets the side of the
 * other guest: that is how the two are known to be one connection.
 */
#include "siblings.h"

#include <errno.h>
#include <stdlib.h>

#include "backend/sibling.h"
#include "util/list.h"

#include "guest.h"

struct mailbox {
	struct ledger *book;
	struct mail *first, **last;
};

struct loop {
	struct ledger *book;
};

static struct loop clock_loop;

uint64_t loop_now_ms(const struct loop *loop)
{
	return loop->book->now_ms;
}

bool mailbox_post(struct mailbox *box, struct mail *mail)
{
	if (atomic_exchange(&mail->is_posted, true))
		return false;
	mail->next = NULL;
	*box->last = mail;
	box->last = &mail->next;
	box->book->posted = mail;
	return true;
}

static struct mail *take_first(struct mailbox *box)
{
	struct mail *mail = box->first;

	if (!mail)
		return NULL;
	box->first = mail->next;
	if (!box->first)
		box->last = &box->first;
	atomic_store(&mail->is_posted, false);
	return mail;
}

/* The side of which this mail is to beget the other; NULL: it is another mail. */
static struct side *take_parent(struct ledger *book, const struct mail *mail)
{
	for (size_t i = 0; i < book->n_sides; i++) {
		if (book->sides[i].birth == mail) {
			book->sides[i].birth = NULL;
			return &book->sides[i];
		}
	}
	return NULL;
}

/* @parent's link has brought @vm a connection. */
static void beget(struct vm *vm, const struct side *parent)
{
	struct vsock_addr peer = { parent->vm->cid, parent->guest_port };
	struct side *side = side_new(vm, parent->type, parent->peer.port, &peer);

	assert(side && parent->peer.cid == vm->cid);	/* room was made sure of */
	assert(vm->types & 1u << side->type);
	side->from_sibling = true;
	side->out = parent->in;
	side->in = parent->out;
}

static void deliver_one(struct ledger *book, struct mail *mail)
{
	struct side *parent = take_parent(book, mail);
	struct mux_stats before, after;
	struct vm *vm;

	if (!parent) {
		mail->deliver(mail);
		return;
	}
	vm = &book->vms[parent->peer.cid - book->vms[0].cid];

	mux_get_stats(vm->mux, &before);
	mail->deliver(mail);
	mux_get_stats(vm->mux, &after);
	assert(after.conns - before.conns <= 1);
	assert(after.conns == before.conns || mux_is_running(vm->mux));
	if (after.conns != before.conns)
		beget(vm, parent);
}

bool siblings_deliver(struct vm *vm, unsigned n_mails)
{
	struct mail *mail;
	unsigned n;

	for (n = 0; n < n_mails && (mail = take_first(vm->mailbox)); n++)
		deliver_one(vm->book, mail);
	return n > 0;
}

static bool is_talking(const struct side *side)
{
	return side->is_open && !side->is_gone;
}

/* What one guest has sent has reached the other, which would take it. How many packets wait
 * there is limited as well: more come when it says that it has consumed them. */
static void check_nothing_stuck(const struct side *side)
{
	const struct side *other = side_other(side);
	uint32_t waiting;

	if (!other || !is_talking(side) || !is_talking(other) ||
	    other->guest_said & VSOCK_SHUTDOWN_RCV)
		return;
	waiting = (uint32_t)other->in->arrived - other->fwd_cnt;
	assert(waiting >= other->buf_alloc || other->owes_credit ||
	       (side->out->arrived == side->out->sent - side->out->begun &&
		!flow_next(side->out)));
}

/* What the other has consumed, and has told, makes room for a message that has begun. */
static void check_can_finish(const struct side *side)
{
	const struct side *other = side_other(side);

	if (!other || !is_talking(side) || !is_talking(other) || !side->out->begun ||
	    side->guest_said & VSOCK_SHUTDOWN_SEND || other->guest_said & VSOCK_SHUTDOWN_RCV)
		return;
	assert(guest_room(side) || other->fwd_cnt != side->out->sent - side->out->begun);
}

void siblings_check_nothing_stuck(const struct ledger *book)
{
	for (size_t i = 0; i < book->n_sides; i++) {
		check_nothing_stuck(&book->sides[i]);
		check_can_finish(&book->sides[i]);
	}
}

static bool may_reach(const struct vm *from, uint64_t cid)
{
	const struct vm *last = &from->book->vms[from->book->n_vms - 1];
	bool are_last_two = from->cid + cid == 2 * last->cid - 1;

	return cid != from->cid && cid <= last->cid && !are_last_two;
}

static bool door_serves(struct backend *b, uint64_t cid)
{
	struct vm *vm = container_of(b, struct vm, door);

	return vm->siblings->ops->serves(vm->siblings, cid);
}

/* Nobody but those who may reach each other comes in. */
static int door_connect(struct backend *b, enum vsock_type type,
			const struct vsock_addr *src, const struct vsock_addr *dst, struct stream **out)
{
	struct vm *vm = container_of(b, struct vm, door);
	struct ledger *book = vm->book;
	struct side *side;
	int r;

	if (book->n_sides + 2 * VMS * MAX_CONNS > SIDES)
		return -EMFILE;
	r = vm->siblings->ops->connect(vm->siblings, type, src, dst, out);
	assert((r == BACKEND_E_PENDING) == may_reach(vm, dst->cid));
	if (r != BACKEND_E_PENDING)
		return r;
	assert(vm->types & 1u << type);
	side = side_new(vm, type, src->port, dst);
	side->birth = book->posted;
	return r;
}

static void door_explain(struct backend *b, const struct vsock_addr *dst, int error,
			 char *text, size_t size)
{
	struct vm *vm = container_of(b, struct vm, door);

	vm->siblings->ops->explain(vm->siblings, dst, error, text, size);
}

static const struct backend_ops door_ops = {
	.serves = door_serves, .connect = door_connect, .explain = door_explain,
};

/* Two ports of each other guest, by the same numbers on both ends, so that both
 * may begin the same connection; itself; and nobody. */
static void add_slots(struct vm *vm)
{
	struct ledger *book = vm->book;

	vm->n_slots = 2;
	for (unsigned i = 0; i < book->n_vms; i++) {
		for (uint32_t port = 2000; port < 2002; port++) {
			if (i == (unsigned)(vm - book->vms) && port > 2000)
				continue;
			vm->slots[vm->n_slots++] = (struct slot){
				.guest_port = port, .peer = { book->vms[i].cid, port },
				.buf_alloc = 65536,
			};
		}
	}
	vm->slots[vm->n_slots++] = (struct slot){
		.guest_port = 2000, .peer = { 99, 2000 }, .buf_alloc = 65536,
	};
	assert(vm->n_slots <= SLOTS);
}

/* Who there is is known to all before anything happens. */
static void publish(struct ledger *book)
{
	if (sibling_dir_publish(book->dir))
		abort();
	for (unsigned i = 0; i < book->n_vms; i++) {
		struct mail *mail;

		while ((mail = take_first(book->vms[i].mailbox)))
			mail->deliver(mail);
	}
	book->posted = NULL;
}

static struct mailbox *new_mailbox(struct ledger *book)
{
	struct mailbox *box = calloc(1, sizeof *box);

	if (!box)
		abort();
	*box = (struct mailbox){ .book = book, .last = &box->first };
	return box;
}

void siblings_init(struct ledger *book)
{
	static char left[] = "left", right[] = "right";
	static char *const both[] = { left, right };

	struct sibling_entry *entries[VMS];

	clock_loop.book = book;
	if (sibling_dir_new(&book->dir))
		abort();
	for (unsigned i = 0; i < book->n_vms; i++) {
		struct vm *vm = &book->vms[i];
		bool is_last = i == book->n_vms - 1, is_middle = i == book->n_vms - 2;

		vm->mailbox = i == 1 && book->are_neighbours ? book->vms[0].mailbox :
			new_mailbox(book);
		if (sibling_dir_add(book->dir, vm->cid, both + is_last,
				    is_last || is_middle ? 1 : 2, vm->mailbox, &entries[i]))
			abort();
	}
	publish(book);
	for (unsigned i = 0; i < book->n_vms; i++) {
		struct vm *vm = &book->vms[i];
		struct sibling_config config = {
			.dir = book->dir, .self = entries[i], .loop = &clock_loop, .mux = vm->mux,
		};

		if (sibling_new(&vm->siblings, &config))
			abort();
		vm->door.ops = &door_ops;
		mux_add_backend(vm->mux, &vm->door);
		add_slots(vm);
	}
}

void siblings_deinit(struct ledger *book)
{
	for (unsigned i = 0; i < book->n_vms; i++) {
		struct vm *vm = &book->vms[i];

		assert(!vm->mailbox->first);
		vm->siblings->ops->free(vm->siblings);
	}
	for (unsigned i = book->n_vms; i-- > 0; )
		if (!i || book->vms[i].mailbox != book->vms[0].mailbox)
			free(book->vms[i].mailbox);
	sibling_dir_free(book->dir);
}
