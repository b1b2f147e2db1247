/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One sibling connection: two ends, each a stream of its VM's packet core, and
 * a pipe in each direction.
 *
 * An end belongs to its own worker. What both may touch is atomic: the pipes, and
 * `flags`, which an end sets for the other to see. Whoever sets a flag, or moves bytes
 * that the other waits for, posts mail to the other end. The connection lives until both
 * ends are closed and no mail is on its way.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "backend/sibling_conn_internal.h"
#include "util/byte_ring.h"

static void conn_unref(struct sibling_conn *c)
{
	if (atomic_fetch_sub(&c->refs, 1) != 1)
		return;
	spsc_pipe_deinit(&c->ends[0].in);
	spsc_pipe_deinit(&c->ends[1].in);
	sibling_entry_unref(c->ends[0].entry);
	sibling_entry_unref(c->ends[1].entry);
	if (c->to)
		sibling_entry_unref(c->to);
	free(c);
}

void sibling_end_notify(struct end *e)
{
	atomic_fetch_add(&e->conn->refs, 1);
	if (!mailbox_post(e->entry->mailbox, &e->mail))
		conn_unref(e->conn);
}

static void set_flag(struct end *e, unsigned flag)
{
	atomic_fetch_or(&e->flags, flag);
	sibling_end_notify(e->other);
}

void sibling_end_tell_consumed(struct end *e)
{
	e->reported_consumed = atomic_load(&e->other->consumed);
	sibling_end_notify(e->other);
}

/* It is told when a quarter of the other guest's window is new; or, for a message that needs all
 * of the window, when no more can become new. */
static void report_consumed(struct end *e)
{
	uint32_t news = atomic_load(&e->other->consumed) - e->reported_consumed;
	bool is_all = e->base.type == VSOCK_TYPE_SEQPACKET && spsc_pipe_is_empty(&e->in);

	if (news && (news >= e->base.peer_window / 4 || is_all))
		sibling_end_tell_consumed(e);
}

/* As the other end has it now. */
static void set_window(struct end *e)
{
	uint32_t window = atomic_load(&e->conn->window[e == &e->conn->ends[0]]);

	if (window == e->base.peer_window)
		return;
	e->base.peer_window = window;
	report_consumed(e);
}

/* For a closed end: gives its pipe's memory back to its VM's budget once the other end has
 * read the pipe empty, or has closed. Until then mail calls this again. */
static void out_pipe_give_up(struct end *e)
{
	struct spsc_pipe *out = &e->other->in;

	if (!e->budget)
		return;
	if (atomic_load(&e->other->flags) & END_CLOSED)
		spsc_pipe_deinit(out);
	else if (spsc_pipe_wait_empty(out))
		return;
	else
		spsc_pipe_resize(out, 0);
	byte_budget_give(e->budget, e->out_size);
	e->out_size = 0;
	byte_budget_unref(e->budget);
	e->budget = NULL;
}

void sibling_end_close(struct end *e, unsigned flag)
{
	if (!list_is_empty(&e->node))
		sibling_end_forget(e);
	e->phase = PHASE_CLOSED;
	set_flag(e, flag);
	out_pipe_give_up(e);
	conn_unref(e->conn);
}

void sibling_end_belong(struct end *e, struct sibling *to)
{
	e->loop = to->config.loop;
	e->mux = to->config.mux;
	e->budget = byte_budget_ref(mux_budget(e->mux));
}

/* In the other VM's worker: offers its core the connection. */
static void accept_conn(struct end *e)
{
	struct sibling_conn *c = e->conn;
	struct sibling *backend = c->to->backend;

	if (!backend || atomic_load(&e->other->flags) & END_CLOSED) {
		sibling_end_close(e, END_CLOSED | END_ABORTED);
		return;
	}
	sibling_end_belong(e, backend);
	e->phase = PHASE_LIVE;
	e->base.ready = STREAM_IN | STREAM_OUT;
	atomic_store(&c->window[1], mux_window(e->mux));
	set_window(e);
	if (mux_connect_from_sibling(e->mux, &e->base, &c->src, c->dst.port,
				     loop_now_ms(e->loop)))
		sibling_end_close(e, END_CLOSED | END_ABORTED);
}

static void on_connect_result(struct end *e)
{
	unsigned flags = atomic_load(&e->other->flags);
	int error = 0;

	if (!(flags & END_ACCEPTED)) {
		if (!(flags & END_CLOSED))
			return;
		error = BACKEND_E_NOBODY;
	}
	e->phase = PHASE_LIVE;
	e->base.ready = STREAM_IN | STREAM_OUT;
	set_window(e);
	mux_stream_connected(e->mux, &e->base, &e->base, error, loop_now_ms(e->loop));
}

bool sibling_end_has_lost(const struct end *e, unsigned other_flags)
{
	return other_flags & END_ABORTED || !spsc_pipe_is_empty(&e->other->in);
}

