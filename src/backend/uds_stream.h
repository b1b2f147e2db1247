/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One connected, or connecting, unix socket of the unix-socket backend, as a
 * stream of the packet core.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "protocol/hybrid.h"
#include "util/list.h"
#include "util/loop.h"
#include "vsock/backend.h"

struct uds;

struct uds_stream {
	struct stream base;
	int fd;					/* owned, non-blocking */
	bool is_live;				/* the core has it, or is about to */
	bool from_host;				/* wants to read an OK */
	bool saw_rdhup;				/* an end is behind the data */
	bool wants_out, has_out;		/* interest; registered with EPOLLOUT */
	uint8_t idle_outs;			/* EPOLLOUTs in a row that nobody wanted */
	struct loop *loop;
	struct mux *mux;
	struct loop_source source;

	/* Before it is live: the handshake or the retried connect. */
	struct uds *owner;
	void (*handshake_ready)(struct uds_stream *s);
	struct loop_timer timer;
	struct list link;			/* uds::handshakes */
	uint64_t give_up_ms;
	uint32_t connect_port;
	uint8_t line_len;
	char line[HYBRID_LINE_MAX];
};

/* Takes @fd over, also on failure. 0 or -errno. */
int uds_stream_new(struct uds_stream **out, struct loop *loop, struct mux *mux, int fd);
void uds_stream_free(struct uds_stream *s);

/* Events come from now on. 0 or -errno. */
int uds_stream_register(struct uds_stream *s);

/* Handshake or connect are over: events go to the core. */
void uds_stream_go_live(struct uds_stream *s);

/*
 * Collects the first line, up to and not beyond its newline, in s->line without
 * it. 0; STREAM_E_AGAIN; STREAM_E_EOF; -EMSGSIZE: too long; -errno.
 */
int uds_stream_read_line(struct uds_stream *s);
