/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One sibling connection: two ends, each a stream of its VM's packet core, and
 * a pipe in each direction.
 *
 * An end is touched by its own worker only, but for what is atomic: the pipes,
 * and `said`, the end's word to the other. Whoever says something, or moves
 * bytes that the other waits for, posts the other end's mail. The link lives
 * until both ends are closed and no mail is on its way.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "backend/pipe.h"
#include "backend/sibling_internal.h"
#include "util/error.h"
#include "util/log.h"
#include "util/ring.h"

/* A pipe is small for small messages, and large from the first long write until
 * it has been read empty: an idle link holds little. */
enum { PIPE_SMALL = 4 * 1024, PIPE_LARGE = 128 * 1024 };

enum {						/* end::said, added up */
	SAID_ACCEPTED = 1,
	SAID_NO_MORE = 2,			/* writes no more */
	SAID_DEAF = 4,				/* reads no more */
	SAID_CLOSED = 8,
	SAID_ABORTED = 16,			/* closed with something lost */
};

enum phase {					/* of an end, in its own thread */
	PHASE_PENDING,				/* the opener's, until the other accepts */
	PHASE_UNBORN,				/* the other's, until its core has it */
	PHASE_LIVE,
	PHASE_CLOSED,
};

struct end {
	struct stream base;
	enum phase phase;
	struct link *link;
	struct end *other;
	struct pipe in;				/* the other end writes, and has its memory */
	uint32_t out_size;			/* of the memory that this end has there */
	struct byte_budget *budget;		/* that it comes from; NULL: it needs none any more */
	_Atomic uint32_t consumed;		/* of what this end wrote: by the other's guest */
	uint32_t told_consumed;			/* ... of the other's, as it was told last */
	_Atomic unsigned said;
	struct mailbox *mailbox;
	struct mail mail;
	struct loop *loop;
	struct mux *mux;
};

struct link {
	atomic_int refs;			/* ends not closed, mails on their way */
	struct end ends[2];			/* [0]: the opener's */
	struct sibling_entry *to;
	struct vsock_addr src;
	uint32_t port;
	uint32_t window[2];			/* bytes that each end's guest may have on the way */
};

static const struct stream_ops sibling_stream_ops;

static struct end *end_of(struct stream *base)
{
	assert(base->ops == &sibling_stream_ops);
	return container_of(base, struct end, base);
}

static void link_unref(struct link *l)
{
	if (atomic_fetch_sub(&l->refs, 1) != 1)
		return;
	pipe_deinit(&l->ends[0].in);
	pipe_deinit(&l->ends[1].in);
	free(l);
}

static void tell(struct end *e)
{
	atomic_fetch_add(&e->link->refs, 1);
	if (!mailbox_post(e->mailbox, &e->mail))
		link_unref(e->link);
}

static void say(struct end *e, unsigned word)
{
	atomic_fetch_or(&e->said, word);
	tell(e->other);
}

static void set_window(struct end *e)
{
	e->base.peer_window = e->link->window[e == &e->link->ends[0]];
}

/* Of a closed end: its memory is its VM's until the other end has read it empty, or reads
 * no more. Then there is mail. */
static void out_pipe_give_up(struct end *e)
{
	struct pipe *out = &e->other->in;

	if (!e->budget)
		return;
	if (atomic_load(&e->other->said) & SAID_CLOSED)
		pipe_deinit(out);
	else if (pipe_wait_empty(out))
		return;
	else
		pipe_resize(out, 0);
	byte_budget_give(e->budget, e->out_size);
	e->out_size = 0;
	byte_budget_unref(e->budget);
	e->budget = NULL;
}

static void end_close(struct end *e, unsigned word)
{
	e->phase = PHASE_CLOSED;
	say(e, word);
	out_pipe_give_up(e);
	link_unref(e->link);
}

static void end_belong(struct end *e, struct sibling *to)
{
	e->loop = to->config.loop;
	e->mux = to->config.mux;
	e->budget = byte_budget_ref(mux_budget(e->mux));
}

