/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Front-ends as tables: see front_end.h.
 */
#include "e2e/front_end.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "e2e/e2e.h"

#define BIT(n)	(UINT64_C(1) << (n))

enum { GUEST_CID = 3 };

static uint64_t driver_features;		/* what it takes of what it is shown */
static uint64_t offered, protocol_offered;	/* as last answered */

void front_end_init(struct driver *d, const struct front_end *fe, uint64_t features)
{
	struct driver_options opt = { .queue_size = fe->queue_size };

	driver_features = features & fe->passes;
	opt.tx_shape = has_feature(driver_features, VIRTIO_F_INDIRECT_DESC) ? TX_INDIRECT_TWO : TX_TWO;
	driver_init(d, &opt);
}

static int get_features(struct vmm *f, uint64_t wanted, int (*ask)(struct vmm *, uint64_t *),
			uint64_t *answer)
{
	int r = ask(f, answer);

	return r ? r : (*answer & wanted) == wanted ? 0 : VMM_ODD;
}

static int get_queue_num(struct vmm *f, uint64_t least)
{
	uint64_t n;
	int r = vmm_get_queue_num(f, &n);

	return r ? r : n >= least ? 0 : VMM_ODD;
}

/* The header and @size bytes come back, and the bytes are the CID's. */
static int get_config(struct vmm *f, const struct front_end_step *s)
{
	struct { struct vhost_user_config head; uint8_t data[64]; } m = { .head = {
		s->offset, s->size, s->flags,
	} }, reply;
	uint64_t cid = GUEST_CID;
	int r;

	r = vmm_ask(f, VHOST_USER_GET_CONFIG, &m, sizeof m.head + s->size + s->padding,
		    &reply, sizeof m.head + s->size);
	if (r)
		return r;
	return reply.head.offset == s->offset && reply.head.size == s->size &&
		memcmp(reply.data, (uint8_t *)&cid + s->offset, s->size) == 0 ? 0 : VMM_ODD;
}

static int set_config(struct vmm *f, const struct front_end_step *s)
{
	struct { struct vhost_user_config head; uint8_t data[64]; } m = { .head = {
		s->offset, s->size, s->flags,
	} };

	memset(m.data, 0xee, s->size);
	if (f->ack_all)
		return vmm_send_acked(f, VHOST_USER_SET_CONFIG, &m, sizeof m.head + s->size, NULL, 0);
	return vmm_send(f, VHOST_USER_SET_CONFIG, 0, &m, sizeof m.head + s->size, NULL, 0) ?
		0 : VMM_GONE;
}

static int set_features(struct driver *d, uint64_t added)
{
	uint64_t taken = (driver_features & offered) | added;

	for (int q = 0; q < VSOCK_NUM_QUEUES; q++) {
		d->vq[q].event_idx = has_feature(taken, VIRTIO_F_EVENT_IDX);
		d->vq[q].in_order = has_feature(taken, VIRTIO_F_IN_ORDER);
	}
	return vmm_set_features(&d->fe, taken);
}

static uint32_t base_of(const struct guest_ring *r, enum front_end_base base)
{
	switch (base) {
	case BASE_ZERO:
		return 0;
	case BASE_AVAIL:
		return r->published;
	case BASE_USED:
		return guest_ring_used_idx(r);
	case BASE_STOPPED:
		return r->base;
	}
	return UINT32_MAX;
}

/* Something between what was given back and what was offered. */
static int get_base(struct vmm *f, uint32_t q, struct guest_ring *r)
{
	uint16_t used = guest_ring_used_idx(r);
	uint32_t base;
	int error = vmm_get_vring_base(f, q, &base);

	if (error)
		return error;
	if (base > UINT16_MAX || (uint16_t)(base - used) > (uint16_t)(r->published - used))
		return VMM_ODD;
	r->base = (uint16_t)base;
	return 0;
}

