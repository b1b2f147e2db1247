/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Credit of one connection, both ways: virtio 1.2, 5.10.6.3.
 *
 * Each side advertises how much it can buffer (buf_alloc) and how much it has
 * passed on since the connection began (fwd_cnt, modulo 2^32); the other may
 * have at most buf_alloc bytes in flight beyond that. The guest's numbers may
 * lie: whatever they say, room is between 0 and its buf_alloc, what it may
 * send us is measured against what we told it, not against what it claims, and it
 * has consumed no more than was sent to it, and never less than before.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct credit {
	/* Towards the guest, as it last told us. */
	uint32_t guest_buf_alloc, guest_fwd_cnt;
	uint32_t sent_to_guest;			/* bytes, modulo 2^32 */
	uint32_t consumed;			/* of those, by the guest, as far as it is true */
	/* From the guest. */
	uint32_t buf_alloc;			/* what we can take */
	uint32_t received;			/* bytes, modulo 2^32 */
	uint32_t fwd_cnt;			/* of those, passed on to the host */
	uint32_t told_fwd_cnt;			/* fwd_cnt as the guest knows it */
};

/* Bytes that we may send to the guest now. */
static inline uint32_t credit_room(const struct credit *c)
{
	uint32_t in_flight = c->sent_to_guest - c->guest_fwd_cnt;

	return in_flight < c->guest_buf_alloc ? c->guest_buf_alloc - in_flight : 0;
}

/* Bytes sent to the guest that it has not consumed yet. */
static inline uint32_t credit_unconsumed(const struct credit *c)
{
	return c->sent_to_guest - c->consumed;
}

/* Takes note of a header's credit fields; true if they changed. */
static inline bool credit_update(struct credit *c, uint32_t buf_alloc, uint32_t fwd_cnt)
{
	bool changed = buf_alloc != c->guest_buf_alloc || fwd_cnt != c->guest_fwd_cnt;

	c->guest_buf_alloc = buf_alloc;
	c->guest_fwd_cnt = fwd_cnt;
	if (fwd_cnt - c->consumed <= credit_unconsumed(c))
		c->consumed = fwd_cnt;
	return changed;
}

/* Counts @len bytes from the guest; false, and not counted, if it had no credit. */
static inline bool credit_receive(struct credit *c, uint32_t len)
{
	uint32_t in_flight = c->received - c->told_fwd_cnt;

	if (len > c->buf_alloc - in_flight)	/* in_flight <= buf_alloc always */
		return false;
	c->received += len;
	return true;
}

/* Must the guest be told before it runs dry? */
static inline bool credit_is_due(const struct credit *c)
{
	uint32_t untold = c->fwd_cnt - c->told_fwd_cnt;

	return untold && untold >= c->buf_alloc / 4;
}
