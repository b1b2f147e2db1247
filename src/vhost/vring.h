/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One ring of a session: its virtqueue, its descriptors, and its state (vhost-user.rst,
 * "Ring states").
 *
 * A ring runs when it is started (SET_VRING_KICK), enabled (SET_VRING_ENABLE, or
 * PROTOCOL_FEATURES was not negotiated) and not broken. Its addresses are translated when
 * it is first needed after a change, so the order of SET_VRING_* does not matter.
 *
 * Only the front-end's requests write what it sets (session_rings.c); others ask, call
 * and fail.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "vhost/gmem.h"
#include "vhost/virtq.h"

enum { VRING_E_STATE = 1 };

struct vring {
	struct virtq q;
	unsigned index;
	const char *tag;			/* for log lines; borrowed */
	int kick_fd, call_fd, err_fd;		/* owned eventfds; -1: not set */
	bool call_may_block, err_may_block;
	uint64_t *n_stops;			/* borrowed: counts vring_fail(); or NULL */
	bool *held_up;				/* borrowed: set when a write to one has blocked */
	bool started, enabled, has_addr;
	bool has_run;				/* q.last_avail means something */
	bool failed;				/* broken, and said so */
	bool adopted;				/* set up midway: another back-end ran it */
	bool has_news;				/* it has begun to run since vring_save() was due */
};

void vring_init(struct vring *v, unsigned index, const char *tag, bool *held_up);
void vring_deinit(struct vring *v);		/* as it was before the first request */

/* Enabled by SET_VRING_ENABLE, or by what @features say. */
bool vring_is_enabled(const struct vring *v, uint64_t features);

/* Its queue if it runs with this memory (NULL: there is none) and these features, else
 * NULL. Never blocks. */
struct virtq *vring_running(struct vring *v, struct gmem *mem, uint64_t features);

/* Its set-up has changed: it is resolved anew, even if it was broken. */
void vring_refresh(struct vring *v);

/* NULL, or why a ring with @config's addresses cannot run in @mem. Where the size is not
 * known yet, its first entry counts; where there is no memory yet, nothing does. */
const char *vring_check_place(const struct virtq_config *config, struct gmem *mem);

/* Calls the guest's driver. Blocks no longer than the watchdog lets it; then *held_up is
 * set, and no eventfd is written to any more. */
void vring_call(struct vring *v);

/* It is broken: logs that once and signals its error descriptor. It does not run until it
 * is set up again. */
void vring_fail(struct vring *v);

/*
 * All that the front-end has set, with the descriptors. What is loaded is checked: 0;
 * VRING_E_STATE, and the ring is as vring_init() leaves it.
 */
void vring_save(const struct vring *v, struct blob *out);
int vring_load(struct vring *v, struct blob_reader *in);

/* True once for a ring that another back-end has run before. */
bool vring_take_adopted(struct vring *v);
