/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A guest with one virtqueue, and its memory as the back-end has it: what the tests of
 * rings stand on. Descriptors are written by hand, at offsets into the memory; all else a
 * guest does is in support/guest_ring.h (its raw part).
 */
#pragma once

#include "support/guest.h"
#include "support/guest_ring.h"
#include "vhost/virtq.h"

#define QUEUE_GPA	UINT64_C(0x100000000)
#define QUEUE_UADDR	UINT64_C(0x7f0000000000)

enum {
	QUEUE_SIZE = 1 << 20,			/* bytes of memory: rings first, */
	QUEUE_TABLES = 1 << 18,			/* ... indirect tables, */
	QUEUE_BUFS = 1 << 19,			/* ... and buffers */
};

struct queue {
	struct guest mem;
	struct guest_ring ring;
	struct gmem *gmem;
};

/* One region over all; or one below and one from @split on, which is the same
 * memory to the guest but not to us. */
void queue_init(struct queue *q, uint16_t num, uint64_t split);
void queue_deinit(struct queue *q);

struct virtq_config queue_config(const struct queue *q);

void queue_set_desc(struct queue *q, uint16_t i, uint64_t at, uint32_t len, uint16_t flags,
		    uint16_t next);
/* Likewise in an indirect table at offset @table. */
void queue_set_indirect(struct queue *q, uint64_t table, uint16_t i, uint64_t at, uint32_t len,
			uint16_t flags, uint16_t next);
void queue_write(struct queue *q, uint64_t at, const void *from, size_t len);

/* The offset that a pointer of ours names; asserts that it is in the memory. */
uint64_t queue_offset(struct queue *q, const struct iovec *iov);
