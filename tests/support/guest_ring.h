/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The driver's side of a split ring in the scripted guest's memory (virtio 1.2,
 * 2.7): free descriptors, chains and indirect tables, notifications by flags or
 * by EVENT_IDX, 16-bit indices that may start anywhere.
 *
 * The well-behaved part checks what the device does: an id that is not in
 * flight, or one out of order under IN_ORDER, ends the test. The raw part
 * writes any nonsense into the ring.
 *
 * Adding is cheap: nothing is visible before guest_ring_publish(), and the eventfd is
 * written only when the device asked for it.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "protocol/virtio_ring.h"
#include "support/guest.h"

struct guest_ring_buf {
	uint64_t gpa;
	uint32_t len;
	bool writable;					/* by the device */
};

struct guest_ring_chain;

struct guest_ring {
	struct guest *guest;
	uint32_t num;
	uint64_t desc_gpa, avail_gpa, used_gpa;
	struct wire_virtq_desc *desc;
	struct wire_virtq_avail *avail;
	struct wire_virtq_used *used;

	uint16_t base;					/* for SET_VRING_BASE */
	uint16_t avail_idx;				/* next slot we fill */
	uint16_t published;				/* what the device sees */
	uint16_t last_used;				/* next entry we take */
	uint16_t *free;					/* circular, [num] */
	uint32_t free_first, n_free;
	struct guest_ring_chain *chains;			/* by head */
	uint16_t *order;				/* heads by avail slot */

	bool event_idx, in_order;
	int kick_fd, call_fd, err_fd;			/* eventfds */
	uint64_t n_kicks, n_calls;
};

/* Three areas in @region, zeroed, both indices at @base; new eventfds. */
void guest_ring_init(struct guest_ring *r, struct guest *g, unsigned region, uint32_t num,
		     uint16_t base);
void guest_ring_deinit(struct guest_ring *r);

/* As after a reset: empty, at @base, in the same place, with the same fds. */
void guest_ring_rewind(struct guest_ring *r, uint16_t base);

/* Makes @n buffers one chain; false when there are too few descriptors. The
 * indirect form needs one, and @table_gpa with room for @n. */
bool guest_ring_add(struct guest_ring *r, const struct guest_ring_buf *bufs, unsigned n,
		    uint64_t token);
bool guest_ring_add_indirect(struct guest_ring *r, const struct guest_ring_buf *bufs,
			     unsigned n, uint64_t table_gpa, uint64_t token);

void guest_ring_publish(struct guest_ring *r);			/* and kicks if asked to */
void guest_ring_kick(struct guest_ring *r);			/* in any case */

/* False when the device has used nothing more. */
bool guest_ring_pop(struct guest_ring *r, uint64_t *token, uint32_t *len);
bool guest_ring_has_used(const struct guest_ring *r);
uint32_t guest_ring_in_flight(const struct guest_ring *r);

/* Ask for a call at the next used entry; true when one is there already. */
bool guest_ring_want_call(struct guest_ring *r);
void guest_ring_refuse_calls(struct guest_ring *r);
bool guest_ring_take_call(struct guest_ring *r);	/* true: it had been called */

/* Raw: any descriptor, any head, any index. */
void guest_ring_raw_desc(struct guest_ring *r, uint32_t i, uint64_t gpa, uint32_t len,
			 uint16_t flags, uint16_t next);
void guest_ring_raw_post(struct guest_ring *r, uint16_t head);	/* slot and index */
void guest_ring_raw_avail_idx(struct guest_ring *r, uint16_t idx);
uint16_t guest_ring_used_idx(const struct guest_ring *r);
uint16_t guest_ring_used_flags(const struct guest_ring *r);
uint16_t guest_ring_avail_event(const struct guest_ring *r);	/* what the device wrote */
void guest_ring_set_used_event(struct guest_ring *r, uint16_t idx);
