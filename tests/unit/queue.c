/* SPDX-License-Identifier: BSD-3-Clause */
/* A guest with one virtqueue. */
#include "queue.h"

#include <assert.h>
#include <stdlib.h>

/* What the front-end calls its memory goes on from region to region, too. */
static void add_region(struct queue *q, uint64_t at, uint64_t size)
{
	unsigned i = guest_add_region(&q->mem, QUEUE_GPA + at, size, at);

	q->mem.regions[i].uaddr = QUEUE_UADDR + at;
}

static void map_region(struct queue *q, const struct guest_region *r)
{
	const struct vhost_user_mem_region region = {
		.gpa = r->gpa, .uaddr = r->uaddr, .size = r->size, .mmap_offset = r->mmap_offset,
	};
	int err = gmem_add_region(q->gmem, &region, r->fd);

	assert(err == 0);
}

void queue_init(struct queue *q, uint16_t num, uint64_t split)
{
	const struct gmem_limits limits = { .max_memory = UINT64_MAX, .mem_slots = 2 };
	int err = gmem_new(&q->gmem, &limits);

	assert(err == 0);
	guest_init(&q->mem);
	add_region(q, 0, split ? split : QUEUE_SIZE);
	if (split)
		add_region(q, split, QUEUE_SIZE - split);
	for (unsigned i = q->mem.n_regions; i-- > 0;)
		map_region(q, &q->mem.regions[i]);
	guest_ring_init(&q->ring, &q->mem, 0, num, 0);
}

void queue_deinit(struct queue *q)
{
	gmem_free(q->gmem);
	guest_ring_deinit(&q->ring);
	guest_deinit(&q->mem);
}

struct virtq_config queue_config(const struct queue *q)
{
	return (struct virtq_config){
		.num = q->ring.num,
		.desc_uaddr = guest_uaddr(&q->mem, q->ring.desc_gpa),
		.avail_uaddr = guest_uaddr(&q->mem, q->ring.avail_gpa),
		.used_uaddr = guest_uaddr(&q->mem, q->ring.used_gpa),
	};
}

void queue_set_desc(struct queue *q, uint16_t i, uint64_t at, uint32_t len, uint16_t flags,
		    uint16_t next)
{
	guest_ring_raw_desc(&q->ring, i, QUEUE_GPA + at, len, flags, next);
}

void queue_set_indirect(struct queue *q, uint64_t table, uint16_t i, uint64_t at, uint32_t len,
			uint16_t flags, uint16_t next)
{
	const struct wire_virtq_desc d = {
		le64_of(QUEUE_GPA + at), le32_of(len), le16_of(flags), le16_of(next),
	};

	queue_write(q, table + i * sizeof d, &d, sizeof d);
}

void queue_write(struct queue *q, uint64_t at, const void *from, size_t len)
{
	guest_write(&q->mem, QUEUE_GPA + at, from, len);
}

uint64_t queue_offset(struct queue *q, const struct iovec *iov)
{
	uintptr_t ptr = (uintptr_t)iov->iov_base;

	for (unsigned i = 0; i < q->mem.n_regions; i++) {
		const struct guest_region *r = &q->mem.regions[i];
		uintptr_t base = (uintptr_t)gmem_ptr_gpa(q->gmem, r->gpa, r->size);

		assert(base);
		if (ptr >= base && ptr - base <= r->size && iov->iov_len <= r->size - (ptr - base))
			return r->gpa - QUEUE_GPA + (ptr - base);
	}
	abort();				/* not in guest memory */
}
