/* SPDX-License-Identifier: BSD-3-Clause */
/* Payload on its way to the host. */
#include "vsock/gather.h"

#include "vsock/conn.h"

enum {						/* bytes */
	WRITE_MAX = 128 * 1024,			/* about what a socket takes at once */
	SMALL_MAX = 512,
};

void gather_clear(struct gather *g)
{
	g->conn = NULL;
	g->n = g->len = g->n_smalls = g->n_messages = g->n_whole = g->whole_len = 0;
}

/* False: it is not small, or there is no room. */
static bool add_small(struct gather *g, struct iov_cur *payload, size_t len)
{
	struct gather_scratch *scratch = g->scratch;
	char *at = scratch->smalls + g->n_smalls;
	struct iovec *last = g->n > g->n_whole ? &scratch->iov[g->n - 1] : NULL;

	if (len > SMALL_MAX || len > sizeof scratch->smalls - g->n_smalls ||
	    !iov_cur_get(payload, at, len))
		return false;
	if (last && (char *)last->iov_base + last->iov_len == at)
		last->iov_len += len;
	else
		scratch->iov[g->n++] = (struct iovec){ at, len };
	g->n_smalls += len;
	return true;
}

static bool is_lost(const struct gather *g)
{
	return g->is_lost && g->is_lost(g->ctx);
}

static struct conn *flush(struct gather *g)
{
	const struct gather_scratch *scratch = g->scratch;
	struct conn *c = g->conn;

	if (c && !is_lost(g)) {
		if (g->n_messages)
			conn_forward_messages(c, scratch->iov, scratch->messages, g->n_messages);
		if (g->n > g->n_whole)
			conn_forward(c, scratch->iov + g->n_whole, g->n - g->n_whole,
				     g->len - g->whole_len, 0);
	}
	gather_clear(g);
	return c;
}

/* There are as many iovecs as one write takes. A message is not to be cut where that can be
 * helped: those before it go alone. */
static void make_room(struct gather *g)
{
	struct iovec *iov = g->scratch->iov;
	size_t n_smalls = g->n_smalls, n = g->n - g->n_whole, len = g->len - g->whole_len;
	struct conn *c = g->conn;

	if (!g->n_whole || !n) {
		flush(g);
		return;
	}
	if (!is_lost(g))
		conn_forward_messages(c, iov, g->scratch->messages, g->n_messages);
	memmove(iov, iov + g->n_whole, n * sizeof *iov);
	gather_clear(g);
	g->conn = c;
	g->n = n;
	g->len = len;
	g->n_smalls = n_smalls;			/* they may be among what is left */
}

/* The message that was added last is whole. */
static void end_message(struct gather *g, uint32_t flags)
{
	const struct stream *s = g->conn->stream;

	g->scratch->messages[g->n_messages++] = (struct stream_message){
		g->n - g->n_whole, g->len - g->whole_len, flags & VSOCK_SEQ_EOR,
	};
	g->n_whole = g->n;
	g->whole_len = g->len;
	if (!s->ops->write_messages || g->n_messages == STREAM_MESSAGES_MAX ||
	    g->n == GATHER_IOVS || g->len >= WRITE_MAX)
		flush(g);
}

static bool is_full(const struct gather *g)
{
	return g->n == GATHER_IOVS || (g->len >= WRITE_MAX && !g->conn->messages);
}

void gather_add(struct gather *g, struct conn *c, struct iov_cur *payload, size_t len,
		uint32_t flags)
{
	size_t here;

	while (len && c->state == CONN_OPEN) {
		g->conn = c;
		if (add_small(g, payload, len))
			here = len;
		else
			g->n += iov_cur_slice(payload, len, g->scratch->iov + g->n,
					      GATHER_IOVS - g->n, &here);
		g->len += here;
		len -= here;
		if (is_full(g) && !(flags && !len))
			make_room(g);
		else if (!len)
			break;
	}
	if (flags & VSOCK_SEQ_EOM && c->state == CONN_OPEN) {
		g->conn = c;
		end_message(g, flags);
	}
}

struct conn *gather_flush(struct gather *g)
{
	return flush(g);
}
