/* SPDX-License-Identifier: BSD-3-Clause */
/* What the files of the unix-socket backend share: uds.c (host programs that connect, life),
 * uds_connect.c (the guest's connects). */
#pragma once

#include "backend/dial.h"
#include "backend/handshake.h"
#include "backend/uds.h"
#include "util/acceptor.h"

struct uds {
	struct backend base;
	struct uds_config config;
	struct listener listener;
	struct acceptor acceptor;
	struct handshakes handshakes;
	struct dialer dialer;
};

struct uds *uds_of(struct backend *b);

/* ---- uds_connect.c ---- */

/* As in backend_ops. */
int uds_connect(struct backend *b, const struct vsock_addr *src, const struct vsock_addr *dst,
		struct stream **out);
void uds_explain(struct backend *b, const struct vsock_addr *dst, int error, char *text,
		 size_t size);

/* As in dialer_config; @ctx: the backend's. */
int uds_try_port(void *ctx, int fd, uint32_t port);
