/* SPDX-License-Identifier: BSD-3-Clause */
/* What the files of the unix-socket backend share: uds.c (host programs that connect, life),
 * uds_connect.c (the guest's connects). */
#pragma once

#include "backend/dial.h"
#include "backend/handshake.h"
#include "backend/uds.h"
#include "util/acceptor.h"

struct uds_door {				/* where host programs come in */
	struct uds_entrance *entrance;
	struct listener listener;
	struct acceptor acceptor;
};

struct uds_entrance {				/* for one type of sockets */
	struct uds *owner;
	enum vsock_type type;
	struct uds_door doors[2], *door;	/* the one that is open; both, for a moment; or none */
	struct handshakes handshakes;
};

struct uds {
	struct backend base;
	struct uds_config config;		/* with copies: */
	char *path;				/* owned, as host_cids */
	uint64_t *host_cids;
	struct uds_entrance streams, seqpackets;
	size_t n_handshakes;			/* of both */
	struct dialer dialer;
	struct list asked;			/* struct pending, in the order of their ids */
	uint32_t last_id;
	int told;				/* the answer that is being passed on; 0: none */
	bool could_not_ask;			/* for the connect that has come to nothing */
};

struct uds *uds_of(struct backend *b);

/* ---- uds_connect.c ---- */

/* As in backend_ops. */
int uds_connect(struct backend *b, enum vsock_type type, const struct vsock_addr *src,
		const struct vsock_addr *dst, struct stream **out);
void uds_explain(struct backend *b, const struct vsock_addr *dst, int error, char *text,
		 size_t size);

int uds_load_stream(struct backend *b, const struct vsock_addr *guest,
		    const struct vsock_addr *peer, struct blob_reader *in, struct stream **out);

/* As in dialer_config; @ctx: the struct uds, whose connects all dials are. */
int uds_try_again(void *ctx, struct dial *d, uint32_t port);
