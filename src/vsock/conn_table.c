/* SPDX-License-Identifier: BSD-3-Clause */
/* Connections by name. */
#include "vsock/conn_table.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { BUCKETS_MIN = 16 };

int conn_table_init(struct conn_table *t, uint64_t seed)
{
	*t = (struct conn_table){ .n_buckets = BUCKETS_MIN, .seed = seed };
	t->buckets = calloc(t->n_buckets, sizeof *t->buckets);
	return t->buckets ? 0 : -ENOMEM;
}

void conn_table_deinit(struct conn_table *t)
{
	free(t->buckets);
	*t = (struct conn_table){ .n = 0 };
}

static struct conn **bucket(const struct conn_table *t, uint32_t guest_port,
			    const struct vsock_addr *peer)
{
	uint64_t h = t->seed ^ (uint64_t)guest_port << 32 ^ peer->port;

	h *= UINT64_C(0x9e3779b97f4a7c15);
	h ^= h >> 29;
	h = (h ^ peer->cid ^ t->seed) * UINT64_C(0xbf58476d1ce4e5b9);
	h ^= h >> 32;
	return &t->buckets[h & (t->n_buckets - 1)];
}

static bool is_addr(const struct vsock_addr *a, const struct vsock_addr *b)
{
	return a->cid == b->cid && a->port == b->port;
}

struct conn *conn_table_find(const struct conn_table *t, uint32_t guest_port,
			     const struct vsock_addr *peer)
{
	struct conn *c = *bucket(t, guest_port, peer);

	while (c && !(c->guest.port == guest_port && is_addr(&c->peer, peer)))
		c = c->mux.hash_next;
	return c;
}

static void insert(struct conn_table *t, struct conn *c)
{
	struct conn **b = bucket(t, c->guest.port, &c->peer);

	c->mux.hash_next = *b;
	*b = c;
}

/* Without memory the chains just get longer. */
static void grow(struct conn_table *t)
{
	struct conn_table old = *t;
	struct conn **buckets = calloc(old.n_buckets * 2, sizeof *buckets);

	if (!buckets)
		return;
	t->buckets = buckets;
	t->n_buckets *= 2;
	for (size_t i = 0; i < old.n_buckets; i++) {
		for (struct conn *c = old.buckets[i], *next; c; c = next) {
			next = c->mux.hash_next;
			insert(t, c);
		}
	}
	free(old.buckets);
}

void conn_table_add(struct conn_table *t, struct conn *c)
{
	if (t->n >= t->n_buckets)
		grow(t);
	insert(t, c);
	t->n++;
}

void conn_table_remove(struct conn_table *t, struct conn *c)
{
	struct conn **at = bucket(t, c->guest.port, &c->peer);

	while (*at != c) {
		assert(*at);
		at = &(*at)->mux.hash_next;
	}
	*at = c->mux.hash_next;
	c->mux.hash_next = NULL;
	t->n--;
}

void conn_table_clear(struct conn_table *t)
{
	memset(t->buckets, 0, t->n_buckets * sizeof *t->buckets);
	t->n = 0;
}

struct conn *conn_table_next(const struct conn_table *t, const struct conn *c)
{
	size_t i = 0;

	if (c && c->mux.hash_next)
		return c->mux.hash_next;
	if (c)
		i = (size_t)(bucket(t, c->guest.port, &c->peer) - t->buckets) + 1;
	for (; i < t->n_buckets; i++)
		if (t->buckets[i])
			return t->buckets[i];
	return NULL;
}

static uint64_t reverse(uint64_t v)
{
	v = (v >> 1 & UINT64_C(0x5555555555555555)) | (v & UINT64_C(0x5555555555555555)) << 1;
	v = (v >> 2 & UINT64_C(0x3333333333333333)) | (v & UINT64_C(0x3333333333333333)) << 2;
	v = (v >> 4 & UINT64_C(0x0f0f0f0f0f0f0f0f)) | (v & UINT64_C(0x0f0f0f0f0f0f0f0f)) << 4;
	return __builtin_bswap64(v);
}

/* Counts up from the highest bit: a bucket splits, when the table doubles, into two of which both
 * come before, or both after, those of any other. */
struct conn *conn_table_scan(const struct conn_table *t, uint64_t *cursor)
{
	uint64_t mask = t->n_buckets - 1;
	struct conn *first = t->buckets[*cursor & mask];

	*cursor = reverse(reverse(*cursor | ~mask) + 1);
	return first;
}

struct conn *conn_table_find_peer(const struct conn_table *t, const struct vsock_addr *peer)
{
	struct conn *c = conn_table_next(t, NULL);

	while (c && !is_addr(&c->peer, peer))
		c = conn_table_next(t, c);
	return c;
}
