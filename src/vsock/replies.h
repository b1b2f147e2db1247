/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * RSTs of no connection, until the guest has buffers for them: they answer a packet of none,
 * or are of one whose place was needed. The guest can provoke as many as it likes and take
 * none: so their pool has a fixed size, and while it is full the device leaves the TX ring
 * alone (virtio 1.2, 5.10.6.1).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "vsock/conn_names.h"
#include "vsock/pkt.h"
#include "vsock/rx.h"

enum { REPLIES_MAX = 256 };

struct blob;
struct blob_reader;

struct replies {
	struct reply *pool;			/* NULL before the first */
	size_t first, n;
	struct conn_names *names;		/* borrowed; each has one until it is sent */
};

enum { REPLIES_E_BAD_STATE = 1 };		/* what was saved cannot be believed */

void replies_init(struct replies *r, struct conn_names *names);

/* Adds an RST from @peer to @guest, whose sockets are of @type. False: memory or room is lacking. */
bool replies_add(struct replies *r, unsigned type, const struct vsock_addr *guest,
		 const struct vsock_addr *peer);

/* Sends as many as there are buffers for. False: some are left. */
bool replies_send(struct replies *r, const struct rx_sink *rx);

/*
 * Names that an earlier process left. The first of that name without a @row takes it; false:
 * there is none. An RST with that row is added; false: dropped. Those still without a row get
 * one.
 */
bool replies_take_row(struct replies *r, const struct conn_name *name, uint32_t row);
bool replies_add_lost(struct replies *r, const struct conn_name *name, uint64_t guest_cid,
		      uint32_t row);
void replies_add_rows(struct replies *r);

void replies_clear(struct replies *r);

/* One section. replies_load: 0; REPLIES_E_BAD_STATE; -ENOMEM. */
void replies_save(const struct replies *r, struct blob *out);
int replies_load(struct replies *r, struct blob_reader *in, uint64_t guest_cid);

void replies_deinit(struct replies *r);
