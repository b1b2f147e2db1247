/* SPDX-License-Identifier: BSD-3-Clause */
/* Loads connections that may be anybody's invention, lets them live, and looks on. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "util/blob.h"

struct judge_config {
	uint64_t guest_cid;
	uint32_t buf_alloc, max_connections;
	uint64_t max_buffered, now_ms;
	uint32_t stream_tag;			/* of a section of 5 bytes: a number, is it pending?
						   Its version is the type. */
	bool must_load;
	const uint8_t *names;			/* what was left in the area */
	size_t n_names;
};

void judge(const struct judge_config *config, const struct blob *saved);
