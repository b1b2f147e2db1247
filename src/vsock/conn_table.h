/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Connections by name: (guest port, peer cid, peer port). The guest's own CID
 * is the same for all. A hash table with chains that doubles when full, seeded, so
 * that a guest cannot choose names that collide.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "vsock/conn.h"

struct conn_table {
	struct conn **buckets;
	size_t n_buckets, n;			/* n_buckets: a power of two */
	uint64_t seed;
};

int conn_table_init(struct conn_table *t, uint64_t seed);	/* 0 or -ENOMEM */
void conn_table_deinit(struct conn_table *t);	/* the connections are not freed */

/* NULL: there is none. */
struct conn *conn_table_find(const struct conn_table *t, uint32_t guest_port,
			     const struct vsock_addr *peer);
void conn_table_add(struct conn_table *t, struct conn *c);	/* must not be in it */
void conn_table_remove(struct conn_table *t, struct conn *c);	/* must be in it */

void conn_table_clear(struct conn_table *t);	/* forgets all */

/* Any connection whose peer is @peer, whatever the guest's port. Visits all. */
struct conn *conn_table_find_peer(const struct conn_table *t, const struct vsock_addr *peer);

/*
 * A walk that lets the table change, grow too, between two steps: the chain that *@cursor, 0 at
 * first, stands for, linked by conn::mux.hash_next; NULL: an empty one. Moves *@cursor on; 0: it was
 * the last. One that is in the table all the time is visited once.
 */
struct conn *conn_table_scan(const struct conn_table *t, uint64_t *cursor);

/* Visits all: returns the one after @c, or the first for NULL; NULL at the end. @c may be
 * removed once its successor is known. */
struct conn *conn_table_next(const struct conn_table *t, const struct conn *c);
