/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A bounded queue of bytes. Its memory is there only while it holds something,
 * so that an idle connection costs nothing; @size is the bound.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

struct byte_ring {
	uint8_t *data;				/* NULL while empty */
	uint32_t size, head, len;
};

void byte_ring_init(struct byte_ring *ring, uint32_t size);
void byte_ring_deinit(struct byte_ring *ring);

/* Appends what the iovecs hold behind their first @skip bytes, which must fit.
 * 0 or -ENOMEM. */
int byte_ring_append(struct byte_ring *ring, const struct iovec *iov, size_t n, size_t skip);

/* Describes the bytes in order in one or two iovecs; returns how many. */
size_t byte_ring_peek(const struct byte_ring *ring, struct iovec out[2]);

/* Removes the first @n bytes; memory goes with the last of them. */
void byte_ring_drop(struct byte_ring *ring, size_t n);
