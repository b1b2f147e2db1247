/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Payload of consecutive packets of one connection, on its way to the host by one
 * write; or whole messages of one, by one call for several. Large payloads are described
 * where they lie; small ones are copied together, since a system call spends more on an
 * iovec than copying a few hundred bytes takes.
 *
 * What is described lies in guest memory and must be flushed before that is given back.
 * Memory may have been lost since (gmem.h): then what was gathered is not what the guest
 * sent, and is dropped. When the connection dies, gather_clear() must drop what was
 * gathered for it.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "util/iov.h"
#include "vsock/stream.h"

struct conn;

enum {
	GATHER_IOVS = 1024,			/* as many as sendmsg takes: UIO_MAXIOV */
	GATHER_SMALLS = 32 * 1024,		/* bytes of small payloads */
};

struct gather_scratch {				/* lent to one gather at a time */
	struct iovec iov[GATHER_IOVS];
	char smalls[GATHER_SMALLS];
	struct stream_message messages[STREAM_MESSAGES_MAX];
};

struct gather {
	struct gather_scratch *scratch;		/* borrowed */
	struct conn *conn;			/* NULL: nothing is gathered */
	size_t n, len;				/* iovecs, bytes */
	size_t n_smalls;			/* bytes in scratch->smalls */
	size_t n_messages;			/* whole ones, of the first ... */
	size_t n_whole, whole_len;		/* ... iovecs, and bytes */
	bool (*is_lost)(void *ctx);		/* is guest memory? NULL: it cannot be */
	void *ctx;
};

void gather_clear(struct gather *g);

/* Adds @len bytes of @payload for @c, the only connection since the last flush. Writes when it
 * is full, or when @flags, of the packet, say that a message ends and the stream takes one at a
 * time: which may change the state of @c. */
void gather_add(struct gather *g, struct conn *c, struct iov_cur *payload, size_t len,
		uint32_t flags);

/* Writes what there is. Returns its connection, which is to be finished, or NULL. */
struct conn *gather_flush(struct gather *g);
