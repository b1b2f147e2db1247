/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Split virtqueues: virtio 1.2, 2.7. Layouts only; src/vhost/virtq.c is the one
 * file that walks them.
 */
#pragma once

#include <assert.h>
#include <stdbool.h>
#include <stdint.h>

#include "protocol/wire.h"

/* Feature bits, as numbers (virtio 1.2, 6). */
enum {
	VIRTIO_F_NOTIFY_ON_EMPTY = 24,
	VIRTIO_F_INDIRECT_DESC = 28,
	VIRTIO_F_EVENT_IDX = 29,
	VIRTIO_F_VERSION_1 = 32,
	VIRTIO_F_IN_ORDER = 35,
};

#define FEATURE_BIT(bit) (UINT64_C(1) << (bit))

static inline bool has_feature(uint64_t set, unsigned bit)
{
	return set >> bit & 1;
}

enum {
	VIRTQ_SIZE_MAX = 32768,			/* 2.7: a power of two up to this */

	VIRTQ_DESC_F_NEXT = 1,
	VIRTQ_DESC_F_WRITE = 2,			/* the device writes, else it reads */
	VIRTQ_DESC_F_INDIRECT = 4,

	VIRTQ_AVAIL_F_NO_INTERRUPT = 1,		/* driver: do not call me */
	VIRTQ_USED_F_NO_NOTIFY = 1,		/* device: do not kick me */
};

struct wire_virtq_desc {			/* 2.7.5 */
	le64 addr;				/* guest-physical */
	le32 len;
	le16 flags, next;
};
static_assert(sizeof(struct wire_virtq_desc) == 16, "fixed by the spec");

struct wire_virtq_avail {			/* 2.7.6 */
	le16 flags, idx;
	le16 ring[];				/* [num], then used_event: le16 */
};
static_assert(sizeof(struct wire_virtq_avail) == 4, "fixed by the spec");

struct wire_virtq_used_elem {
	le32 id, len;
};
static_assert(sizeof(struct wire_virtq_used_elem) == 8, "fixed by the spec");

struct wire_virtq_used {			/* 2.7.8 */
	le16 flags, idx;
	struct wire_virtq_used_elem ring[];	/* [num], then avail_event: le16 */
};
static_assert(sizeof(struct wire_virtq_used) == 4, "fixed by the spec");

/* Sizes in bytes of the three parts of a ring of @num entries; with the event
 * word, which is there whether or not EVENT_IDX is negotiated: 2.7.6, 2.7.8. */
static inline uint64_t virtq_desc_size(uint32_t num)
{
	return (uint64_t)num * sizeof(struct wire_virtq_desc);
}

static inline uint64_t virtq_avail_size(uint32_t num)
{
	return sizeof(struct wire_virtq_avail) + (uint64_t)num * 2 + 2;
}

static inline uint64_t virtq_used_size(uint32_t num)
{
	return sizeof(struct wire_virtq_used) + (uint64_t)num * 8 + 2;
}
