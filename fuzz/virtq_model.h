/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A ring read plainly, out of memory that nobody changes meanwhile: what
 * virtio 1.2, 2.7 says about it, without a thought for speed or for a driver
 * that writes at the same time.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct virtq_config;

enum { MEMORY = 16384, MODEL_BUFS_MAX = 2048 };

#define MODEL_GPA	UINT64_C(0x10000)	/* of the memory's first byte */

struct model_chain {
	uint16_t head;
	struct {
		size_t at, len;			/* in the memory */
		bool is_in;
	} bufs[MODEL_BUFS_MAX];
	size_t n;
	uint64_t out_len, in_len;
};

uint16_t model_u16(const uint8_t *at);

/* The features whose numbers are set in @bits: 0 indirect, 1 event, 2 on empty. */
uint64_t model_features(unsigned bits);

/*
 * Follows entry @entry of the available ring at @avail; the descriptors are at
 * offset @desc of @memory. False: it cannot be used.
 */
bool model_walk(struct model_chain *m, const uint8_t *memory, const struct virtq_config *config,
		size_t desc, const uint8_t *avail, uint16_t entry, bool has_indirect);
