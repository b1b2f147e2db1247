/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How many of a VM's connections its siblings may begin, and which of them.
 *
 * Half of all, so that host programs find room. One half of those is for whoever comes
 * first; the other is kept in equal shares, one for each sibling, so that one which takes
 * all that it can get leaves every other its own.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "util/list.h"
#include "vsock/conn.h"

enum share {					/* conn::mux.share */
	SHARE_NONE,				/* not begun by a sibling */
	SHARE_COMMON,
	SHARE_OWN,				/* of that sibling */
};

struct shares {
	uint32_t max;				/* connections begun by siblings */
	size_t n_siblings;			/* at least 1 */
	uint32_t common_max, own_max;		/* own: each sibling's */
	uint32_t n_common, n_own;
	struct list own;			/* conn::mux.share_node */
};

void shares_init(struct shares *s, uint32_t max);	/* for one sibling */

/* At any time: who has more than is its share then keeps it, and gets no more. */
void shares_set_max(struct shares *s, uint32_t max);
void shares_set_siblings(struct shares *s, size_t n);

/* What another connection of the sibling @cid would count as; SHARE_NONE: it is one too
 * many. Walks all SHARE_OWN connections once the common part is used up. */
enum share shares_find(const struct shares *s, uint64_t cid);

void shares_take(struct shares *s, struct conn *c, enum share share);	/* SHARE_NONE: nothing */
void shares_give(struct shares *s, struct conn *c);	/* gives back what it took */
