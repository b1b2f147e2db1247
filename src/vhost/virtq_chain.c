/* SPDX-License-Identifier: BSD-3-Clause */
/* Chains of descriptors: followed, and looked ahead of. */
#include "util/iov.h"
#include "vhost/virtq_internal.h"

enum {
	AHEAD_BYTES = 64,			/* of a buffer: a line, wherever it begins */
	AHEAD_BUFFERS = 2,			/* of a chain: header and payload */
};

/* A table of descriptors: the ring's own, or an indirect one. One that crosses
 * regions is read through its address. */
struct desc_table {
	const GUEST struct wire_virtq_desc *desc;	/* or NULL */
	uint64_t gpa;
	uint32_t n;
};

static bool table_load_scattered(struct virtq *q, const struct desc_table *t, uint32_t i,
				 struct wire_virtq_desc *out)
{
	struct iov_cur cur;
	struct iovec iov[2];
	size_t n;

	n = gmem_slice(q->mem, t->gpa + (uint64_t)i * sizeof *out, sizeof *out, iov, 2);
	iov_cur_init(&cur, iov, n);
	return iov_cur_get(&cur, out, sizeof *out);
}

static inline bool table_load(struct virtq *q, const struct desc_table *t, uint32_t i,
			      struct wire_virtq_desc *out)
{
	if (!t->desc)
		return table_load_scattered(q, t, i, out);
	*out = virtq_desc_load(&t->desc[i]);
	return true;
}

static inline bool table_open_indirect(struct virtq *q, const struct wire_virtq_desc *d,
				       struct desc_table *out)
{
	uint64_t gpa = le64_get(d->addr);
	uint32_t len = le32_get(d->len);
	GUEST void *ptr;

	if (!q->indirect || !len || len % sizeof *d || len / sizeof *d > VIRTQ_CHAIN_MAX)
		return false;
	if (gpa > UINT64_MAX - len)
		return false;
	ptr = gmem_ptr_gpa(q->mem, gpa, len);
	if (!virtq_is_aligned(ptr, _Alignof(struct wire_virtq_desc)))
		ptr = NULL;
	*out = (struct desc_table){ .desc = ptr, .gpa = gpa, .n = (uint32_t)(len / sizeof *d) };
	return true;
}

/* Adds one buffer to the chain. NULL, or why the chain cannot be used. */
static inline const char *chain_add(struct virtq *q, struct virtq_iovs *iovs,
				    struct virtq_chain *c, const struct wire_virtq_desc *d)
{
	bool is_in = le16_get(d->flags) & VIRTQ_DESC_F_WRITE;
	uint32_t len = le32_get(d->len);
	size_t n;

	if (!is_in && c->n_in)
		return "readable descriptor behind a writable one";
	if (!len)
		return NULL;
	if (c->out_len + c->in_len + len > UINT32_MAX)
		return "chain of 4 GiB or more";
	if (iovs->n == iovs->max)
		return "too many buffers";
	n = gmem_slice(q->mem, le64_get(d->addr), len, iovs->iov + iovs->n, iovs->max - iovs->n);
	if (!n)
		return "buffer outside guest memory";
	iovs->n += n;
	if (is_in) {
		c->n_in += n;
		c->in_len += len;
	} else {
		c->n_out += n;
		c->out_len += len;
	}
	return NULL;
}

const char *virtq_walk(struct virtq *q, struct wire_virtq_desc d, struct virtq_iovs *iovs,
		       struct virtq_chain *c)
{
	struct desc_table table = { .desc = q->desc, .n = q->config.num };
	bool in_indirect = false;
	uint32_t bound = q->config.num < VIRTQ_CHAIN_MAX ? q->config.num : VIRTQ_CHAIN_MAX;
	uint32_t i = 0;
	const char *why;