static int say(struct driver *d, const struct front_end_step *s, uint32_t q)
{
	struct vmm *f = &d->fe;
	struct guest_ring *r = &d->vq[q];

	switch (s->request) {
	case VHOST_USER_SET_OWNER:
		return vmm_set_owner(f);
	case VHOST_USER_GET_FEATURES:
		return get_features(f, s->value, vmm_get_features, &offered);
	case VHOST_USER_GET_PROTOCOL_FEATURES:
		return get_features(f, s->value, vmm_get_protocol_features, &protocol_offered);
	case VHOST_USER_SET_PROTOCOL_FEATURES:
		return vmm_set_protocol_features(f, s->value & protocol_offered);
	case VHOST_USER_GET_QUEUE_NUM:
		return get_queue_num(f, s->value);
	case VHOST_USER_GET_CONFIG:
		return get_config(f, s);
	case VHOST_USER_SET_CONFIG:
		return set_config(f, s);
	case VHOST_USER_SET_FEATURES:
		return set_features(d, s->value);
	case VHOST_USER_SET_MEM_TABLE:
		return vmm_set_mem_table(f, &d->guest);
	case VHOST_USER_ADD_MEM_REG:
		return vmm_add_mem_reg(f, &d->guest.regions[d->guest.n_regions - 1]);
	case VHOST_USER_SET_VRING_NUM:
		return vmm_set_vring_num(f, q, r->num);
	case VHOST_USER_SET_VRING_ADDR:
		return vmm_set_vring_addr(f, q, r);
	case VHOST_USER_SET_VRING_BASE:
		return vmm_set_vring_base(f, q, base_of(r, s->base));
	case VHOST_USER_GET_VRING_BASE:
		return get_base(f, q, r);
	case VHOST_USER_SET_VRING_KICK:
		return vmm_set_vring_kick(f, q, r->kick_fd);
	case VHOST_USER_SET_VRING_CALL:
		return vmm_set_vring_call(f, q, r->call_fd);
	case VHOST_USER_SET_VRING_ENABLE:
		return vmm_set_vring_enable(f, q, s->value);
	}
	return VMM_ODD;
}

static void say_once(struct driver *d, const struct front_end *fe,
		     const struct front_end_step *s, uint32_t q)
{
	int r;

	d->fe.flags_gets = s->need_reply;
	d->fe.ack_all = s->need_reply && has_feature(d->fe.protocol_features,
						     VHOST_USER_PROTOCOL_F_REPLY_ACK);
	r = say(d, s, q);
	ck_assert_msg(r == (s->is_refused ? 1 : 0), "%s: request %u, ring %u: %d", fe->name,
		      s->request, q, r);
}

/* All rings then have one descriptor, under numbers of their own. */
static void share_call(struct driver *d)
{
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

	ck_assert_int_ge(fd, 0);
	for (int q = 0; q < VSOCK_NUM_QUEUES; q++)
		ck_assert_int_ge(dup3(fd, d->vq[q].call_fd, O_CLOEXEC), 0);
	close(fd);
}

void front_end_say(struct driver *d, const struct front_end *fe,
		   const struct front_end_step *steps)
{
	const struct front_end_step *end;

	if (fe->shares_call && (steps == fe->start || steps == fe->restart))
		share_call(d);
	for (; steps->request; steps = end) {
		end = steps + 1;
		if (!steps->round) {
			say_once(d, fe, steps, 0);
			continue;
		}
		while (end->round == steps->round)
			end++;
		for (uint32_t q = 0; q < VSOCK_NUM_QUEUES; q++)
			for (const struct front_end_step *s = steps; s < end; s++)
				say_once(d, fe, s, q);
	}
	front_end_check_quiet(d);
}

void front_end_check_quiet(struct driver *d)
{
	char byte;

	ck_assert_int_eq(recv(d->fe.sock, &byte, 1, MSG_DONTWAIT), -1);
	ck_assert_int_eq(errno, EAGAIN);
}
