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
 * Adding is cheap: nothing is visible before vring_publish(), and the eventfd is
 * written only when the device asked for it.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "protocol/virtio_ring.h"
#include "support/guest.h"

struct vring_buf {
	uint64_t gpa;
	uint32_t len;
	bool writable;					/* by the device */
};

struct vring_chain;

struct vring {
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
	struct vring_chain *chains;			/* by head */
	uint16_t *order;				/* heads by avail slot */

	bool event_idx, in_order;
	int kick_fd, call_fd, err_fd;			/* eventfds */
	uint64_t n_kicks, n_calls;
};

/* Three areas in @region, zeroed, both indices at @base; new eventfds. */
void vring_init(struct vring *r, struct guest *g, unsigned region, uint32_t num,
		uint16_t base);
void vring_deinit(struct vring *r);

/* As after a reset: empty, at @base, in the same place, with the same fds. */
void vring_rewind(struct vring *r, uint16_t base);

/* Makes @n buffers one chain; false when there are too few descriptors. The
 * indirect form needs one, and @table_gpa with room for @n. */
bool vring_add(struct vring *r, const struct vring_buf *bufs, unsigned n,
	       uint64_t token);
bool vring_add_indirect(struct vring *r, const struct vring_buf *bufs,
			unsigned n, uint64_t table_gpa, uint64_t token);

void vring_publish(struct vring *r);			/* and kicks if asked to */
void vring_kick(struct vring *r);			/* in any case */

/* False when the device has used nothing more. */
bool vring_pop(struct vring *r, uint64_t *token, uint32_t *len);
bool vring_has_used(const struct vring *r);
uint32_t vring_in_flight(const struct vring *r);

/* Ask for a call at the next used entry; true when one is there already. */
bool vring_want_call(struct vring *r);
void vring_refuse_calls(struct vring *r);
bool vring_take_call(struct vring *r);			/* true: it had been called */

/* Raw: any descriptor, any head, any index. */
void vring_raw_desc(struct vring *r, uint32_t i, uint64_t gpa, uint32_t len,
		    uint16_t flags, uint16_t next);
void vring_raw_post(struct vring *r, uint16_t head);	/* slot and index */
void vring_raw_avail_idx(struct vring *r, uint16_t idx);
uint16_t vring_used_idx(const struct vring *r);
uint16_t vring_used_flags(const struct vring *r);
uint16_t vring_avail_event(const struct vring *r);	/* what the device wrote */
void vring_set_used_event(struct vring *r, uint16_t idx);
