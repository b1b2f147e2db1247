/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A bounded queue of bytes. Its memory is there only while it holds something, and
 * grows with what it holds, so that an idle connection costs nothing and a slow one no
 * more than it needs; @size is the bound.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

/* Bounds the memory of several buffers together; for one thread. It lives as long as any
 * buffer with a reference to it. */
struct byte_budget {
	uint64_t used, max;
	unsigned refs;
};

struct byte_budget *byte_budget_new(uint64_t max);	/* one reference; NULL: no memory */
struct byte_budget *byte_budget_ref(struct byte_budget *b);
void byte_budget_unref(struct byte_budget *b);	/* NULL: nothing */

/* Takes @n more bytes for a buffer that has @has of them already. False: that is too much;
 * but a buffer that is the only one always gets what it needs. */
static inline bool byte_budget_take_more(struct byte_budget *b, uint64_t has, uint64_t n)
{
	if (b->used != has && (b->used > b->max || n > b->max - b->used))
		return false;
	b->used += n;
	return true;
}

static inline bool byte_budget_take(struct byte_budget *b, uint64_t n)
{
	return byte_budget_take_more(b, 0, n);
}

static inline void byte_budget_give(struct byte_budget *b, uint64_t n)
{
	b->used -= n;
}

struct byte_ring {
	struct byte_budget *budget;		/* borrowed */
	uint8_t *data;				/* NULL while empty */
	uint32_t size;				/* most bytes that it may hold */
	uint32_t room;				/* bytes of data */
	uint32_t head, len;
};

void byte_ring_init(struct byte_ring *ring, uint32_t size, struct byte_budget *budget);
void byte_ring_deinit(struct byte_ring *ring);

/* Appends what the iovecs hold after their first @skip bytes, which must fit. 0, or
 * nothing is appended: -ENOMEM; -ENOBUFS: the budget does not allow it. */
int byte_ring_append(struct byte_ring *ring, const struct iovec *iov, size_t n, size_t skip);

/* Puts @n bytes, which must fit, into an empty ring, in no more memory than they need, and
 * whatever the budget allows: they were there before. 0 or -ENOMEM. */
int byte_ring_fill(struct byte_ring *ring, const void *bytes, uint32_t n);

/* Describes the bytes in order in one or two iovecs; returns how many. */
size_t byte_ring_peek(const struct byte_ring *ring, struct iovec out[2]);

/* Removes the first, or the last, @n bytes; memory goes with the last of all. */
void byte_ring_drop(struct byte_ring *ring, size_t n);
void byte_ring_cut(struct byte_ring *ring, size_t n);
