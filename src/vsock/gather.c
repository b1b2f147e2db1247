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
	g->n = g->len = g->n_smalls = 0;
}

/* False: it is not small, or there is no room. */
static bool add_small(struct gather *g, struct iov_cur *payload, size_t len)
{
	struct gather_scratch *scratch = g->scratch;
	char *at = scratch->smalls + g->n_smalls;
	struct iovec *last = g->n ? &scratch->iov[g->n - 1] : NULL;

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

static struct conn *flush(struct gather *g, uint32_t flags)
{
	struct conn *c = g->conn;

	if (c && !(g->is_lost && g->is_lost(g->ctx)))
		conn_forward(c, g->scratch->iov, g->n, g->len, flags);
	gather_clear(g);
	return c;
}

/* A message is not to be cut where that can be helped. */
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
			flush(g, 0);
		else if (!len)
			break;
	}
	if (flags & VSOCK_SEQ_EOM && c->state == CONN_OPEN) {
		g->conn = c;
		flush(g, flags);
	}
}

struct conn *gather_flush(struct gather *g)
{
	return flush(g, 0);
}
