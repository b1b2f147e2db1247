/* SPDX-License-Identifier: BSD-3-Clause */
/* A guest's side of one virtqueue, in a memfd. */
#include "guest.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "util/error.h"
#include "util/fd.h"

static void add_region(struct guest *g, uint64_t at, uint64_t size)
{
	struct vhost_user_mem_region region = {
		.gpa = GUEST_GPA + at, .uaddr = GUEST_UADDR + at, .size = size, .mmap_offset = at,
	};
	int r = gmem_add_region(g->gmem, &region, g->memfd);

	assert(r == 0);
}

void guest_init(struct guest *g, uint16_t num, uint64_t split)
{
	const struct gmem_limits limits = { .max_memory = UINT64_MAX, .mem_slots = 2 };
	size_t avail = virtq_desc_size(num), used = (avail + virtq_avail_size(num) + 3) / 4 * 4;
	int r;

	*g = (struct guest){ .num = num, .split = split };
	g->memfd = memfd_create("guest", MFD_CLOEXEC);
	assert(g->memfd >= 0);
	r = ftruncate(g->memfd, GUEST_SIZE);
	assert(r == 0);
	g->mem = mmap(NULL, GUEST_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, g->memfd, 0);
	assert(g->mem != MAP_FAILED);
	r = gmem_new(&g->gmem, &limits);
	assert(r == 0);
	if (split)
		add_region(g, split, GUEST_SIZE - split);
	add_region(g, 0, split ? split : GUEST_SIZE);
	g->desc = (void *)g->mem;
	g->avail = (void *)(g->mem + avail);
	g->used = (void *)(g->mem + used);
}

void guest_deinit(struct guest *g)
{
	gmem_free(g->gmem);
	munmap(g->mem, GUEST_SIZE);
	fd_close(&g->memfd);
}

struct virtq_config guest_config(const struct guest *g)
{
	return (struct virtq_config){
		.num = g->num, .desc_uaddr = GUEST_UADDR,
		.avail_uaddr = GUEST_UADDR + (size_t)((uint8_t *)g->avail - g->mem),
		.used_uaddr = GUEST_UADDR + (size_t)((uint8_t *)g->used - g->mem),
	};
}

static struct wire_virtq_desc make_desc(uint64_t at, uint32_t len, uint16_t flags, uint16_t next)
{
	return (struct wire_virtq_desc){
		le64_of(GUEST_GPA + at), le32_of(len), le16_of(flags), le16_of(next),
	};
}

void guest_set_desc(struct guest *g, uint16_t i, uint64_t at, uint32_t len, uint16_t flags,
		    uint16_t next)
{
	g->desc[i] = make_desc(at, len, flags, next);
}

void guest_set_indirect(struct guest *g, uint64_t table, uint16_t i, uint64_t at, uint32_t len,
			uint16_t flags, uint16_t next)
{
	struct wire_virtq_desc d = make_desc(at, len, flags, next);

	memcpy(g->mem + table + i * sizeof d, &d, sizeof d);
}

void guest_set_avail_idx(struct guest *g, uint16_t idx)
{
	g->next_avail = idx;
	g->avail->idx = le16_of(idx);
}

void guest_make_available(struct guest *g, uint16_t head)
{
	g->avail->ring[g->next_avail % g->num] = le16_of(head);
	guest_set_avail_idx(g, (uint16_t)(g->next_avail + 1));
}

void guest_set_used_event(struct guest *g, uint16_t idx)
{
	g->avail->ring[g->num] = le16_of(idx);
}

uint16_t guest_avail_event(const struct guest *g)
{
	le16 v;

	memcpy(&v, &g->used->ring[g->num], sizeof v);
	return le16_get(v);
}

uint16_t guest_used_idx(const struct guest *g)
{
	return le16_get(g->used->idx);
}

/* Where in the region of @at, or -1. */
static int64_t offset_in(struct guest *g, uint64_t at, uint64_t size, const struct iovec *iov)
{
	uintptr_t base = (uintptr_t)gmem_ptr_gpa(g->gmem, GUEST_GPA + at, size);
	uintptr_t ptr = (uintptr_t)iov->iov_base;

	assert(base);
	if (ptr < base || ptr - base > size || iov->iov_len > size - (ptr - base))
		return -1;
	return (int64_t)(at + (ptr - base));
}

uint64_t guest_offset(struct guest *g, const struct iovec *iov)
{
	uint64_t low = g->split ? g->split : GUEST_SIZE;
	int64_t at = offset_in(g, 0, low, iov);

	if (at < 0)
		at = offset_in(g, low, GUEST_SIZE - low, iov);
	assert(at >= 0);
	return (uint64_t)at;
}
