/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The packet core as a backend sees it: it keeps the streams that it is given, and writes
 * down what it is told. Streams are named by their place in core_streams.
 */
#pragma once

#include "util/blob.h"
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
	unsigned handshakes[BACKEND_NUM_HANDSHAKES];	/* how they have ended */
};

extern struct mux core;

void core_begin(void);				/* with a loop, and without a backend */
void core_end(void);				/* closes all streams, frees the backend */

/* The guest connects from port 1024 + @i, which must be the next, to @port of the host.
 * What backend_ops::connect() returned. */
int core_connect(size_t i, uint32_t port);
int core_connect_by_type(size_t i, enum vsock_type type, uint32_t port);
void core_close(size_t i);
void core_close_all(void);

void core_run_until_connected(unsigned n);	/* so many have been told */
void core_run_for(int ms);

/*
 * Another process takes over, scripted in this one: what there is, is saved into core_blob and
 * put aside; core begins anew, and the test gives it a backend that is held. core_load() loads
 * from @bytes, most often core_blob's, with duplicates of its descriptors: 0 or as load() and
 * load_stream(), and then nothing is left. Then either the old process ends, its descriptors
 * with it, and the new one goes on; or the new one ends, and the old one goes on.
 */
extern struct blob core_blob;
void core_hand_over(void);
int core_load(const uint8_t *bytes, size_t n);
void core_resume(void);
void core_go_back(void);
void core_save(struct blob *out);

/* The stream reads, or takes, just that. */
void core_expect(size_t i, const char *text);
int core_read(size_t i, char *to, size_t size, size_t *n);
void core_expect_end(size_t i, int end);	/* STREAM_E_* */
void core_write(size_t i, const char *text);
