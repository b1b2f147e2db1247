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
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "backend/sibling_conn_internal.h"
#include "util/byte_ring.h"
#include "util/error.h"
#include "util/iov.h"
#include "util/log_limit.h"

static struct end *end_of(struct stream *base)
{
	assert(base->ops == &sibling_stream_ops || base->ops == &sibling_message_ops);
	return container_of(base, struct end, base);
}

static void conn_unref(struct sibling_conn *c)
{
	if (atomic_fetch_sub(&c->refs, 1) != 1)
		return;
	spsc_pipe_deinit(&c->ends[0].in);
	spsc_pipe_deinit(&c->ends[1].in);
	if (c->to)
		sibling_entry_unref(c->to);
	free(c);
}

void sibling_end_notify(struct end *e)
{
	atomic_fetch_add(&e->conn->refs, 1);
	if (!mailbox_post(e->mailbox, &e->mail))
		conn_unref(e->conn);
}

static void set_flag(struct end *e, unsigned flag)
{
	atomic_fetch_or(&e->flags, flag);
	sibling_end_notify(e->other);
}

/* What the guest has consumed is news for the other end. */
static void tell_consumed(struct end *e)
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
		tell_consumed(e);
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

/* The other end is closed: something of what this one wrote has not got to its guest. */
static bool has_lost(const struct end *e, unsigned other_flags)
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
			e->base.ready |= STREAM_HUP | (has_lost(e, flags) ? STREAM_LOST : 0u);
		if (flags & END_READ_CLOSED)	/* a sender without credit has to hear of it */
			e->base.ready |= STREAM_READ_CLOSED;
		mux_stream_ready(e->mux, &e->base, loop_now_ms(e->loop));
	} else if (e->phase == PHASE_CLOSED) {
		out_pipe_give_up(e);
	}
	conn_unref(c);
}

void sibling_end_init(struct sibling_conn *c, int i, enum phase phase, struct mailbox *mailbox)
{
	struct end *e = &c->ends[i];

	e->base.type = (uint16_t)c->type;
	e->base.ops = c->type == VSOCK_TYPE_SEQPACKET ? &sibling_message_ops : &sibling_stream_ops;
	e->base.consumed = &e->consumed;
	e->phase = phase;
	e->conn = c;
	e->other = &c->ends[1 - i];
	e->mailbox = mailbox;
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
	sibling_end_init(c, 0, PHASE_PENDING, from->config.self->mailbox);
	sibling_end_init(c, 1, PHASE_INCOMING, to->mailbox);
	sibling_end_belong(&c->ends[0], from);
	atomic_store(&c->window[0], mux_window(from->config.mux));
	sibling_end_notify(&c->ends[1]);
	*out = &c->ends[0].base;
	return 0;
}

/* The pipe is empty: what that means depends on the other end's @flags, which were there before. */
static int read_nothing(struct end *e, unsigned flags)
{
	e->base.ready &= ~(unsigned)STREAM_IN;
	if (flags & END_CLOSED)
		return has_lost(e, flags) ? STREAM_E_RESET : STREAM_E_CLOSED;
	return flags & END_WRITE_CLOSED ? STREAM_E_EOF : STREAM_E_AGAIN;
}

static int sibling_read(struct stream *base, const struct iovec *v, int nv, size_t *n)
{
	struct end *e = end_of(base);
	bool wake;
	/* Before the pipe is read: what was written before a flag was set is seen then. */
	unsigned flags = atomic_load(&e->other->flags);

	if (spsc_pipe_read(&e->in, v, nv, n, &wake) == 0) {
		if (wake)
			sibling_end_notify(e->other);
		return 0;
	}
	return read_nothing(e, flags);
}

/* The last of what there is to read may be messages that nobody consumes, being empty: whatever
 * was consumed before them has not been told yet. */
static void read_empty_message(struct end *e)
{
	if (spsc_pipe_is_empty(&e->in) && atomic_load(&e->other->consumed) != e->reported_consumed)
		tell_consumed(e);
}

static int sibling_read_message(struct stream *base, const struct iovec *v, int nv, size_t *n,
				uint32_t *flags)
{
	struct end *e = end_of(base);
	unsigned other_flags = atomic_load(&e->other->flags);	/* before the pipe, as above */
	bool wake;
	int r = spsc_pipe_read_message(&e->in, v, nv, n, flags, &wake);

	if (r == SPSC_PIPE_E_WAIT)
		return read_nothing(e, other_flags);
	if (r == SPSC_PIPE_E_TOO_LONG)
		return STREAM_E_TOO_LONG;
	if (wake)
		sibling_end_notify(e->other);
	if (!*n)
		read_empty_message(e);
	return 0;
}

/* Gives the empty pipe that this end writes to @size bytes of its own VM's budget. */
int sibling_end_resize_out(struct end *e, uint32_t size)
{
	int r;

	byte_budget_give(e->budget, e->out_size);
	e->out_size = 0;
	if (!byte_budget_take(e->budget, size)) {
		spsc_pipe_resize(&e->other->in, 0);
		return -ENOBUFS;
	}
	r = spsc_pipe_resize(&e->other->in, size);
	if (r < 0)
		byte_budget_give(e->budget, size);
	else
		e->out_size = size;
	return r;
}

static void log_small_pipe(const struct end *e, int error)
{
	bool is_opener = e == &e->conn->ends[0];
	char tag[32];

	snprintf(tag, sizeof tag, "vm %llu",
		 (unsigned long long)(is_opener ? e->conn->src.cid : e->conn->dst.cid));
	log_limited(LEVEL_WARN, tag, "a large pipe to a sibling: %s; a small one has to do",
		    error_str(error));
}

