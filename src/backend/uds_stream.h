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
	enum vsock_type type;			/* of the socket: */
	int fd;					/* taken over, also on failure */
	bool is_shared;				/* somebody else has opened it, and may have it still */
	bool may_have_rights;			/* descriptors may come with the bytes */
	bool from_host;				/* it wants to read an OK, and may have said more */
	const char *early;			/* bytes that it has sent; copied */
	size_t n_early;				/* less than HYBRID_LINE_MAX */
	size_t n_unread;			/* of its line: as handshake_result, likewise less */
	bool has_more;
};

/* Makes a live stream, whose events go to the core. 0 or -errno. */
int uds_stream_new(struct stream **out, const struct uds_stream_config *config);

/* The section of a stream of this backend begins with its kind, a byte. */
#define UDS_STREAM_TAG BLOB_TAG('U', 'D', 'S', 'S')
enum {
	UDS_STREAM_VERSION_READ = 1,		/* without bytes that are still in the socket */
	UDS_STREAM_VERSION,
};
enum {
	UDS_STREAM_CONNECTED,
	UDS_STREAM_PENDING,
	UDS_STREAM_SEQPACKET_CONNECTED,		/* the same for VSOCK_TYPE_SEQPACKET */
	UDS_STREAM_SEQPACKET_PENDING,
};

/* @in: what follows the kind, of a section of @version. Makes the stream again, as
 * backend_ops::load_stream(). */
int uds_stream_load(struct stream **out, enum vsock_type type, struct loop *loop,
		    struct mux *mux, uint32_t version, struct blob_reader *in);

/* Closes one that the core has not taken; its peer reads an end. */
void uds_stream_hang_up(struct stream *base);
