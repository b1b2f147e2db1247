/* SPDX-License-Identifier: BSD-3-Clause */
/* What the files of a virtqueue share: virtq.c (the ring, and chains of one buffer),
 * virtq_chain.c (any chain). */
#pragma once

#include "vhost/virtq.h"

enum { VIRTQ_AHEAD_EVERY = 4 };		/* pops, for one virtq_look_ahead() */

static inline bool virtq_is_aligned(const GUEST void *ptr, size_t align)
{
	return (uintptr_t)ptr % align == 0;
}

/* The one load of each of its fields. */
static inline struct wire_virtq_desc virtq_desc_load(const GUEST struct wire_virtq_desc *d)
{
	return (struct wire_virtq_desc){
		.addr = { d->addr.raw }, .len = { d->len.raw },
		.flags = { d->flags.raw }, .next = { d->next.raw },
	};
}

/* Follows the chain that begins with @d, its first descriptor. NULL, or why it cannot be used. */
const char *virtq_walk(struct virtq *q, struct wire_virtq_desc d, struct virtq_iovs *iovs,
		       struct virtq_chain *c);

/* Asks for the lines of coming chains. */
void virtq_look_ahead(struct virtq *q);
