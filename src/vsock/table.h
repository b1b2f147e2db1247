/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Connections by name: (guest port, peer cid, peer port). The guest's own CID
 * is the same for all. Chained, doubling; seeded, so that a guest cannot choose
 * names that collide.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "vsock/conn.h"

struct table {
	struct conn **buckets;
	size_t n_buckets, n;			/* n_buckets: a power of two */
	uint64_t seed;
};

int table_init(struct table *t, uint64_t seed);	/* 0 or -ENOMEM */
void table_deinit(struct table *t);		/* the connections are not freed */

struct conn *table_find(const struct table *t, uint32_t guest_port, const struct vsock_addr *peer);
void table_add(struct table *t, struct conn *c);	/* must not be in it */
void table_remove(struct table *t, struct conn *c);	/* must be in it */

void table_clear(struct table *t);		/* forgets all */

/* Any connection whose peer is @peer, whatever the guest's port. Visits all. */
struct conn *table_find_peer(const struct table *t, const struct vsock_addr *peer);

/* The one after @c, which may be removed behind it; NULL asks for the first, and
 * is the answer at the end. */
struct conn *table_next(const struct table *t, const struct conn *c);
