/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A vhost-user front-end over a unix socket, as a VMM has it: one function per
 * request, and below them messages with any header, size, cut and number of fds.
 *
 * With ack_all set each request without a reply of its own asks for an
 * acknowledgement (REPLY_ACK) and the function returns what the back-end said;
 * otherwise 0 means only that the message went out.
 *
 * Return values: 0 or the back-end's non-zero refusal; FRONTEND_GONE when the
 * back-end closed the connection; FRONTEND_SILENT when the deadline passed;
 * FRONTEND_ODD when the reply is not one (wrong request, flags or size).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol/vhost_user.h"
#include "support/guest.h"
#include "support/vring.h"

enum { FRONTEND_GONE = -1, FRONTEND_SILENT = -2, FRONTEND_ODD = -3 };
enum { FRONTEND_BODY_MAX = 8192, FRONTEND_FDS_MAX = 64 };

struct frontend {
	int sock;
	bool ack_all;
	int reply_ms;				/* how long to wait for a reply */
	uint64_t features, protocol_features;	/* acknowledged by us */
};

struct frontend_msg {
	struct vhost_user_hdr hdr;
	uint8_t body[FRONTEND_BODY_MAX];
};

/* False when nobody listens at @path or the connection was refused. */
bool frontend_connect(struct frontend *f, const char *path);
void frontend_close(struct frontend *f);
/* True when the back-end has closed or closes within the deadline. */
bool frontend_is_closed(struct frontend *f, int ms);

/* Bytes as they are; the fds go with the first. False: connection lost. */
bool frontend_send_bytes(struct frontend *f, const void *bytes, size_t len,
			 const int *fds, unsigned n_fds);
bool frontend_send(struct frontend *f, uint32_t request, uint32_t flags,
		   const void *body, size_t size, const int *fds, unsigned n_fds);
/* The next message from the back-end; 0 or FRONTEND_*. */
int frontend_recv(struct frontend *f, struct frontend_msg *m);
/* Sends with NEED_REPLY and waits for the acknowledgement. */
int frontend_send_acked(struct frontend *f, uint32_t request, const void *body,
			size_t size, const int *fds, unsigned n_fds);
/* Sends and receives a reply of exactly @reply_size bytes. */
int frontend_ask(struct frontend *f, uint32_t request, const void *body,
		 size_t size, void *reply, size_t reply_size);

int frontend_get_features(struct frontend *f, uint64_t *features);
int frontend_set_features(struct frontend *f, uint64_t features);
int frontend_get_protocol_features(struct frontend *f, uint64_t *features);
int frontend_set_protocol_features(struct frontend *f, uint64_t features);
int frontend_get_queue_num(struct frontend *f, uint64_t *n);
int frontend_get_max_mem_slots(struct frontend *f, uint64_t *n);
int frontend_set_owner(struct frontend *f);
int frontend_reset_owner(struct frontend *f);
int frontend_reset_device(struct frontend *f);
int frontend_get_config(struct frontend *f, uint32_t offset, uint32_t size,
			void *data);
int frontend_set_config(struct frontend *f, uint32_t offset, uint32_t size,
			const void *data);
int frontend_set_mem_table(struct frontend *f, const struct guest *g);
int frontend_add_mem_reg(struct frontend *f, const struct guest_region *r);
int frontend_rem_mem_reg(struct frontend *f, const struct guest_region *r);
int frontend_set_vring_num(struct frontend *f, uint32_t q, uint32_t num);
int frontend_set_vring_base(struct frontend *f, uint32_t q, uint32_t base);
int frontend_get_vring_base(struct frontend *f, uint32_t q, uint32_t *base);
int frontend_set_vring_addr(struct frontend *f, uint32_t q, const struct vring *r);
int frontend_set_vring_kick(struct frontend *f, uint32_t q, int fd);
int frontend_set_vring_call(struct frontend *f, uint32_t q, int fd);
int frontend_set_vring_err(struct frontend *f, uint32_t q, int fd);
int frontend_set_vring_enable(struct frontend *f, uint32_t q, bool enable);
