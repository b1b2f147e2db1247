/* SPDX-License-Identifier: BSD-3-Clause */
/* How many of a VM's connections its siblings may begin, and which of them. */
#include "vsock/shares.h"

void shares_init(struct shares *s, uint32_t max)
{
	*s = (struct shares){ .n_siblings = 1 };
	list_init(&s->own);
	shares_set_max(s, max);
}

/* Who has more than that now keeps it. */
static void share_out(struct shares *s)
{
	uint32_t kept = s->max - s->max / 2;

	s->common_max = s->max / 2;
	s->own_max = s->n_siblings < kept ? (uint32_t)(kept / s->n_siblings) : 1;
}

void shares_set_max(struct shares *s, uint32_t max)
{
	s->max = max;
	share_out(s);
}

void shares_set_siblings(struct shares *s, size_t n)
{
	s->n_siblings = n ? n : 1;
	share_out(s);
}

static uint32_t count_own(const struct shares *s, uint64_t cid)
{
	uint32_t n = 0;

	list_for_each(node, &s->own)
		n += container_of(node, struct conn, mux.share_node)->peer.cid == cid;
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
	c->mux.share = share & 7;
	s->n_common += share == SHARE_COMMON;
	s->n_own += share == SHARE_OWN;
	if (share == SHARE_OWN)
		list_append(&s->own, &c->mux.share_node);
}

void shares_give(struct shares *s, struct conn *c)
{
	s->n_common -= c->mux.share == SHARE_COMMON;
	s->n_own -= c->mux.share == SHARE_OWN;
	if (c->mux.share == SHARE_OWN)
		list_remove(&c->mux.share_node);
	c->mux.share = SHARE_NONE;
}
