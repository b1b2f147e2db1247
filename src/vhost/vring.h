/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One ring of a session: its virtqueue, its descriptors, and its state (vhost-user.rst,
 * "Ring states").
 *
 * A ring runs when it is started (SET_VRING_KICK), enabled (SET_VRING_ENABLE, or
 * PROTOCOL_FEATURES was not negotiated) and not broken. Its addresses are translated when
 * it is first needed after a change, so the order of SET_VRING_* does not matter.
 *
 * What the front-end sets is written by its requests alone (session_rings.c); others ask,
 * call and fail.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "vhost/gmem.h"
#include "vhost/virtq.h"

struct vring {
	struct virtq q;
	unsigned index;
	const char *tag;			/* for log lines; borrowed */
	int kick_fd, call_fd, err_fd;		/* owned eventfds; -1: not set */
	bool call_may_block, err_may_block;
	bool *held_up;				/* borrowed: a write to an eventfd has blocked */
	bool started, enabled, has_addr;
	bool has_run;				/* q.last_avail means something */
	bool failed;				/* broken, and said so */
	bool adopted;				/* set up from the middle: another back-end ran it */
};

void vring_init(struct vring *v, unsigned index, const char *tag, bool *held_up);
void vring_deinit(struct vring *v);		/* as it was before the first request */

/* Enabled by SET_VRING_ENABLE, or by what @features say. */
bool vring_is_enabled(const struct vring *v, uint64_t features);

/* Its queue if it runs with this memory (NULL: there is none) and these features, else
 * NULL. Never blocks. */
struct virtq *vring_running(struct vring *v, struct gmem *mem, uint64_t features);

/* Something about it is new: it gets another chance. */
void vring_refresh(struct vring *v);

/* NULL, or why it could not be run from @config's addresses with the memory there is. Of
 * a ring whose size is not known its first entry counts. */
const char *vring_check_place(const struct virtq_config *config, struct gmem *mem);

/* Calls the guest's driver. Never blocks for longer than the watchdog lets it; then it
 * sets *held_up, and with that set no eventfd is written to any more. */
void vring_call(struct vring *v);

/* It was found broken: says so once, signals its error descriptor; it runs no more until
 * it is set up again. */
void vring_fail(struct vring *v);

/* True once for a ring that another back-end has run before. */
bool vring_take_adopted(struct vring *v);
