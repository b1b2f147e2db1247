/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A connected unix socket as a stream of the packet core: what is particular to hybrid
 * vsock. A host client reads an OK when the guest has accepted it.
 */
#pragma once

#include "backend/sock_stream.h"
#include "protocol/hybrid.h"

struct uds_stream_config {
	struct loop *loop;			/* borrowed, as the mux is */
	struct mux *mux;
	int fd;					/* taken over, also on failure */
	bool may_have_rights;			/* descriptors may come with the bytes */
	bool from_host;				/* it wants to read an OK, and may have said more */
	const char *early;			/* bytes that it has sent; copied */
	size_t n_early;				/* less than HYBRID_LINE_MAX */
};

/* Makes a live stream, whose events go to the core. 0 or -errno. */
int uds_stream_new(struct stream **out, const struct uds_stream_config *config);

/* Closes one that the core has not taken; its peer reads an end. */
void uds_stream_hang_up(struct stream *base);
