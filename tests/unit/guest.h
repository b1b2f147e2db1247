/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A guest's side of one virtqueue, in a memfd: memory in regions, a ring in it,
 * descriptors by hand. All addresses are offsets into the memfd; guest-physical
 * ones have GUEST_GPA added, the front-end's GUEST_UADDR.
 */
#pragma once

#include "vhost/virtq.h"

#define GUEST_GPA	UINT64_C(0x100000000)
#define GUEST_UADDR	UINT64_C(0x7f0000000000)

enum {
	GUEST_SIZE = 1 << 20,
	GUEST_RINGS = 0,			/* where the ring is, */
	GUEST_TABLES = 1 << 18,			/* ... indirect tables, */
	GUEST_BUFS = 1 << 19,			/* ... and buffers */
};

struct guest {
	int memfd;
	uint8_t *mem;
	struct gmem *gmem;
	uint64_t split;
	uint16_t num, next_avail;
	struct wire_virtq_desc *desc;
	struct wire_virtq_avail *avail;
	struct wire_virtq_used *used;
};

/* One region over all; or one below and one from @split on, which is the same
 * memory to the guest but not to us. */
void guest_init(struct guest *g, uint16_t num, uint64_t split);
void guest_deinit(struct guest *g);

struct virtq_config guest_config(const struct guest *g);

void guest_set_desc(struct guest *g, uint16_t i, uint64_t at, uint32_t len, uint16_t flags,
		    uint16_t next);
/* Likewise in an indirect table at offset @table. */
void guest_set_indirect(struct guest *g, uint64_t table, uint16_t i, uint64_t at, uint32_t len,
			uint16_t flags, uint16_t next);

void guest_make_available(struct guest *g, uint16_t head);	/* entry and index */
void guest_set_avail_idx(struct guest *g, uint16_t idx);
void guest_set_used_event(struct guest *g, uint16_t idx);
uint16_t guest_avail_event(const struct guest *g);
uint16_t guest_used_idx(const struct guest *g);

/* The offset that a pointer of ours names; asserts that it is in the memory. */
uint64_t guest_offset(struct guest *g, const struct iovec *iov);
