/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The memory of a scripted guest: regions in memfds, as a VMM shares them.
 *
 * The three address spaces are kept apart on purpose: a guest-physical address
 * (gpa), the address the front-end names in its messages (uaddr, here invented
 * so that it is valid nowhere), and our own pointers. A daemon that confuses two
 * of them fails at once. Regions may leave gaps, touch each other, and start at
 * any offset of their file.
 *
 * The allocator only goes forward; guest_forget() starts anew, as a reboot does.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define GUEST_UADDR_BASE	UINT64_C(0x7e0000000000)

struct guest_region {
	uint64_t gpa, size, uaddr, mmap_offset;		/* as in vhost-user */
	int fd;
	uint8_t *map;					/* of the whole file */
	uint8_t *ptr;					/* of gpa */
	uint64_t used;					/* bytes handed out */
};

struct guest {
	struct guest_region *regions;
	unsigned n_regions;
};

void guest_init(struct guest *g);
void guest_deinit(struct guest *g);

/* Returns the region's index. */
unsigned guest_add_region(struct guest *g, uint64_t gpa, uint64_t size,
			  uint64_t mmap_offset);

/* The last region leaves: its fd and mapping too. */
void guest_drop_region(struct guest *g);

uint64_t guest_alloc(struct guest *g, unsigned region, uint64_t size,
		     uint64_t align);
void guest_forget(struct guest *g);

/* A pointer to @len bytes which must lie in one region. */
void *guest_ptr(const struct guest *g, uint64_t gpa, uint64_t len);
uint64_t guest_uaddr(const struct guest *g, uint64_t gpa);

/* Copies across region borders, but not across gaps. */
void guest_write(struct guest *g, uint64_t gpa, const void *from, uint64_t len);
void guest_read(const struct guest *g, uint64_t gpa, void *to, uint64_t len);
