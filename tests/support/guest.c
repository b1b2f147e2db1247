/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Guest memory in memfds: see guest.h.
 */
#include "support/guest.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "protocol/vhost_user.h"
#include "support/must.h"

void guest_init(struct guest *g)
{
	g->n_regions = 0;
	g->regions = calloc(VHOST_USER_MEM_SLOTS_MAX + 1, sizeof *g->regions);
	must(g->regions);
}

void guest_deinit(struct guest *g)
{
	while (g->n_regions)
		guest_drop_region(g);
	free(g->regions);
	g->regions = NULL;
}

unsigned guest_add_region(struct guest *g, uint64_t gpa, uint64_t size,
			  uint64_t mmap_offset)
{
	struct guest_region *r = &g->regions[g->n_regions];

	must(g->n_regions <= VHOST_USER_MEM_SLOTS_MAX);
	*r = (struct guest_region){
		.gpa = gpa, .size = size, .uaddr = GUEST_UADDR_BASE + gpa * 2,
		.mmap_offset = mmap_offset,
	};
	r->fd = memfd_create("guest", MFD_CLOEXEC);
	must(r->fd >= 0);
	must(ftruncate(r->fd, (off_t)(mmap_offset + size)) == 0);
	r->map = mmap(NULL, mmap_offset + size, PROT_READ | PROT_WRITE, MAP_SHARED,
		      r->fd, 0);
	must(r->map != MAP_FAILED);
	r->ptr = r->map + mmap_offset;
	return g->n_regions++;
}

void guest_drop_region(struct guest *g)
{
	struct guest_region *r = &g->regions[--g->n_regions];

	munmap(r->map, r->mmap_offset + r->size);
	close(r->fd);
}

uint64_t guest_alloc(struct guest *g, unsigned region, uint64_t size,
		     uint64_t align)
{
	struct guest_region *r = &g->regions[region];
	uint64_t at = (r->gpa + r->used + align - 1) / align * align - r->gpa;

	must(region < g->n_regions);
	if (size > r->size || at > r->size - size)
		die("guest region %u is full", region);
	r->used = at + size;
	return r->gpa + at;
}

void guest_forget(struct guest *g)
{
	for (unsigned i = 0; i < g->n_regions; i++)
		g->regions[i].used = 0;
}

static struct guest_region *find(const struct guest *g, uint64_t gpa)
{
	for (unsigned i = 0; i < g->n_regions; i++)
		if (gpa >= g->regions[i].gpa &&
		    gpa - g->regions[i].gpa < g->regions[i].size)
			return &g->regions[i];
	die("no guest memory at %#llx", (unsigned long long)gpa);
}

void *guest_ptr(const struct guest *g, uint64_t gpa, uint64_t len)
{
	struct guest_region *r = find(g, gpa);

	must(len <= r->size - (gpa - r->gpa));
	return r->ptr + (gpa - r->gpa);
}

uint64_t guest_uaddr(const struct guest *g, uint64_t gpa)
{
	struct guest_region *r = find(g, gpa);

	return r->uaddr + (gpa - r->gpa);
}

/* How much of @len at @gpa lies in one region; *@ptr is where. */
static uint64_t piece(const struct guest *g, uint64_t gpa, uint64_t len,
		      uint8_t **ptr)
{
	struct guest_region *r = find(g, gpa);
	uint64_t left = r->size - (gpa - r->gpa);

	*ptr = r->ptr + (gpa - r->gpa);
	return len < left ? len : left;
}

void guest_write(struct guest *g, uint64_t gpa, const void *from, uint64_t len)
{
	const uint8_t *src = from;
	uint8_t *dst;
	uint64_t n;

	for (; len; gpa += n, src += n, len -= n) {
		n = piece(g, gpa, len, &dst);
		memcpy(dst, src, n);
	}
}

void guest_read(const struct guest *g, uint64_t gpa, void *to, uint64_t len)
{
	uint8_t *dst = to, *src;
	uint64_t n;

	for (; len; gpa += n, dst += n, len -= n) {
		n = piece(g, gpa, len, &src);
		memcpy(dst, src, n);
	}
}
