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

/*
 * A guest may also count packets: Linux from 6.12.92 on resets a connection as soon as
 * the bookkeeping of the packets that wait unread, so many bytes for each, exceeds its
 * buf_alloc, whatever they hold. It says nothing of that; so no more packets than that
 * are on the way to any guest.
 */
enum {
	CREDIT_PACKET_COST = 576,		/* bytes */
	CREDIT_PACKETS_MIN = 16,		/* for guests that receive next to nothing */
};

struct credit {
	/* Towards the guest, as it last told us. */
	uint32_t guest_buf_alloc, guest_fwd_cnt;
	uint32_t sent_to_guest;			/* bytes, modulo 2^32 */
	uint32_t consumed;			/* of those, by the guest, as far as it is true */
	uint32_t mark;				/* a past sent_to_guest, not consumed yet */
	uint32_t packets_before, packets_after;	/* not consumed, at most: up to it, and since */
	/* From the guest. */
	uint32_t buf_alloc;			/* what we can take */
	uint32_t received;			/* bytes, modulo 2^32 */
	uint32_t fwd_cnt;			/* of those, passed on to the host */
	uint32_t reported_fwd_cnt;		/* fwd_cnt as the guest knows it */
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

/* Packets that may be sent to the guest now, of whatever size. How many are on the way
 * is an upper bound, of which a part falls away with each mark. */
static inline uint32_t credit_packets(const struct credit *c)
{
	uint32_t max = c->guest_buf_alloc / CREDIT_PACKET_COST;
	uint32_t in_flight = c->packets_before + c->packets_after;

	if (max < CREDIT_PACKETS_MIN)
		max = CREDIT_PACKETS_MIN;
	return in_flight < max ? max - in_flight : 0;
}

/* @len bytes went to the guest in @n packets: no more than were allowed. */
static inline void credit_sent(struct credit *c, uint32_t len, uint32_t n)
{
	c->sent_to_guest += len;
	c->packets_after += n;
}

/* All up to the mark is consumed: the next one is what is on the way now. */
static inline void credit_move_mark(struct credit *c)
{
	if (c->sent_to_guest - c->mark < credit_unconsumed(c))
		return;
	c->packets_before = c->consumed == c->sent_to_guest ? 0 : c->packets_after;
	c->packets_after = 0;
	c->mark = c->sent_to_guest;
}

/* Takes note of a header's credit fields; true if they changed. */
static inline bool credit_update(struct credit *c, uint32_t buf_alloc, uint32_t fwd_cnt)
{
	bool changed = buf_alloc != c->guest_buf_alloc || fwd_cnt != c->guest_fwd_cnt;

	c->guest_buf_alloc = buf_alloc;
	c->guest_fwd_cnt = fwd_cnt;
	if (fwd_cnt - c->consumed <= credit_unconsumed(c)) {
		c->consumed = fwd_cnt;
		credit_move_mark(c);
	}
	return changed;
}

/* Counts @len bytes from the guest; false, and not counted, if it had no credit. */
static inline bool credit_receive(struct credit *c, uint32_t len)
{
	uint32_t in_flight = c->received - c->reported_fwd_cnt;

	if (len > c->buf_alloc - in_flight)	/* in_flight <= buf_alloc always */
		return false;
	c->received += len;
	return true;
}

/* What holds at any time, with @buffered bytes waiting for the host; for what was saved. */
static inline bool credit_is_sound(const struct credit *c, uint32_t buffered)
{
	uint32_t in_flight = c->received - c->reported_fwd_cnt;
	uint64_t packets = (uint64_t)c->packets_before + c->packets_after;

	return in_flight <= c->buf_alloc && c->fwd_cnt - c->reported_fwd_cnt <= in_flight &&
		buffered <= c->received - c->fwd_cnt &&
		c->sent_to_guest - c->mark <= credit_unconsumed(c) &&
		(c->guest_fwd_cnt == c->consumed ||	/* else that would have been believed */
		 c->guest_fwd_cnt - c->consumed > credit_unconsumed(c)) &&
		packets <= UINT32_MAX;		/* the rest of a message comes in any number */
}

/* Bytes that the guest has on the way to us before it waits for news: what we can take, but a
 * Linux guest (of 2026) sends no more ahead than its own buffer holds. One that names no buffer
 * is none of those: it could never send. */
static inline uint32_t credit_window(const struct credit *c)
{
	bool is_capped = c->guest_buf_alloc && c->guest_buf_alloc < c->buf_alloc;

	return is_capped ? c->guest_buf_alloc : c->buf_alloc;
}

/* Must the guest be told before it runs dry? */
static inline bool credit_is_due(const struct credit *c)
{
	uint32_t untold = c->fwd_cnt - c->reported_fwd_cnt;

	return untold && untold >= credit_window(c) / 4;
}

/* The same, where it waits for all of what it has room for: a message passes only whole. */
static inline bool credit_is_due_to_finish(const struct credit *c)
{
	return c->fwd_cnt != c->reported_fwd_cnt &&
		c->received - c->reported_fwd_cnt >= credit_window(c) / 2;
}
