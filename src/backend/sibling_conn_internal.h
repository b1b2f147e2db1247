/* SPDX-License-Identifier: BSD-3-Clause */
/* What the files of a sibling connection share: sibling_conn.c (its life), sibling_transfer.c
 * (what it passes on), sibling_state.c (how another process takes it over). */
#pragma once

#include "backend/sibling_internal.h"
#include "backend/spsc_pipe.h"
#include "util/iov.h"

/* A pipe is small for small messages, and large from the first long write until
 * it has been read empty: an idle connection holds little. One of messages is as large as the
 * longest has asked for. */
enum { PIPE_SMALL = 4 * 1024, PIPE_LARGE = 128 * 1024 };	/* bytes */
#define PIPE_MAX (UINT32_C(1) << 31)		/* a power of two, whose counters have 32 bits */

enum {						/* end::flags, added up */
	END_ACCEPTED = 1,
	END_WRITE_CLOSED = 2,			/* writes no more */
	END_READ_CLOSED = 4,			/* reads no more */
	END_CLOSED = 8,
	END_ABORTED = 16,			/* closed with something lost */
};

enum phase {					/* of an end, in its own thread */
	PHASE_PENDING,				/* the opener's, until the other accepts */
	PHASE_INCOMING,				/* the other's, until its core has it */
	PHASE_LIVE,
	PHASE_CLOSED,
};

struct pushed {					/* what one end writes, while the other reads it */
	struct iov_cur cur;			/* the rest */
	const struct stream_message *messages;	/* that it consists of */
	size_t n;				/* of them */
};

struct end {
	struct stream base;
	enum phase phase;
	struct sibling_conn *conn;
	struct end *other;
	struct spsc_pipe in;			/* the other end writes it, and owns its memory */
	struct pushed *pushed;			/* what the other end writes at this moment, and
						   this one reads instead of the pipe; NULL: none,
						   or all of the messages are taken */
	uint32_t out_size;			/* bytes of memory, owned, of the other's pipe */
	struct byte_budget *budget;		/* which that is taken from; NULL: no more */
	_Atomic uint32_t consumed;		/* by the other's guest, of what this end wrote */
	uint32_t reported_consumed;		/* other->consumed, as it was last told */
	_Atomic unsigned flags;
	struct sibling_entry *entry;		/* a reference: of its VM, whose mailbox it has */
	struct mail mail;
	struct loop *loop;
	struct mux *mux;
	struct list node;			/* sibling::loaded */
};

struct sibling_conn {
	atomic_int refs;			/* ends not closed, mails on their way */
	struct end ends[2];			/* [0]: the opener's */
	struct sibling_entry *to;		/* a reference; NULL: the other end is there */
	enum vsock_type type;
	struct vsock_addr src, dst;
	uint64_t id;				/* no other of this process has it */
	uint64_t saved_id;			/* that another process knew it by; 0: none */
	struct list node;			/* of those that only one end was loaded of */
	_Atomic uint32_t window[2];		/* bytes each end's guest may have on the way */
};

extern const struct stream_ops sibling_stream_ops, sibling_message_ops;

static inline struct end *sibling_end_of(struct stream *base)
{
	assert(base->ops == &sibling_stream_ops || base->ops == &sibling_message_ops);
	return container_of(base, struct end, base);
}

/* ---- sibling_conn.c ---- */

/* Without ends, which it lives as long as. NULL: no memory. */
struct sibling_conn *sibling_conn_new(enum vsock_type type, const struct vsock_addr *src,
				      const struct vsock_addr *dst);

void sibling_end_init(struct sibling_conn *c, int i, enum phase phase, struct sibling_entry *entry);
void sibling_end_set_entry(struct end *e, struct sibling_entry *entry);
void sibling_end_belong(struct end *e, struct sibling *to);

/* Posts mail to @e. */
void sibling_end_notify(struct end *e);

/* @flag: END_CLOSED, and END_ABORTED where something is lost. Gives up the end's reference. */
void sibling_end_close(struct end *e, unsigned flag);

/* What the guest has consumed is news for the other end. */
void sibling_end_tell_consumed(struct end *e);

/* The other end is closed, with those flags: has something of what this one wrote not got to its
 * guest? */
bool sibling_end_has_lost(const struct end *e, unsigned other_flags);

/* ---- sibling_transfer.c ---- */

/* As in stream_ops. */
int sibling_read(struct stream *base, const struct iovec *v, int nv, size_t *n);
int sibling_write(struct stream *base, const struct iovec *v, int nv, size_t *n);
int sibling_read_message(struct stream *base, const struct iovec *v, int nv, size_t *n,
			 uint32_t *flags);
int sibling_write_message(struct stream *base, const struct iovec *v, int nv, uint32_t flags);
size_t sibling_write_messages(struct stream *base, const struct iovec *v,
			      const struct stream_message *m, size_t n);

/* Bytes of a pipe that is to hold @n, at most PIPE_MAX. */
uint32_t sibling_pipe_size(size_t n);

/* Gives the empty pipe that this end writes to @size bytes of its own VM's budget. 0; -ENOBUFS,
 * -ENOMEM. */
int sibling_end_resize_out(struct end *e, uint32_t size);

/* ---- sibling_state.c ---- */

/* As in stream_ops. */
void sibling_end_save(const struct stream *base, struct blob *out);

/* Of an end that is being closed: none to be loaded will find it. */
void sibling_end_forget(struct end *e);
