/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The driver's side of a split ring: see guest_ring.h. A chain's descriptors are
 * remembered in our memory; the free ones are a queue, so that under IN_ORDER
 * they are used in ring order, as 2.7.9 demands.
 */
#include "support/guest_ring.h"

#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "support/must.h"

enum { CHAIN_MAX = 64 };			/* descriptors of a direct chain */

struct guest_ring_chain {
	uint64_t token;
	uint16_t n;				/* 0: not in flight */
	uint16_t desc[CHAIN_MAX];
};

static uint16_t load(const le16 *p)
{
	return le16toh(__atomic_load_n(&p->raw, __ATOMIC_ACQUIRE));
}

static void store(le16 *p, uint16_t v)
{
	__atomic_store_n(&p->raw, htole16(v), __ATOMIC_RELEASE);
}

static le16 *used_event(const struct guest_ring *r)
{
	return &r->avail->ring[r->num];
}

static le16 *avail_event(const struct guest_ring *r)
{
	return (le16 *)(void *)&r->used->ring[r->num];
}

void guest_ring_rewind(struct guest_ring *r, uint16_t base)
{
	memset(r->desc, 0, virtq_desc_size(r->num));
	memset(r->avail, 0, virtq_avail_size(r->num));
	memset(r->used, 0, virtq_used_size(r->num));
	r->base = r->avail_idx = r->published = r->last_used = base;
	store(&r->avail->idx, base);
	store(&r->used->idx, base);
	if (r->event_idx)
		store(avail_event(r), base);
	memset(r->chains, 0, r->num * sizeof *r->chains);
	for (uint32_t i = 0; i < r->num; i++)
		r->free[i] = (uint16_t)i;
	r->free_first = 0;
	r->n_free = r->num;
	guest_ring_take_call(r);
}

void guest_ring_init(struct guest_ring *r, struct guest *g, unsigned region, uint32_t num,
		     uint16_t base)
{
	*r = (struct guest_ring){ .guest = g, .num = num };
	r->desc_gpa = guest_alloc(g, region, virtq_desc_size(num), 16);
	r->avail_gpa = guest_alloc(g, region, virtq_avail_size(num), 2);
	r->used_gpa = guest_alloc(g, region, virtq_used_size(num), 4);
	r->desc = guest_ptr(g, r->desc_gpa, virtq_desc_size(num));
	r->avail = guest_ptr(g, r->avail_gpa, virtq_avail_size(num));
	r->used = guest_ptr(g, r->used_gpa, virtq_used_size(num));
	r->free = calloc(num, sizeof *r->free);
	r->chains = calloc(num, sizeof *r->chains);
	r->order = calloc(num, sizeof *r->order);
	must(r->free && r->chains && r->order);
	r->kick_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	r->call_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	r->err_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	must(r->kick_fd >= 0 && r->call_fd >= 0 && r->err_fd >= 0);
	guest_ring_rewind(r, base);
}

void guest_ring_deinit(struct guest_ring *r)
{
	if (!r->chains)
		return;
	close(r->kick_fd);
	close(r->call_fd);
	close(r->err_fd);
	free(r->free);
	free(r->chains);
	free(r->order);
	*r = (struct guest_ring){ .num = 0 };
}

static uint16_t take_free(struct guest_ring *r)
{
	uint16_t d = r->free[r->free_first];

	r->free_first = (r->free_first + 1) % r->num;
	r->n_free--;
	return d;
}

static struct wire_virtq_desc desc_of(const struct guest_ring_buf *b, bool last,
				      uint16_t next)
{
	unsigned flags = (b->writable ? VIRTQ_DESC_F_WRITE : 0) |
			 (last ? 0 : VIRTQ_DESC_F_NEXT);

	return (struct wire_virtq_desc){
		.addr = le64_of(b->gpa), .len = le32_of(b->len),
		.flags = le16_of((uint16_t)flags), .next = le16_of(last ? 0 : next),
	};
}

static void offer(struct guest_ring *r, struct guest_ring_chain *c, uint64_t token)
{
	uint32_t slot = r->avail_idx++ % r->num;

	c->token = token;
	r->order[slot] = c->desc[0];
	r->avail->ring[slot] = le16_of(c->desc[0]);
}

bool guest_ring_add(struct guest_ring *r, const struct guest_ring_buf *bufs, unsigned n,
		    uint64_t token)
{
	struct guest_ring_chain *c;
	uint16_t d, next;

	must(n >= 1 && n <= CHAIN_MAX);
	if (r->n_free < n)
		return false;
	d = take_free(r);
	c = &r->chains[d];
	c->n = (uint16_t)n;
	for (unsigned i = 0; i < n; i++) {
		next = i + 1 < n ? take_free(r) : 0;
		c->desc[i] = d;
		r->desc[d] = desc_of(&bufs[i], i + 1 == n, next);
		d = next;
	}
	offer(r, c, token);
	return true;
}

