/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The packet core as a backend sees it: it keeps the streams that it is given, and writes
 * down what it is told. Streams are named by their place in core_streams.
 */
#pragma once

#include "util/loop.h"
#include "vsock/backend.h"

enum { CORE_STREAMS = 64 };

struct mux {					/* the only one: core */
	struct loop *loop;
	struct backend *backend;		/* explains what failed */
	bool is_stopped;			/* no guest takes connections */
	struct stream *streams[CORE_STREAMS];	/* NULL: none, or closed by the core */
	struct vsock_addr guests[CORE_STREAMS];	/* who has, or was called by, that one */
	int errors[CORE_STREAMS];		/* how its connect ended; 0: well, or not yet */
	char why[320];				/* of the last that failed, for people */
	size_t n_streams;
	unsigned n_ready, n_connected;
};

extern struct mux core;

void core_begin(void);				/* with a loop, and without a backend */
void core_end(void);				/* closes all streams, frees the backend */

/* The guest connects from port 1024 + @i, which must be the next, to @port of the host.
 * What backend_ops::connect() returned. */
int core_connect(size_t i, uint32_t port);
void core_close(size_t i);
void core_close_all(void);

void core_run_until_connected(unsigned n);	/* so many have been told */
void core_run_for(int ms);

/* The stream reads, or takes, just that. */
void core_expect(size_t i, const char *text);
void core_write(size_t i, const char *text);