/* The other VM's worker has the link: its core gets a connection, or not. */
static void be_born(struct end *e)
{
	struct link *l = e->link;
	struct sibling *port = l->to->port;

	if (!port || atomic_load(&e->other->said) & SAID_CLOSED) {
		end_close(e, SAID_CLOSED | SAID_ABORTED);
		return;
	}
	end_belong(e, port);
	e->phase = PHASE_LIVE;
	e->base.ready = STREAM_IN | STREAM_OUT;
	l->window[1] = mux_window(e->mux);
	set_window(e);
	if (mux_connect_from_sibling(e->mux, &e->base, &l->src, l->port,
				     loop_now_ms(e->loop)) < 0)
		end_close(e, SAID_CLOSED | SAID_ABORTED);
}

static void hear_outcome(struct end *e)
{
	unsigned said = atomic_load(&e->other->said);
	int error = 0;

	if (!(said & SAID_ACCEPTED)) {
		if (!(said & SAID_CLOSED))
			return;
		error = -ECONNREFUSED;
	}
	e->phase = PHASE_LIVE;
	e->base.ready = STREAM_IN | STREAM_OUT;
	set_window(e);				/* the other set its own before it spoke */
	mux_stream_connected(e->mux, &e->base, error, loop_now_ms(e->loop));
}

static void on_mail(struct mail *mail)
{
	struct end *e = container_of(mail, struct end, mail);
	unsigned said = atomic_load(&e->other->said);
	struct link *l = e->link;

	if (e->phase == PHASE_UNBORN)
		be_born(e);
	else if (e->phase == PHASE_PENDING)
		hear_outcome(e);
	if (e->phase == PHASE_LIVE) {
		e->base.ready |= STREAM_IN | STREAM_OUT;
		if (said & SAID_CLOSED)
			e->base.ready |= STREAM_HUP;
		if (said & SAID_DEAF)		/* a sender without credit has to hear of it */
			e->base.ready |= STREAM_DEAF;
		mux_stream_ready(e->mux, &e->base, loop_now_ms(e->loop));
	} else if (e->phase == PHASE_CLOSED) {
		out_pipe_give_up(e);
	}
	link_unref(l);
}

static void end_init(struct link *l, int i, enum phase phase, struct mailbox *mailbox)
{
	struct end *e = &l->ends[i];

	e->base.ops = &sibling_stream_ops;
	e->base.consumed = &e->consumed;
	e->phase = phase;
	e->link = l;
	e->other = &l->ends[1 - i];
	e->mailbox = mailbox;
	e->mail.deliver = on_mail;
	pipe_init(&e->in);
	atomic_store(&e->in.reader_waits, true);
}

int sibling_link_open(struct sibling *from, struct sibling_entry *to,
		      const struct vsock_addr *src, const struct vsock_addr *dst,
		      struct stream **out)
{
	struct link *l = calloc(1, sizeof *l);

	if (!l)
		return -ENOMEM;
	atomic_store(&l->refs, 2);
	l->to = to;
	l->src = *src;
	l->port = dst->port;
	end_init(l, 0, PHASE_PENDING, from->self->mailbox);
	end_init(l, 1, PHASE_UNBORN, to->mailbox);
	end_belong(&l->ends[0], from);
	l->window[0] = mux_window(from->config.mux);
	tell(&l->ends[1]);
	*out = &l->ends[0].base;
	return 0;
}

static int sibling_read(struct stream *base, const struct iovec *v, int nv, size_t *n)
{
	struct end *e = end_of(base);
	bool wake;
	/* Before the pipe: what was written before the word is then seen. */
	unsigned said = atomic_load(&e->other->said);

	if (pipe_read(&e->in, v, nv, n, &wake) == 0) {
		if (wake)
			tell(e->other);
		return 0;
	}
	base->ready &= ~(unsigned)STREAM_IN;
	if (said & SAID_ABORTED)
		return -ECONNRESET;
	if (said & SAID_CLOSED)			/* what we wrote meanwhile is lost */
		return pipe_is_empty(&e->other->in) ? STREAM_E_CLOSED : -ECONNRESET;
	return said & SAID_NO_MORE ? STREAM_E_EOF : STREAM_E_AGAIN;
}