static void on_mail(struct mail *mail)
{
	struct end *e = container_of(mail, struct end, mail);
	unsigned flags = atomic_load(&e->other->flags);
	struct sibling_conn *c = e->conn;

	if (e->phase == PHASE_INCOMING)
		accept_conn(e);
	else if (e->phase == PHASE_PENDING)
		on_connect_result(e);
	if (e->phase == PHASE_LIVE) {
		set_window(e);
		e->base.ready |= STREAM_IN | STREAM_OUT;
		if (flags & END_CLOSED)
			e->base.ready |= STREAM_HUP | (sibling_end_has_lost(e, flags) ? STREAM_LOST : 0u);
		if (flags & END_READ_CLOSED)	/* a sender without credit has to hear of it */
			e->base.ready |= STREAM_READ_CLOSED;
		mux_stream_ready(e->mux, &e->base, loop_now_ms(e->loop));
	} else if (e->phase == PHASE_CLOSED) {
		out_pipe_give_up(e);
	}
	conn_unref(c);
}

void sibling_end_set_entry(struct end *e, struct sibling_entry *entry)
{
	sibling_entry_ref(entry);
	if (e->entry)
		sibling_entry_unref(e->entry);
	e->entry = entry;
}

void sibling_end_init(struct sibling_conn *c, int i, enum phase phase, struct sibling_entry *entry)
{
	struct end *e = &c->ends[i];

	e->base.type = (uint16_t)c->type;
	e->base.ops = c->type == VSOCK_TYPE_SEQPACKET ? &sibling_message_ops : &sibling_stream_ops;
	e->base.consumed = &e->consumed;
	e->phase = phase;
	e->conn = c;
	e->other = &c->ends[1 - i];
	sibling_end_set_entry(e, entry);
	e->mail.deliver = on_mail;
	list_init(&e->node);
	spsc_pipe_init(&e->in);
	atomic_store(&e->in.reader_waits, true);
}

struct sibling_conn *sibling_conn_new(enum vsock_type type, const struct vsock_addr *src,
				      const struct vsock_addr *dst)
{
	static _Atomic uint64_t last_id;
	struct sibling_conn *c = calloc(1, sizeof *c);

	if (!c)
		return NULL;
	c->type = type;
	c->src = *src;
	c->dst = *dst;
	c->id = 1 + atomic_fetch_add(&last_id, 1);
	list_init(&c->node);
	return c;
}

int sibling_conn_open(struct sibling *from, struct sibling_entry *to, enum vsock_type type,
		      const struct vsock_addr *src, const struct vsock_addr *dst,
		      struct stream **out)
{
	struct sibling_conn *c = sibling_conn_new(type, src, dst);

	if (!c)
		return -ENOMEM;
	atomic_store(&c->refs, 2);
	c->to = sibling_entry_ref(to);
	sibling_end_init(c, 0, PHASE_PENDING, from->config.self);
	sibling_end_init(c, 1, PHASE_INCOMING, to);
	sibling_end_belong(&c->ends[0], from);
	atomic_store(&c->window[0], mux_window(from->config.mux));
	sibling_end_notify(&c->ends[1]);
	*out = &c->ends[0].base;
	return 0;
}

static int sibling_shutdown(struct stream *base, int how)
{
	set_flag(sibling_end_of(base), how == SHUT_RD ? END_READ_CLOSED : END_WRITE_CLOSED);
	return 0;
}

static void sibling_consumed(struct stream *base, uint32_t total)
{
	struct end *e = sibling_end_of(base);

	atomic_store(&e->other->consumed, total);
	report_consumed(e);
}

static void sibling_window(struct stream *base, uint32_t bytes)
{
	struct end *e = sibling_end_of(base);

	atomic_store(&e->conn->window[e != &e->conn->ends[0]], bytes);
	sibling_end_notify(e->other);
}

static void sibling_accepted(struct stream *base, const struct vsock_addr *guest)
{
	(void)guest;
	set_flag(sibling_end_of(base), END_ACCEPTED);
}

/* A call that moved nothing has registered as a waiter; a partial write has not. */
static void sibling_wait_for(struct stream *base, unsigned events)
{
	struct end *e = sibling_end_of(base);

	if (events & STREAM_OUT && base->ready & STREAM_OUT &&
	    !spsc_pipe_wait_writable(&e->other->in))
		sibling_end_notify(e);
	else if (e->out_size >= PIPE_LARGE && !spsc_pipe_wait_empty(&e->other->in))
		sibling_end_resize_out(e, 0);
}

static void sibling_close(struct stream *base, bool is_orderly)
{
	struct end *e = sibling_end_of(base);
	bool lost = !is_orderly || !spsc_pipe_is_empty(&e->in) || (e->pushed && e->pushed->n);

	sibling_end_close(e, END_CLOSED | (lost ? END_ABORTED : 0));
}

/* Whatever mail there is for it goes the way of its VM's entry. */
static void sibling_move(struct stream *base, struct loop_move *m)
{
	loop_move_pointer(m, &sibling_end_of(base)->loop);
}

const struct stream_ops sibling_stream_ops = {
	.read = sibling_read,
	.write = sibling_write,
	.shutdown = sibling_shutdown,
	.consumed = sibling_consumed,
	.window = sibling_window,
	.accepted = sibling_accepted,
	.wait_for = sibling_wait_for,
	.close = sibling_close,
	.save = sibling_end_save,
	.move = sibling_move,
};

const struct stream_ops sibling_message_ops = {
	.read_message = sibling_read_message,
	.write_message = sibling_write_message,
	.write_messages = sibling_write_messages,
	.shutdown = sibling_shutdown,
	.consumed = sibling_consumed,
	.window = sibling_window,
	.accepted = sibling_accepted,
	.wait_for = sibling_wait_for,
	.close = sibling_close,
	.save = sibling_end_save,
	.move = sibling_move,
};
