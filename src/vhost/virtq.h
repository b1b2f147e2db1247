/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One split virtqueue, device side: virtio 1.2, 2.7. Only virtq.c and virtq_chain.c touch
 * rings.
 *
 * The attacker is the guest. It writes descriptors, indices and flags at any
 * time, also between two of our loads, and must not make us read or write
 * outside its memory, loop, or believe a number twice. So: every field is
 * loaded once, a descriptor is copied whole before any part of it is tested,
 * walks are bounded by our numbers, and what we wrote (used index, event words)
 * is kept here and never read back. A ring that cannot be trusted any more is
 * broken: VIRTQ_E_BROKEN, from then on.
 *
 * Chains are taken and given back in batches. virtq_pop() hands out chains in
 * the order of the available ring; virtq_unpop() takes the last ones back
 * untouched; virtq_push() writes used entries that the driver sees only at
 * virtq_publish(). Chains are pushed in the order in which they were popped,
 * which is all that VIRTIO_F_IN_ORDER asks.
 *
 * Buffers are used in order, and between two batches none is kept. So the used index in
 * guest memory says where the ring stands, with the distance at which the available index
 * goes before it: that is all that another process has to know to go on.
 *
 * Notification (2.7.7, 2.7.10): while a ring is being worked on, the driver's
 * kicks are not wanted; virtq_enable_notify() asks for the next one when we run
 * dry, and tells if something came in meanwhile.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "protocol/virtio_ring.h"
#include "vhost/gmem.h"

enum { VIRTQ_E_EMPTY = 1, VIRTQ_E_FULL, VIRTQ_E_BROKEN, VIRTQ_E_STATE };

enum { VIRTQ_AHEAD_STEPS = 3 };

/* Most descriptors that we follow, in the ring and in an indirect table each. Empty ones
 * count: they take no room, but time. */
enum { VIRTQ_CHAIN_MAX = 1024 };

/* What the front-end set. */
struct virtq_config {
	uint32_t num;				/* entries: a power of two */
	uint64_t desc_uaddr, avail_uaddr, used_uaddr;
};

struct virtq {
	struct virtq_config config;
	uint16_t last_avail;			/* next entry of the available ring to take */

	struct gmem *mem;			/* borrowed; NULL: not resolved */
	const GUEST struct wire_virtq_desc *desc;
	const GUEST struct wire_virtq_avail *avail;
	GUEST struct wire_virtq_used *used;
	uint16_t mask;				/* num - 1 */
	uint16_t avail_idx;			/* the driver's, as last loaded */
	uint16_t ahead[VIRTQ_AHEAD_STEPS];	/* entries whose lines were asked for */
	uint16_t batch_avail;			/* last_avail as of the last virtq_publish() */
	uint16_t used_idx;			/* next used entry to write */
	uint16_t published;			/* the used index that the driver sees */
	bool has_used_idx;			/* used_idx is ours; else load it on resolve ... */
	bool has_distance;			/* ... and last_avail from it */
	uint16_t distance;			/* last_avail - used_idx, between batches */
	bool called;				/* virtq_publish() has shown some since the start */
	bool event_idx, indirect, notify_on_empty;	/* negotiated */
	const char *broken;			/* why, or NULL */
};

/* Chains' iovecs for one batch: the caller's array, emptied between batches. */
struct virtq_iovs {
	struct iovec *iov;
	size_t n, max;
};

struct virtq_chain {
	uint16_t head;
	struct iovec *iov;			/* n_out to read, then n_in to write */
	size_t n_out, n_in;
	size_t out_len, in_len;			/* bytes */
};

void virtq_init(struct virtq *q);

/*
 * Translates the ring, each part over its full size, and takes on @features.
 * Called before the first pop and again after config, memory or features
 * changed; last_avail stays. 0 or VIRTQ_E_BROKEN.
 */
int virtq_resolve(struct virtq *q, struct gmem *mem, uint64_t features);
void virtq_unresolve(struct virtq *q);

/* NULL, or why virtq_resolve() would find a ring of this @config broken. */
const char *virtq_check(const struct virtq_config *config, struct gmem *mem);

/* Starts from entry @base of the available ring; the used index is loaded from
 * the ring when it is next resolved. */
void virtq_set_base(struct virtq *q, uint16_t base);

/* Another used ring: it stays where it stands among the available entries. */
void virtq_forget_used(struct virtq *q);

/* Its place, and where it stands. What is loaded is not resolved, and is checked: 0 or
 * VIRTQ_E_STATE. Between batches. */
void virtq_save(const struct virtq *q, struct blob *out);
int virtq_load(struct virtq *q, struct blob_reader *in);

/*
 * Takes the next chain. VIRTQ_E_EMPTY; VIRTQ_E_FULL: @iovs holds chains and has
 * no room for this one, finish the batch; VIRTQ_E_BROKEN.
 */
int virtq_pop(struct virtq *q, struct virtq_iovs *iovs, struct virtq_chain *out);

/* Gives the last @n popped chains back: the next pops read them anew. */
void virtq_unpop(struct virtq *q, uint16_t n);

/* Returns a chain, unseen before publish. @written: bytes written into its in-part. */
void virtq_push(struct virtq *q, const struct virtq_chain *chain, uint32_t written);

/* Shows the driver all that was pushed; true if it must be called. */
bool virtq_publish(struct virtq *q);

/* Nothing was ever made available, as far as can be seen, in a ring that began at 0. */
bool virtq_is_untouched(const struct virtq *q);

/* Asks for a kick at the next available entry. True: there is one already. */
bool virtq_enable_notify(struct virtq *q);
void virtq_disable_notify(struct virtq *q);	/* while its chains are popped */

/* For who looks by himself whether there is more: no kicks until virtq_enable_notify(), not even
 * the one that has been asked for. */
void virtq_suppress_notify(struct virtq *q);
bool virtq_has_more(const struct virtq *q);