bool guest_ring_add_indirect(struct guest_ring *r, const struct guest_ring_buf *bufs,
			     unsigned n, uint64_t table_gpa, uint64_t token)
{
	struct wire_virtq_desc *table;
	struct guest_ring_chain *c;
	uint16_t d;

	if (!r->n_free)
		return false;
	table = guest_ptr(r->guest, table_gpa, n * sizeof *table);
	for (unsigned i = 0; i < n; i++)
		table[i] = desc_of(&bufs[i], i + 1 == n, (uint16_t)(i + 1));
	d = take_free(r);
	guest_ring_raw_desc(r, d, table_gpa, (uint32_t)(n * sizeof *table),
			    VIRTQ_DESC_F_INDIRECT, 0);
	c = &r->chains[d];
	c->n = 1;
	c->desc[0] = d;
	offer(r, c, token);
	return true;
}

void guest_ring_kick(struct guest_ring *r)
{
	uint64_t one = 1;

	r->n_kicks++;
	must(write(r->kick_fd, &one, sizeof one) == sizeof one);
}

void guest_ring_publish(struct guest_ring *r)
{
	uint16_t old = r->published, event;
	bool wanted;

	if (old == r->avail_idx)
		return;
	store(&r->avail->idx, r->avail_idx);
	r->published = r->avail_idx;
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (r->event_idx) {			/* 2.7.10: passed since the last one? */
		event = load(avail_event(r));
		wanted = (uint16_t)(r->avail_idx - event - 1) <
			 (uint16_t)(r->avail_idx - old);
	} else {
		wanted = !(load(&r->used->flags) & VIRTQ_USED_F_NO_NOTIFY);
	}
	if (wanted)
		guest_ring_kick(r);
}

bool guest_ring_has_used(const struct guest_ring *r)
{
	return load(&r->used->idx) != r->last_used;
}

uint32_t guest_ring_in_flight(const struct guest_ring *r)
{
	return (uint16_t)(r->avail_idx - r->last_used);
}

bool guest_ring_pop(struct guest_ring *r, uint64_t *token, uint32_t *len)
{
	uint32_t slot = r->last_used % r->num, id;
	struct guest_ring_chain *c;

	if (!guest_ring_has_used(r))
		return false;
	id = le32_get(r->used->ring[slot].id);
	if (id >= r->num || !r->chains[id].n)
		die("used ring entry %u names %u, which is not in flight",
		    (unsigned)slot, (unsigned)id);
	if (r->in_order && r->order[slot] != id)
		die("used ring entry %u names %u out of order", (unsigned)slot,
		    (unsigned)id);
	c = &r->chains[id];
	*token = c->token;
	*len = le32_get(r->used->ring[slot].len);
	for (unsigned i = 0; i < c->n; i++)
		r->free[(r->free_first + r->n_free++) % r->num] = c->desc[i];
	c->n = 0;
	r->last_used++;
	return true;
}

bool guest_ring_want_call(struct guest_ring *r)
{
	if (r->event_idx)
		store(used_event(r), r->last_used);
	else
		store(&r->avail->flags, 0);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	return guest_ring_has_used(r);
}

void guest_ring_refuse_calls(struct guest_ring *r)
{
	if (r->event_idx)			/* as far away as it can be */
		store(used_event(r), (uint16_t)(r->last_used - 1));
	else
		store(&r->avail->flags, VIRTQ_AVAIL_F_NO_INTERRUPT);
}

bool guest_ring_take_call(struct guest_ring *r)
{
	uint64_t n;

	if (read(r->call_fd, &n, sizeof n) != sizeof n)
		return false;
	r->n_calls += n;
	return true;
}

void guest_ring_raw_desc(struct guest_ring *r, uint32_t i, uint64_t gpa, uint32_t len,
			 uint16_t flags, uint16_t next)
{
	r->desc[i] = (struct wire_virtq_desc){
		le64_of(gpa), le32_of(len), le16_of(flags), le16_of(next),
	};
}

void guest_ring_raw_post(struct guest_ring *r, uint16_t head)
{
	r->avail->ring[r->avail_idx % r->num] = le16_of(head);
	guest_ring_raw_avail_idx(r, (uint16_t)(r->avail_idx + 1));
}

void guest_ring_raw_avail_idx(struct guest_ring *r, uint16_t idx)
{
	r->avail_idx = r->published = idx;
	store(&r->avail->idx, idx);
}

uint16_t guest_ring_used_idx(const struct guest_ring *r)
{
	return load(&r->used->idx);
}

uint16_t guest_ring_used_flags(const struct guest_ring *r)
{
	return load(&r->used->flags);
}

uint16_t guest_ring_avail_event(const struct guest_ring *r)
{
	return load(avail_event(r));
}

void guest_ring_set_used_event(struct guest_ring *r, uint16_t idx)
{
	store(used_event(r), idx);
}
