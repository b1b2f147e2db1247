/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The whole set-up of a device in one call, in the order and with the habits of
 * a known front-end.
 */
#pragma once

#include "support/vmm.h"

struct start_habits {
	const char *name;
	uint64_t protocol_features;		/* acknowledged if offered */
	bool negotiates_protocol;		/* VHOST_USER_F_PROTOCOL_FEATURES */
	bool acks;				/* NEED_REPLY on everything */
	bool adds_regions;			/* ADD_MEM_REG, not SET_MEM_TABLE */
	unsigned n_queues;			/* of the three; QEMU keeps one */
};

extern const struct start_habits START_QEMU, START_CLOUD_HYPERVISOR,
	START_LIBKRUN, START_STRATOVIRT, START_OLD;

/*
 * Negotiates (@features are what the driver would take), shares @g, programs
 * @rings and enables them. 0 or what the first failing request returned; the
 * rings' event_idx and in_order then tell what was agreed.
 */
int vmm_start(struct vmm *f, const struct guest *g, struct guest_ring *rings,
	      const struct start_habits *habits, uint64_t features);
/* Programs and enables one ring at its base. */
int vmm_start_ring(struct vmm *f, uint32_t q, const struct guest_ring *r);
/* GET_VRING_BASE for each ring, which keeps it for the next start. False when
 * one does not lie between what was given back and what was offered. */
bool vmm_stop(struct vmm *f, struct guest_ring *rings, unsigned n);