/* Large pipes are for speed alone: half of the budget stays for what connections
 * cannot do without. */
static bool may_be_large(const struct end *e)
{
	return e->budget->used + PIPE_LARGE <= e->budget->max / 2;
}

static int out_pipe_fit(struct end *e, const struct iovec *v, int nv)
{
	size_t len = 0;
	int r;

	if (e->out_size == PIPE_LARGE || !spsc_pipe_is_empty(&e->other->in))
		return 0;
	for (int i = 0; i < nv && len <= PIPE_SMALL; i++)
		len += v[i].iov_len;
	if (len > PIPE_SMALL && may_be_large(e)) {
		r = sibling_end_resize_out(e, PIPE_LARGE);
		if (r == 0)
			return 0;
		log_small_pipe(e, r);
	}
	return e->out_size ? 0 : sibling_end_resize_out(e, PIPE_SMALL);
}

uint32_t sibling_pipe_size(size_t n)
{
	uint32_t size = PIPE_SMALL;

	if (n > size)
		size = PIPE_LARGE;
	while (size < n)
		size *= 2;
	return size;
}

/* Room for a message of @len bytes in the pipe, though maybe not now. 0; SPSC_PIPE_E_WAIT: it has
 * to be empty first; STREAM_E_TOO_LONG; -errno. */
static int out_pipe_fit_message(struct end *e, size_t len)
{
	size_t need = len + SPSC_PIPE_MESSAGE_BYTES;
	struct spsc_pipe *out = &e->other->in;

	if (need <= e->out_size)
		return 0;
	if (need > PIPE_MAX)
		return STREAM_E_TOO_LONG;
	if (spsc_pipe_wait_empty(out))
		return SPSC_PIPE_E_WAIT;
	atomic_store(&out->writer_waits, false);
	return sibling_end_resize_out(e, sibling_pipe_size(need));
}

/* Why nothing can be written, by the other end's flags; 0: it can. */
static int write_closed(const struct end *e)
{
	unsigned flags = atomic_load(&e->other->flags);

	if (flags & (END_CLOSED | END_ABORTED))
		return STREAM_E_RESET;
	return flags & END_READ_CLOSED ? STREAM_E_NO_READER : 0;
}

static int sibling_write_message(struct stream *base, const struct iovec *v, int nv, uint32_t flags)
{
	struct end *e = end_of(base);
	bool wake = false;
	int r = write_closed(e);

	if (r)
		return r;
	r = out_pipe_fit_message(e, iov_total(v, (size_t)nv));
	if (!r)
		r = spsc_pipe_write_message(&e->other->in, v, nv, flags, &wake);
	if (r == SPSC_PIPE_E_WAIT) {
		base->ready &= ~(unsigned)STREAM_OUT;
		return STREAM_E_AGAIN;
	}
	if (wake)
		sibling_end_notify(e->other);
	return r;
}

static int sibling_write(struct stream *base, const struct iovec *v, int nv, size_t *n)
{
	struct end *e = end_of(base);
	bool wake;
	int r = write_closed(e);

	if (r)
		return r;
	if ((r = out_pipe_fit(e, v, nv)) < 0)
		return r;
	r = spsc_pipe_write(&e->other->in, v, nv, n, &wake);
	if (r == SPSC_PIPE_E_WAIT) {
		base->ready &= ~(unsigned)STREAM_OUT;
		return STREAM_E_AGAIN;
	}
	if (r == 0 && wake)
		sibling_end_notify(e->other);
	return r;
}

static int sibling_shutdown(struct stream *base, int how)
{
	set_flag(end_of(base), how == SHUT_RD ? END_READ_CLOSED : END_WRITE_CLOSED);
	return 0;
}

static void sibling_consumed(struct stream *base, uint32_t total)
{
	struct end *e = end_of(base);

	atomic_store(&e->other->consumed, total);
	report_consumed(e);
}

static void sibling_window(struct stream *base, uint32_t bytes)
{
	struct end *e = end_of(base);

	atomic_store(&e->conn->window[e != &e->conn->ends[0]], bytes);
	sibling_end_notify(e->other);
}

static void sibling_accepted(struct stream *base, const struct vsock_addr *guest)
{
	(void)guest;
	set_flag(end_of(base), END_ACCEPTED);
}

/* A call that moved nothing has registered as a waiter; a partial write has not. */
static void sibling_wait_for(struct stream *base, unsigned events)
{
	struct end *e = end_of(base);

	if (events & STREAM_OUT && base->ready & STREAM_OUT &&
	    !spsc_pipe_wait_writable(&e->other->in))
		sibling_end_notify(e);
	else if (e->out_size >= PIPE_LARGE && !spsc_pipe_wait_empty(&e->other->in))
		sibling_end_resize_out(e, 0);
}

static void sibling_close(struct stream *base, bool is_orderly)
{
	struct end *e = end_of(base);
	bool lost = !is_orderly || !spsc_pipe_is_empty(&e->in);

	sibling_end_close(e, END_CLOSED | (lost ? END_ABORTED : 0));
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
};

const struct stream_ops sibling_message_ops = {
	.read_message = sibling_read_message,
	.write_message = sibling_write_message,
	.shutdown = sibling_shutdown,
	.consumed = sibling_consumed,
	.window = sibling_window,
	.accepted = sibling_accepted,
	.wait_for = sibling_wait_for,
	.close = sibling_close,
	.save = sibling_end_save,
};
