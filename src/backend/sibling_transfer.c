/* SPDX-License-Identifier: BSD-3-Clause */
/* What goes from one end of a sibling connection to the other: through the pipe, or past it. */
#include <stdio.h>

#include "backend/sibling_conn_internal.h"
#include "util/byte_ring.h"
#include "util/error.h"
#include "util/log_limit.h"

/* The pipe is empty: what that means depends on the other end's @flags, which were there before. */
static int read_nothing(struct end *e, unsigned flags)
{
	e->base.ready &= ~(unsigned)STREAM_IN;
	if (flags & END_CLOSED)
		return sibling_end_has_lost(e, flags) ? STREAM_E_RESET : STREAM_E_CLOSED;
	return flags & END_WRITE_CLOSED ? STREAM_E_EOF : STREAM_E_AGAIN;
}

/* All that was on the way has been read: what comes next has to tell. */
static void has_read_all(struct end *e)
{
	e->base.ready &= ~(unsigned)STREAM_IN;
	atomic_store(&e->in.reader_waits, true);
}

/* The next of what the other guest has sent, from its memory, at most @len bytes. False: that has
 * gone meanwhile, so this is not it. */
static bool copy_pushed(struct end *e, const struct iovec *v, int nv, size_t len)
{
	for (int i = 0; i < nv && len; i++) {
		size_t here = v[i].iov_len < len ? v[i].iov_len : len;

		iov_cur_get(&e->pushed->cur, v[i].iov_base, here);
		len -= here;
	}
	return !mux_is_lost(e->other->mux);
}

static int read_pushed(struct end *e, const struct iovec *v, int nv, size_t *n)
{
	size_t before = e->pushed->cur.left;

	if (!copy_pushed(e, v, nv, before))
		return STREAM_E_RESET;
	*n = before - e->pushed->cur.left;
	if (!e->pushed->cur.left)
		has_read_all(e);
	return *n ? 0 : STREAM_E_AGAIN;
}

int sibling_read(struct stream *base, const struct iovec *v, int nv, size_t *n)
{
	struct end *e = sibling_end_of(base);
	bool wake;
	/* Before the pipe is read: what was written before a flag was set is seen then. */
	unsigned flags = atomic_load(&e->other->flags);

	if (e->pushed)
		return read_pushed(e, v, nv, n);
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
		sibling_end_tell_consumed(e);
}

/* Whole, or it is still there. */
static int read_pushed_message(struct end *e, const struct iovec *v, int nv, size_t *n,
			       uint32_t *flags)
{
	struct pushed *p = e->pushed;

	*n = p->messages->len;
	if (*n > iov_total(v, (size_t)nv))
		return STREAM_E_TOO_LONG;
	*flags = p->messages->flags;
	if (!copy_pushed(e, v, nv, *n))
		return STREAM_E_RESET;
	p->messages++;
	if (--p->n)
		return 0;
	e->pushed = NULL;
	has_read_all(e);
	return 0;
}

int sibling_read_message(struct stream *base, const struct iovec *v, int nv, size_t *n,
			 uint32_t *flags)
{
	struct end *e = sibling_end_of(base);
	unsigned other_flags = atomic_load(&e->other->flags);	/* before the pipe, as above */
	bool wake;
	int r;

	if (e->pushed)
		return read_pushed_message(e, v, nv, n, flags);
	r = spsc_pipe_read_message(&e->in, v, nv, n, flags, &wake);
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

/* Straight to the other guest, if its VM has the same thread and nothing is on the way already.
 * What it has not taken is left in @p. True: the other end has closed because of it. */
static bool push(struct end *e, struct pushed *p)
{
	struct end *to = e->other;

	if (to->entry->mailbox != e->entry->mailbox || to->phase != PHASE_LIVE ||
	    !spsc_pipe_is_empty(&to->in))
		return false;
	to->pushed = p;
	to->base.ready |= STREAM_IN;
	mux_push(to->mux, &to->base, loop_now_ms(e->loop));
	to->pushed = NULL;
	return to->phase == PHASE_CLOSED;
}

size_t sibling_write_messages(struct stream *base, const struct iovec *v,
			      const struct stream_message *m, size_t n)
{
	struct end *e = sibling_end_of(base);
	struct pushed p = { .messages = m, .n = n };
	size_t n_iov = 0;

	if (write_closed(e))
		return 0;
	for (size_t i = 0; i < n; i++)
		n_iov += m[i].n;
	iov_cur_init(&p.cur, v, n_iov);
	return push(e, &p) ? n : n - p.n;
}

int sibling_write_message(struct stream *base, const struct iovec *v, int nv, uint32_t flags)
{
	struct end *e = sibling_end_of(base);
	struct stream_message m = { (size_t)nv, iov_total(v, (size_t)nv), flags };
	bool wake = false;
	int r = write_closed(e);

	if (r)
		return r;
	if (sibling_write_messages(base, v, &m, 1))
		return 0;
	r = out_pipe_fit_message(e, m.len);
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

int sibling_write(struct stream *base, const struct iovec *v, int nv, size_t *n)
{
	struct end *e = sibling_end_of(base);
	struct pushed p = { .n = 0 };
	size_t len;
	bool wake;
	int r = write_closed(e);

	if (r)
		return r;
	iov_cur_init(&p.cur, v, (size_t)nv);
	len = p.cur.left;
	push(e, &p);
	*n = len - p.cur.left;
	if (*n)
		return 0;			/* the rest goes by the pipe */
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