	for (uint32_t walked = 1; ; walked++) {
		uint16_t flags = le16_get(d.flags);

		if (flags & VIRTQ_DESC_F_INDIRECT) {
			if (in_indirect || flags & VIRTQ_DESC_F_NEXT ||
			    !table_open_indirect(q, &d, &table))
				return "bad indirect descriptor";
			in_indirect = true;
			i = 0;
			walked = 0;
			bound = table.n;
		} else {
			if ((why = chain_add(q, iovs, c, &d)))
				return why;
			if (!(flags & VIRTQ_DESC_F_NEXT))
				return NULL;
			i = le16_get(d.next);
		}
		if (i >= table.n)
			return "descriptor index past its table";
		if (walked == bound)
			return "chain longer than the ring, or than any driver makes it";
		if (!table_load(q, &table, i, &d))
			return "indirect table outside guest memory";
	}
}

/* ---- looking ahead ---- */

/* How many chains ahead of the popped one each step is made at most; up to VIRTQ_AHEAD_EVERY fewer,
 * as not each pop makes them. */
static const uint16_t ahead_of[VIRTQ_AHEAD_STEPS] = { 19, 13, 8 };

static inline void prefetch(const GUEST void *ptr)
{
	__builtin_prefetch((const char *)(uintptr_t)ptr);
}

static inline void prefetch_buffer(struct virtq *q, const GUEST struct wire_virtq_desc *d)
{
	uint64_t gpa = le64_get((le64){ d->addr.raw });
	const GUEST char *ptr = gmem_ptr_gpa(q->mem, gpa, AHEAD_BYTES);

	if (ptr) {
		prefetch(ptr);
		prefetch(ptr + AHEAD_BYTES - 1);
	}
}

static inline void prefetch_table(struct virtq *q, const struct wire_virtq_desc *d)
{
	struct desc_table t;

	if (!table_open_indirect(q, d, &t) || !t.desc)
		return;
	for (uint32_t i = 0; i < t.n && i < AHEAD_BUFFERS; i++)
		prefetch_buffer(q, &t.desc[i]);
}

static inline void prefetch_rest(struct virtq *q, const GUEST struct wire_virtq_desc *desc)
{
	struct wire_virtq_desc d = virtq_desc_load(desc);
	uint16_t flags = le16_get(d.flags);

	if (flags & VIRTQ_DESC_F_INDIRECT)
		prefetch_table(q, &d);
	else if (flags & VIRTQ_DESC_F_NEXT && le16_get(d.next) < q->config.num)
		prefetch_buffer(q, &q->desc[le16_get(d.next)]);
}

static inline void prefetch_desc(struct virtq *q, const GUEST struct wire_virtq_desc *desc)
{
	(void)q;
	prefetch(desc);
}

/* Makes a step for as many of the @n available chains as it is ahead of, once for each. */
static inline void ahead_step(struct virtq *q, unsigned step, uint16_t n,
			      void (*make)(struct virtq *q, const GUEST struct wire_virtq_desc *d))
{
	uint16_t want = n < ahead_of[step] ? n : ahead_of[step];
	uint16_t has = (uint16_t)(q->ahead[step] - q->last_avail);

	if (has > q->config.num)
		has = 0;			/* popped, given back, or started anew */
	for (; has < want; has++) {
		uint16_t entry = (uint16_t)(q->last_avail + has) & q->mask;
		uint16_t head = le16_get((le16){ q->avail->ring[entry].raw });

		if (head < q->config.num)
			make(q, &q->desc[head]);
	}
	q->ahead[step] = (uint16_t)(q->last_avail + has);
}

/*
 * A cache line that another CPU has just written takes longer to come than all the
 * work on a small packet, but many can be on their way at once. So the lines of coming
 * chains are prefetched while earlier ones are dealt with: first the descriptor, then
 * the header or the indirect table, then the buffers. What is read for that is a hint:
 * each address is translated, and none is kept. A chain that comes alone, or that is used
 * alone, has no earlier one.
 */
void virtq_look_ahead(struct virtq *q)
{
	uint16_t n = (uint16_t)(q->avail_idx - q->last_avail);

	if (n == 1)
		return;
	ahead_step(q, 0, n, prefetch_desc);
	ahead_step(q, 1, n, prefetch_buffer);
	ahead_step(q, 2, n, prefetch_rest);
}
