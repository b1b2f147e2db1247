/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Starting and stopping a device as known front-ends do: see start.h.
 */
#include "support/start.h"

#define BIT(n)	(UINT64_C(1) << (n))

const struct start_habits START_QEMU = {
	.name = "qemu", .protocol_features = BIT(24) - 1,
	.negotiates_protocol = true, .acks = true, .adds_regions = true,
	.n_queues = 2,
};
const struct start_habits START_CLOUD_HYPERVISOR = {
	.name = "cloud-hypervisor",
	.protocol_features = BIT(VHOST_USER_PROTOCOL_F_MQ) |
		BIT(VHOST_USER_PROTOCOL_F_REPLY_ACK) |
		BIT(VHOST_USER_PROTOCOL_F_CONFIG) |
		BIT(VHOST_USER_PROTOCOL_F_CONFIGURE_MEM_SLOTS),
	.negotiates_protocol = true, .acks = true, .adds_regions = true,
	.n_queues = 3,
};
const struct start_habits START_LIBKRUN = {
	.name = "libkrun",
	.protocol_features = BIT(VHOST_USER_PROTOCOL_F_MQ) |
		BIT(VHOST_USER_PROTOCOL_F_CONFIG),
	.negotiates_protocol = true, .n_queues = 3,
};
const struct start_habits START_STRATOVIRT = {
	.name = "stratovirt",
	.protocol_features = BIT(VHOST_USER_PROTOCOL_F_MQ) |
		BIT(VHOST_USER_PROTOCOL_F_CONFIG) |
		BIT(VHOST_USER_PROTOCOL_F_CONFIGURE_MEM_SLOTS),
	.negotiates_protocol = true, .n_queues = 3,
};
const struct start_habits START_OLD = { .name = "old", .n_queues = 3 };

static int negotiate_protocol(struct vmm *f, const struct start_habits *h)
{
	uint64_t offered, n;
	int r;

	if ((r = vmm_get_protocol_features(f, &offered)))
		return r;
	if ((r = vmm_set_protocol_features(f, offered & h->protocol_features)))
		return r;
	f->ack_all = h->acks && has_feature(f->protocol_features,
					    VHOST_USER_PROTOCOL_F_REPLY_ACK);
	if (has_feature(f->protocol_features, VHOST_USER_PROTOCOL_F_MQ)) {
		if ((r = vmm_get_queue_num(f, &n)))
			return r;
		if (n < h->n_queues)
			return VMM_ODD;
	}
	return 0;
}

static int share_memory(struct vmm *f, const struct guest *g,
			const struct start_habits *h)
{
	uint64_t slots;
	int r;

	if (!h->adds_regions || !has_feature(f->protocol_features,
				VHOST_USER_PROTOCOL_F_CONFIGURE_MEM_SLOTS))
		return vmm_set_mem_table(f, g);
	if ((r = vmm_get_max_mem_slots(f, &slots)))
		return r;
	if (slots < g->n_regions)
		return VMM_ODD;
	for (unsigned i = 0; i < g->n_regions; i++)
		if ((r = vmm_add_mem_reg(f, &g->regions[i])))
			return r;
	return 0;
}

int vmm_start_ring(struct vmm *f, uint32_t q, const struct guest_ring *ring)
{
	int r;

	if ((r = vmm_set_vring_num(f, q, ring->num)) ||
	    (r = vmm_set_vring_base(f, q, ring->base)) ||
	    (r = vmm_set_vring_addr(f, q, ring)) ||
	    (r = vmm_set_vring_call(f, q, ring->call_fd)) ||
	    (r = vmm_set_vring_err(f, q, ring->err_fd)) ||
	    (r = vmm_set_vring_kick(f, q, ring->kick_fd)))
		return r;
	if (has_feature(f->features, VHOST_USER_F_PROTOCOL_FEATURES))
		return vmm_set_vring_enable(f, q, true);
	return 0;
}

int vmm_start(struct vmm *f, const struct guest *g, struct guest_ring *rings,
	      const struct start_habits *h, uint64_t features)
{
	uint64_t offered;
	int r;

	if ((r = vmm_get_features(f, &offered)))
		return r;
	features &= offered;
	if (h->negotiates_protocol) {
		if (!has_feature(offered, VHOST_USER_F_PROTOCOL_FEATURES))
			return VMM_ODD;
		if ((r = negotiate_protocol(f, h)))
			return r;
		features |= BIT(VHOST_USER_F_PROTOCOL_FEATURES);
	}
	if ((r = vmm_set_owner(f)) ||
	    (r = vmm_set_features(f, features)) ||
	    (r = share_memory(f, g, h)))
		return r;
	for (uint32_t q = 0; q < h->n_queues; q++) {
		rings[q].event_idx = has_feature(features, VIRTIO_F_EVENT_IDX);
		rings[q].in_order = has_feature(features, VIRTIO_F_IN_ORDER);
		if ((r = vmm_start_ring(f, q, &rings[q])))
			return r;
	}
	return 0;
}

bool vmm_stop(struct vmm *f, struct guest_ring *rings, unsigned n)
{
	uint16_t used;
	uint32_t base;

	for (uint32_t q = 0; q < n; q++) {
		if (vmm_get_vring_base(f, q, &base))
			return false;
		used = guest_ring_used_idx(&rings[q]);
		if (base > UINT16_MAX || (uint16_t)(base - used) >
					 (uint16_t)(rings[q].published - used))
			return false;
		rings[q].base = (uint16_t)base;
	}
	return true;
}
