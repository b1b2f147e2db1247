/* SPDX-License-Identifier: BSD-3-Clause */
/* How many of a VM's connections its siblings may begin, and which of them. */
#include "vsock/shares.h"

#include "util/error.h"

void shares_init(struct shares *s, uint32_t max)
{
	*s = (struct shares){ .max = max };
	list_init(&s->own);
	shares_set_siblings(s, 1);
}

void shares_set_siblings(struct shares *s, size_t n)
{
	uint32_t kept = s->max - s->max / 2;

	assert(!s->n_common && !s->n_own);
	s->common_max = s->max / 2;
	s->own_max = n < kept ? (uint32_t)(kept / (n ? n : 1)) : 1;
}

static uint32_t count_own(const struct shares *s, uint64_t cid)
{
	uint32_t n = 0;

	list_for_each(node, &s->own)
		n += container_of(node, struct conn, share_link)->peer.cid == cid;
	return n;
}

enum share shares_find(const struct shares *s, uint64_t cid)
{
	if (s->n_common < s->common_max)
		return SHARE_COMMON;
	if (s->n_common + s->n_own < s->max && count_own(s, cid) < s->own_max)
		return SHARE_OWN;
	return SHARE_NONE;
}

void shares_take(struct shares *s, struct conn *c, enum share share)
{
	c->share = (uint8_t)share;
	s->n_common += share == SHARE_COMMON;
	s->n_own += share == SHARE_OWN;
	if (share == SHARE_OWN)
		list_append(&s->own, &c->share_link);
}

void shares_give(struct shares *s, struct conn *c)
{
	s->n_common -= c->share == SHARE_COMMON;
	s->n_own -= c->share == SHARE_OWN;
	if (c->share == SHARE_OWN)
		list_remove(&c->share_link);
	c->share = SHARE_NONE;
}
