/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One socket of the unix-socket backend: a socket stream that first collects
 * the client's CONNECT line, or tries again to connect.
 */
#pragma once

#include "backend/dial.h"
#include "backend/sock_stream.h"
#include "protocol/hybrid.h"
#include "util/list.h"
#include "util/loop.h"

struct uds;

struct uds_stream {
	struct sock_stream sock;
	bool from_host;				/* wants to read an OK */
	uint8_t line_len;
	char line[HYBRID_LINE_MAX];

	/* Before it is live: the handshake or the connect that waits. */
	struct uds *owner;
	void (*handshake_ready)(struct uds_stream *s);
	struct loop_timer timer;
	struct list link;			/* uds::handshakes */
	struct dialer *dialer;			/* NULL: a host client */
	struct dial dial;
};

/* Takes @fd over, also on failure. 0 or -errno. */
int uds_stream_new(struct uds_stream **out, struct loop *loop, struct mux *mux, int fd);
void uds_stream_free(struct uds_stream *s);
void uds_stream_hang_up(struct uds_stream *s);	/* the same, as unix_hang_up() */

/* Handshake or connect are over: events go to the core. */
void uds_stream_go_live(struct uds_stream *s);

/*
 * Collects the first line in s->line, without its newline; what is read behind
 * it is the stream's first payload. 0; STREAM_E_AGAIN; STREAM_E_EOF; -EMSGSIZE:
 * too long; -errno.
 */
int uds_stream_read_line(struct uds_stream *s);
