/* SPDX-License-Identifier: BSD-3-Clause */
/* The front-end's side of a vhost-user socket: sends any message, takes answers. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol/vhost_user.h"

enum { FRONTEND_FDS_MAX = 40 };

struct frontend {
	int sock;				/* ours */
	int other;				/* the back-end's */
};

struct frontend_answer {
	struct vhost_user_hdr hdr;
	union {
		uint64_t u64;
		struct vhost_user_vring_state state;
		uint8_t bytes[8192];
	} payload;
};

void frontend_init(struct frontend *f);
void frontend_deinit(struct frontend *f);

/* Any bytes, with @n_fds descriptors (all of them standard error). */
void frontend_send_bytes(struct frontend *f, const void *bytes, size_t len, unsigned n_fds);

/* A message, with these descriptors. */
void frontend_send(struct frontend *f, uint32_t request, uint32_t flags, const void *payload,
		   size_t len, const int *fds, unsigned n_fds);

/* False: there is no answer. */
bool frontend_take(struct frontend *f, struct frontend_answer *out);