/* Memory for the empty pipe that this end writes to, out of its own VM's budget. */
static int out_pipe_resize(struct end *e, uint32_t size)
{
	int r;

	byte_budget_give(e->budget, e->out_size);
	e->out_size = 0;
	if (!byte_budget_take(e->budget, size)) {
		pipe_resize(&e->other->in, 0);
		return -ENOBUFS;
	}
	r = pipe_resize(&e->other->in, size);
	if (r < 0)
		byte_budget_give(e->budget, size);
	else
		e->out_size = size;
	return r;
}

static void log_small_pipe(const struct end *e, int error)
{
	bool is_opener = e == &e->link->ends[0];
	char tag[32];

	snprintf(tag, sizeof tag, "vm %llu",
		 (unsigned long long)(is_opener ? e->link->src.cid : e->link->to->cid));
	log_limited(LOG_WARN, tag, "a large pipe to a sibling: %s; a small one has to do",
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

	if (e->out_size == PIPE_LARGE || !pipe_is_empty(&e->other->in))
		return 0;
	for (int i = 0; i < nv && len <= PIPE_SMALL; i++)
		len += v[i].iov_len;
	if (len > PIPE_SMALL && may_be_large(e)) {
		r = out_pipe_resize(e, PIPE_LARGE);
		if (r == 0)
			return 0;
		log_small_pipe(e, r);
	}
	return e->out_size ? 0 : out_pipe_resize(e, PIPE_SMALL);
}

static int sibling_write(struct stream *base, const struct iovec *v, int nv, size_t *n)
{
	struct end *e = end_of(base);
	unsigned said = atomic_load(&e->other->said);
	bool wake;
	int r;

	if (said & (SAID_CLOSED | SAID_ABORTED))
		return -ECONNRESET;
	if (said & SAID_DEAF)
		return -EPIPE;
	if ((r = out_pipe_fit(e, v, nv)) < 0)
		return r;
	r = pipe_write(&e->other->in, v, nv, n, &wake);
	if (r == PIPE_E_WAIT) {
		base->ready &= ~(unsigned)STREAM_OUT;
		return STREAM_E_AGAIN;
	}
	if (r == 0 && wake)
		tell(e->other);
	return r;
}

static int sibling_shutdown(struct stream *base, int how)
{
	say(end_of(base), how == SHUT_RD ? SAID_DEAF : SAID_NO_MORE);
	return 0;
}

/* The other end tells its guest when a quarter of its window is new. */
static void sibling_consumed(struct stream *base, uint32_t total)
{
	struct end *e = end_of(base);

	atomic_store(&e->other->consumed, total);
	if (total - e->told_consumed < base->peer_window / 4)
		return;
	e->told_consumed = total;
	tell(e->other);
}

static void sibling_accepted(struct stream *base, const struct vsock_addr *guest)
{
	(void)guest;
	say(end_of(base), SAID_ACCEPTED);
}

/* Who finds the pipe empty or full has said so to it; not so who wrote a part. */
static void sibling_wait_for(struct stream *base, unsigned events)
{
	struct end *e = end_of(base);

	if (events & STREAM_OUT && base->ready & STREAM_OUT && !pipe_wait_writable(&e->other->in))
		tell(e);
	else if (e->out_size == PIPE_LARGE && !pipe_wait_empty(&e->other->in))
		out_pipe_resize(e, 0);
}

static void sibling_close(struct stream *base, bool is_orderly)
{
	struct end *e = end_of(base);
	bool lost = !is_orderly || !pipe_is_empty(&e->in);

	end_close(e, SAID_CLOSED | (lost ? SAID_ABORTED : 0));
}

static const struct stream_ops sibling_stream_ops = {
	.name = "sibling",
	.read = sibling_read,
	.write = sibling_write,
	.shutdown = sibling_shutdown,
	.consumed = sibling_consumed,
	.accepted = sibling_accepted,
	.wait_for = sibling_wait_for,
	.close = sibling_close,
};
