/* SPDX-License-Identifier: BSD-3-Clause */
/* A bounded queue of bytes. */
#include "util/byte_ring.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { ROOM_MIN = 4096 };			/* bytes */

struct byte_budget *byte_budget_new(uint64_t max)
{
	struct byte_budget *b = malloc(sizeof *b);

	if (b)
		*b = (struct byte_budget){ .max = max, .refs = 1 };
	return b;
}

struct byte_budget *byte_budget_ref(struct byte_budget *b)
{
	b->refs++;
	return b;
}

void byte_budget_unref(struct byte_budget *b)
{
	if (!b || --b->refs)
		return;
	assert(!b->used);
	free(b);
}

void byte_ring_init(struct byte_ring *ring, uint32_t size, struct byte_budget *budget)
{
	*ring = (struct byte_ring){ .size = size, .budget = budget };
}

void byte_ring_deinit(struct byte_ring *ring)
{
	byte_budget_give(ring->budget, ring->room);
	free(ring->data);
	ring->data = NULL;
	ring->room = ring->head = ring->len = 0;
}

static void append(struct byte_ring *ring, const uint8_t *src, size_t n)
{
	size_t tail = (ring->head + (size_t)ring->len) % ring->room;
	size_t first = ring->room - tail < n ? ring->room - tail : n;

	memcpy(ring->data + tail, src, first);
	memcpy(ring->data, src + first, n - first);
	ring->len += (uint32_t)n;
}

/* Twice what is needed, so that a ring that fills up is copied a few times only. */
static uint32_t room_for(const struct byte_ring *ring, uint64_t need)
{
	uint64_t room = need * 2 < ROOM_MIN ? ROOM_MIN : need * 2;

	return room < ring->size ? (uint32_t)room : ring->size;
}

/* The same bytes in more memory. */
static int grow(struct byte_ring *ring, uint64_t need)
{
	uint32_t room = room_for(ring, need), more = room - ring->room;
	struct iovec old[2];
	size_t n = byte_ring_peek(ring, old), at = 0;
	uint8_t *data;

	if (!byte_budget_take_more(ring->budget, ring->room, more))
		return -ENOBUFS;
	data = malloc(room);
	if (!data) {
		byte_budget_give(ring->budget, more);
		return -ENOMEM;
	}
	for (size_t i = 0; i < n; i++) {
		memcpy(data + at, old[i].iov_base, old[i].iov_len);
		at += old[i].iov_len;
	}
	free(ring->data);
	ring->data = data;
	ring->room = room;
	ring->head = 0;
	return 0;
}

int byte_ring_append(struct byte_ring *ring, const struct iovec *iov, size_t n, size_t skip)
{
	uint64_t need = ring->len;
	int r;

	for (size_t i = 0; i < n; i++)
		need += iov[i].iov_len;
	need -= skip;
	if (need == ring->len)
		return 0;
	assert(need <= ring->size);
	if (need > ring->room && (r = grow(ring, need)) < 0)
		return r;
	for (size_t i = 0; i < n; i++) {
		size_t off = skip < iov[i].iov_len ? skip : iov[i].iov_len;

		append(ring, (const uint8_t *)iov[i].iov_base + off, iov[i].iov_len - off);
		skip -= off;
	}
	return 0;
}

int byte_ring_fill(struct byte_ring *ring, const void *bytes, uint32_t n)
{
	assert(!ring->len && n <= ring->size);
	if (!n)
		return 0;
	ring->data = malloc(n);
	if (!ring->data)
		return -ENOMEM;
	ring->room = n;
	ring->budget->used += n;
	append(ring, bytes, n);
	return 0;
}

size_t byte_ring_peek(const struct byte_ring *ring, struct iovec out[2])
{
	uint32_t first = ring->room - ring->head;

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
	ring->head = (uint32_t)((ring->head + n) % ring->room);
	ring->len -= (uint32_t)n;
	if (!ring->len)
		byte_ring_deinit(ring);
}

void byte_ring_cut(struct byte_ring *ring, size_t n)
{
	assert(n <= ring->len);
	ring->len -= (uint32_t)n;
	if (!ring->len)
		byte_ring_deinit(ring);
}
