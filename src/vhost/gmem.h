/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Guest memory: the front-end's memory table, mapped.
 *
 * Two attackers. The front-end describes the regions and can lie about every
 * number; it can also shrink the file of a region at any time, so that an
 * access raises SIGBUS (gmem_catch_sigbus()). The guest supplies addresses and
 * lengths and writes the memory while we read it. Neither may make us touch a
 * byte outside the mappings, so ranges are translated, never starts, and all
 * arithmetic is subtraction from known-good sizes.
 *
 * Three address spaces: `gpa` guest-physical (descriptors), `uaddr` the
 * front-end's own (ring addresses), `ptr` ours.
 */
#pragma once

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "protocol/vhost_user.h"
#include "util/list.h"

/* Marks pointers into memory that the guest writes while we look. Handing one
 * to memcpy is a compile error; only gmem.c, virtq.c and virtq_chain.c hold such
 * pointers. */
#define GUEST volatile

struct blob;
struct blob_reader;
struct region;

enum {
	GMEM_E_INVALID = 1,			/* empty, wraps around, or longer than its file */
	GMEM_E_OVERLAP,				/* another region is there */
	GMEM_E_NO_SLOT,				/* there are as many regions as allowed */
	GMEM_E_TOO_MUCH,			/* more bytes than may be mapped */
	GMEM_E_NO_REGION,
	GMEM_E_STATE,				/* what is to be loaded is none */
};

/* One VM's share: all VMs use the address space and the mappings of one process. */
struct gmem_limits {
	uint64_t max_memory;			/* bytes mapped, in all regions together */
	size_t mem_slots;			/* regions, up to VHOST_USER_MEM_SLOTS_MAX */
};

/* A region, as a look-up sees it. */
struct gmem_span {
	uint64_t gpa, size;
	char *ptr;				/* of gpa */
};

struct gmem {
	struct gmem_span last;			/* where the last look-up ended; size 0: nowhere */
	struct gmem_limits limits;
	struct region *regions;			/* sorted by gpa, disjoint; as many as there are */
	size_t n_regions;
	uint64_t mapped;			/* bytes: their map_len */
	volatile sig_atomic_t lost;
	struct list node;			/* of_thread */
};

/* 0 or -ENOMEM. Belongs to the calling thread, which alone may use it: that is where a
 * SIGBUS is looked up. gmem_free() unmaps the regions in another thread. */
int gmem_new(struct gmem **out, const struct gmem_limits *limits);
void gmem_free(struct gmem *mem);

/* It is handed to another thread: called in the one, then in the other. Between the two it
 * is not accessed. */
void gmem_leave_thread(struct gmem *mem);
void gmem_enter_thread(struct gmem *mem);

/*
 * Maps one region; @fd stays the caller's. 0; GMEM_E_INVALID, GMEM_E_OVERLAP,
 * GMEM_E_NO_SLOT, GMEM_E_TOO_MUCH; -ENOMEM, -errno of statx or mmap.
 */
int gmem_add_region(struct gmem *mem, const struct vhost_user_mem_region *region, int fd);

/*
 * Closes the descriptor of a region that has been added, here if that takes no time:
 * memory of the kernel's (memfd, tmpfs, huge pages) has no server to be told, and lives on
 * in the mapping. Any other is left to its owner.
 */
void gmem_close_file(int *fd);

/* Takes *@fd over instead, the file of the region at @gpa, so that gmem_save() can tell it. */
void gmem_keep_file(struct gmem *mem, uint64_t gpa, int *fd);

/* The regions, whose files were all kept. gmem_load() maps them anew, also where they are more
 * than the limits allow, which are for what is added then: 0; GMEM_E_*, -errno. */
void gmem_save(const struct gmem *mem, struct blob *out);
int gmem_load(struct gmem **out, const struct gmem_limits *limits, struct blob_reader *in);

/* Unmaps the region of the same gpa, size and uaddr. 0 or GMEM_E_NO_REGION. */
int gmem_remove_region(struct gmem *mem, const struct vhost_user_mem_region *region);

bool gmem_is_empty(const struct gmem *mem);	/* it has no region */

/* The two below, for a range that lies elsewhere than the one before. */
size_t gmem_slice_anywhere(struct gmem *mem, uint64_t gpa, uint64_t len, struct iovec *out,
			   size_t max);
GUEST void *gmem_ptr_anywhere(struct gmem *mem, uint64_t gpa, uint64_t len);

/* The range's first byte if all of it lies in the region of the last look-up, as nearly
 * always; else NULL. For an iovec: the kernel or a copy goes there. */
static inline char *gmem_ptr_again(const struct gmem *mem, uint64_t gpa, uint64_t len)
{
	const struct gmem_span *last = &mem->last;
	uint64_t off = gpa - last->gpa;

	return off < last->size && len <= last->size - off ? last->ptr + off : NULL;
}

/*
 * Describes [gpa, gpa+len) in at most @max iovecs, more than one where it
 * crosses regions. Returns how many; 0: not all of it is guest memory, or more
 * than @max would be needed. @len > 0.
 */
static inline size_t gmem_slice(struct gmem *mem, uint64_t gpa, uint64_t len,
				struct iovec *out, size_t max)
{
	char *ptr = gmem_ptr_again(mem, gpa, len);

	if (!ptr || !max)
		return gmem_slice_anywhere(mem, gpa, len, out, max);
	*out = (struct iovec){ ptr, len };
	return 1;
}

/* The whole range within one region, or NULL. @len > 0. */
static inline GUEST void *gmem_ptr_gpa(struct gmem *mem, uint64_t gpa, uint64_t len)
{
	char *ptr = gmem_ptr_again(mem, gpa, len);

	return ptr ? ptr : gmem_ptr_anywhere(mem, gpa, len);
}

GUEST void *gmem_ptr_uaddr(struct gmem *mem, uint64_t uaddr, uint64_t len);

/* Memory has vanished (SIGBUS): what was read since may be zeroes. */
bool gmem_is_lost(const struct gmem *mem);

/*
 * Installs the SIGBUS handler of the process. A fault within a region of the
 * faulting thread replaces that page by zeroes and marks the gmem lost; any
 * other, and a SIGBUS that somebody sent, ends the process as if there were no
 * handler. 0 or -errno.
 */
int gmem_catch_sigbus(void);
