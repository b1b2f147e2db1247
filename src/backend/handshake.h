/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Host clients until they have said their line, "CONNECT <port>\n" (protocol/hybrid.h); of
 * SOCK_SEQPACKET it is a message.
 *
 * The attackers are host programs: they connect and say nothing, little or too much, and
 * leave at any moment. A client that says nothing costs one descriptor for a bounded time,
 * and the oldest goes when there are too many. A client that has said its line is handed
 * on with what it sent after that; any other reads an end of stream.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "util/list.h"
#include "util/log_limit.h"
#include "util/loop.h"
#include "util/loop_move.h"
#include "vsock/backend.h"

struct blob;
struct blob_reader;

struct handshake_result {
	int fd;					/* to be taken over */
	uint32_t port;				/* of the guest */
	const char *early;			/* what came after the line; valid in the call */
	size_t n_early;				/* bytes, less than HYBRID_LINE_MAX; 0 if not SOCK_STREAM */
	/* Bytes of the line that are still to be read from the socket, before what comes after it:
	 * all or none. To read a program's bytes wakes it, where it waits for an answer in read(2):
	 * right after the answer it is awake. Not on one CPU, see sock_unread.h. */
	size_t n_unread;
	bool has_more;				/* ... and what comes after it is there */
};

struct handshakes_config {
	struct loop *loop;			/* borrowed, as all here */
	int socket_type;			/* SOCK_STREAM, SOCK_SEQPACKET */
	const char *tag, *path;			/* for log lines; where the clients connect */
	size_t *n_all;				/* clients of all that share the limit; NULL: none do */
	uint32_t max;				/* one more, and the oldest is closed; may be
						   changed, as the next: */
	uint32_t timeout_ms;			/* for the line */
	bool may_have_rights;			/* clients can pass descriptors */
	bool is_held;				/* reads nothing before handshakes_resume() */
	void (*done)(void *ctx, const struct handshake_result *result);
	void (*counted)(void *ctx, enum backend_handshake how);	/* one is over; or NULL */
	void *ctx;
};

struct handshakes {
	struct handshakes_config config;
	struct list clients;			/* struct handshake, oldest first */
	size_t n;
	struct log_once failures;		/* enum failure */
};

void handshakes_init(struct handshakes *hs, const struct handshakes_config *config);
void handshakes_deinit(struct handshakes *hs);	/* closes them all */
void handshakes_move(struct handshakes *hs, struct loop_move *m);	/* not while it is held */

/* A client has connected: takes @fd over. Most often its line is there already: then done()
 * is called from within. */
void handshakes_add(struct handshakes *hs, int fd);

/*
 * State: one section, of all clients. handshakes_load(), while it is held and has none: 0;
 * HANDSHAKES_E_BAD_STATE, -errno: and has none. Where more are saved than it may have, the
 * oldest are closed.
 */
enum { HANDSHAKES_E_BAD_STATE = 1 };
void handshakes_save(const struct handshakes *hs, struct blob *out);
int handshakes_load(struct handshakes *hs, struct blob_reader *in);
void handshakes_resume(struct handshakes *hs);	/* also if it is not held */
