/* SPDX-License-Identifier: BSD-3-Clause */
/* A bounded queue of bytes. */
#include "util/ring.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

void byte_ring_init(struct byte_ring *ring, uint32_t size, struct byte_budget *budget)
{
	*ring = (struct byte_ring){ .size = size, .budget = budget };
}

void byte_ring_deinit(struct byte_ring *ring)
{
	if (ring->data)
		byte_budget_give(ring->budget, ring->size);
	free(ring->data);
	ring->data = NULL;
	ring->head = ring->len = 0;
}

static void append(struct byte_ring *ring, const uint8_t *src, size_t n)
{
	size_t tail = (ring->head + (size_t)ring->len) % ring->size;
	size_t first = ring->size - tail < n ? ring->size - tail : n;

	assert(n <= ring->size - ring->len);
	memcpy(ring->data + tail, src, first);
	memcpy(ring->data, src + first, n - first);
	ring->len += (uint32_t)n;
}

static int allocate(struct byte_ring *ring)
{
	if (!byte_budget_take(ring->budget, ring->size))
		return -ENOBUFS;
	ring->data = malloc(ring->size);
	if (ring->data)
		return 0;
	byte_budget_give(ring->budget, ring->size);
	return -ENOMEM;
}

int byte_ring_append(struct byte_ring *ring, const struct iovec *iov, size_t n, size_t skip)
{
	int r = ring->data ? 0 : allocate(ring);

	if (r < 0)
		return r;
	for (size_t i = 0; i < n; i++) {
		size_t off = skip < iov[i].iov_len ? skip : iov[i].iov_len;

		append(ring, (const uint8_t *)iov[i].iov_base + off, iov[i].iov_len - off);
		skip -= off;
	}
	return 0;
}

size_t byte_ring_peek(const struct byte_ring *ring, struct iovec out[2])
{
	uint32_t first = ring->size - ring->head;

	if (!ring->len)
		return 0;
	if (first >= ring->len) {
		out[0] = (struct iovec){ ring->data + ring->head, ring->len };
		return 1;
	}
	out[0] = (struct iovec){ ring->data + ring->head, first };
	out[1] = (struct iovec){ ring->data, ring->len - first };
	return 2;
}

void byte_ring_drop(struct byte_ring *ring, size_t n)
{
	assert(n <= ring->len);
	ring->head = (uint32_t)((ring->head + n) % ring->size);
	ring->len -= (uint32_t)n;
	if (!ring->len)
		byte_ring_deinit(ring);
}
