/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The journal of one device, a memfd that cannot shrink or grow:
 *
 *   0                   struct journal_head
 *   JOURNAL_COPY_AT     two copies of the facts, each of JOURNAL_COPY_BYTES: a struct
 *                       journal_copy, the slots of the descriptors that the facts name, in
 *                       the order of their numbers there, and the facts: a blob
 *   JOURNAL_NAMES_AT    names of live connections: vsock/conn_names.h
 *
 * Numbers are the machine's own. A page is not there before it is written to, so that all of
 * it costs what is used of it.
 */
#pragma once

#include <assert.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/socket.h>

enum {
	JOURNAL_VERSION = 1,
	JOURNAL_COPY_AT = 4096,
	JOURNAL_COPY_BYTES = 64 * 1024,
	JOURNAL_NAMES_AT = JOURNAL_COPY_AT + 2 * JOURNAL_COPY_BYTES,
	JOURNAL_NAMES_MAX = 64 * 1024 * 1024,	/* bytes */
	JOURNAL_SLOTS_MAX = 1023,		/* of a device, with the journal's own */
};

#define JOURNAL_MAGIC	"vsockjnl"

enum {						/* bits of journal_head.state */
	JOURNAL_COPY = 1,			/* which one holds: the first, the second */
	JOURNAL_SETTLED = 2,			/* what it announces is done */
	JOURNAL_COMMIT = 4,			/* and from here on: how many there were */
};

struct journal_head {
	char magic[8];
	uint32_t version, copy_bytes;
	uint64_t names_bytes;
	_Atomic uint64_t state;			/* 0: the facts are void */
	struct msghdr receipt;			/* what the kernel wrote when the last piece of a
						   message was taken: vhost/msg.h */
};

struct journal_copy {
	uint32_t n_slots, len;			/* len: bytes of the facts */
	uint32_t slots[];
};
