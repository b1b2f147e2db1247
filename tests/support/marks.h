/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Where messages end in a queue of bytes that knows nothing of them: the length and the flags
 * of each, in their order. Empty ones count, so their number is no matter of bytes.
 */
#pragma once

#include <stdint.h>

struct mark {
	uint32_t len, flags;
};

struct marks {					/* zero: none */
	struct mark *all;			/* circular */
	unsigned first, n, room;
};

void marks_add(struct marks *m, uint32_t len, uint32_t flags);
struct mark marks_take(struct marks *m);	/* there must be one */
void marks_deinit(struct marks *m);
