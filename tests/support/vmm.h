/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A vhost-user front-end over a unix socket, as a VMM has it: one function per
 * request, and below them messages with any header, size, cut and number of fds.
 *
 * With ack_all set each request without a reply of its own asks for an
 * acknowledgement (REPLY_ACK) and the function returns what the back-end said;
 * otherwise 0 means only that the message went out.
 *
 * Return values: 0 or the back-end's non-zero refusal; VMM_GONE when the
 * back-end closed the connection; VMM_SILENT when the deadline passed;
 * VMM_ODD when the reply is not one (wrong request, flags or size).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol/vhost_user.h"
#include "support/guest.h"
#include "support/guest_ring.h"

enum { VMM_GONE = -1, VMM_SILENT = -2, VMM_ODD = -3 };
enum { VMM_BODY_MAX = 8192, VMM_FDS_MAX = 64, VMM_REGIONS_MAX = 64 };

struct vmm {
	int sock;
	bool ack_all;
	bool flags_gets;			/* NEED_REPLY also where there is a reply anyhow */
	int reply_ms;				/* how long to wait for a reply */
	uint64_t features, protocol_features;	/* acknowledged by us */
};

struct vmm_msg {
	struct vhost_user_hdr hdr;
	uint8_t body[VMM_BODY_MAX];
};

/* False when nobody listens at @path or the connection was refused. */
bool vmm_connect(struct vmm *f, const char *path);
/* A socketpair instead, whose other end is returned. A reply has to be there when it is
 * asked for. */
int vmm_pair(struct vmm *f);
void vmm_close(struct vmm *f);
/* True when the back-end has closed or closes within the deadline. */
bool vmm_is_closed(struct vmm *f, int ms);

/* Bytes as they are; the fds go with the first. False: connection lost. */
bool vmm_send_bytes(struct vmm *f, const void *bytes, size_t len,
		    const int *fds, unsigned n_fds);
bool vmm_send(struct vmm *f, uint32_t request, uint32_t flags,
	      const void *body, size_t size, const int *fds, unsigned n_fds);
/* The next message from the back-end; 0 or VMM_*. */
int vmm_recv(struct vmm *f, struct vmm_msg *m);
/* Sends with NEED_REPLY and waits for the acknowledgement. */
int vmm_send_acked(struct vmm *f, uint32_t request, const void *body,
		   size_t size, const int *fds, unsigned n_fds);
/* Sends and receives a reply of exactly @reply_size bytes. */
int vmm_ask(struct vmm *f, uint32_t request, const void *body,
	    size_t size, void *reply, size_t reply_size);

int vmm_get_features(struct vmm *f, uint64_t *features);
int vmm_set_features(struct vmm *f, uint64_t features);
int vmm_get_protocol_features(struct vmm *f, uint64_t *features);
int vmm_set_protocol_features(struct vmm *f, uint64_t features);
int vmm_get_queue_num(struct vmm *f, uint64_t *n);
int vmm_get_max_mem_slots(struct vmm *f, uint64_t *n);
int vmm_set_owner(struct vmm *f);
int vmm_reset_owner(struct vmm *f);
int vmm_reset_device(struct vmm *f);
int vmm_get_config(struct vmm *f, uint32_t offset, uint32_t size,
		   void *data);
int vmm_set_config(struct vmm *f, uint32_t offset, uint32_t size,
		   const void *data);
int vmm_set_mem_table(struct vmm *f, const struct guest *g);
int vmm_add_mem_reg(struct vmm *f, const struct guest_region *r);
int vmm_rem_mem_reg(struct vmm *f, const struct guest_region *r);
int vmm_set_vring_num(struct vmm *f, uint32_t q, uint32_t num);
int vmm_set_vring_base(struct vmm *f, uint32_t q, uint32_t base);
int vmm_get_vring_base(struct vmm *f, uint32_t q, uint32_t *base);
int vmm_set_vring_addr(struct vmm *f, uint32_t q, const struct guest_ring *r);
int vmm_set_vring_kick(struct vmm *f, uint32_t q, int fd);
int vmm_set_vring_call(struct vmm *f, uint32_t q, int fd);
int vmm_set_vring_err(struct vmm *f, uint32_t q, int fd);
int vmm_set_vring_enable(struct vmm *f, uint32_t q, bool enable);
