/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The plug between the packet core and what is on the other side of a
 * connection: a backend makes streams, a stream moves bytes.
 *
 * Operations go down (core to stream) and never call back; events come up by
 * the mux_*() functions at the end, from the event loop, never from within an
 * operation. An instance embeds its struct; the downcast asserts the table.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "vsock/pkt.h"

struct conn;
struct mux;
struct stream;
struct backend;

enum {
	STREAM_E_AGAIN = 1,			/* not now; an event will tell */
	STREAM_E_EOF,				/* the peer writes no more, but may read */
	STREAM_E_CLOSED,			/* the peer neither writes nor reads any more */
};

enum {						/* stream::ready, interest */
	STREAM_IN = 1,				/* read may give something, or an end */
	STREAM_OUT = 2,				/* write may take something */
	STREAM_HUP = 4,				/* closed completely: seen by the backend */
	STREAM_DEAF = 8,			/* reads no more: seen by it, where it can be */
};

struct stream_ops {
	const char *name;
	/* 0 and *n > 0; STREAM_E_AGAIN; STREAM_E_EOF or STREAM_E_CLOSED, behind
	 * the last byte; -errno: stream dead. Clears STREAM_IN in s->ready when
	 * it knows that the next would be STREAM_E_AGAIN. Never blocks. */
	int (*read)(struct stream *s, const struct iovec *v, int nv, size_t *n);
	/* 0 and *n > 0; STREAM_E_AGAIN; -errno: nothing can be written any more,
	 * reading may go on. Clears STREAM_OUT in s->ready likewise. */
	int (*write)(struct stream *s, const struct iovec *v, int nv, size_t *n);
	/* @how as for shutdown(2). 0 or -errno. */
	int (*shutdown)(struct stream *s, int how);
	/* Of all that was read the guest has consumed @total bytes, modulo 2^32. Only for
	 * streams with ->consumed; others may leave it out. */
	void (*consumed)(struct stream *s, uint32_t total);
	/* The guest has accepted this host-initiated stream as @guest. */
	void (*accepted)(struct stream *s, const struct vsock_addr *guest);
	/* The events of STREAM_IN and STREAM_OUT that make a difference now. With
	 * STREAM_OUT an event must come once write can take something, also where
	 * the last write was short and STREAM_OUT is still set. */
	void (*wait_for)(struct stream *s, unsigned events);
	/* Frees s. @is_orderly: the guest had finished and all of it was written;
	 * otherwise the peer is to see a reset, where its kind knows one. */
	void (*close)(struct stream *s, bool is_orderly);
};

struct stream {
	const struct stream_ops *ops;
	struct conn *conn;			/* set by the core; NULL before */
	unsigned ready;				/* STREAM_*: kept by the backend */

	/*
	 * Where the peer is a guest too: how many of the bytes written it has consumed,
	 * modulo 2^32, which may change at any time and is told by an event; and how many
	 * it may have on the way to our guest, from the first event on. NULL and 0 for a host
	 * program: what it has taken is its own and no longer ours to count.
	 */
	const _Atomic uint32_t *consumed;
	uint32_t peer_window;			/* bytes */
};

enum { BACKEND_E_PENDING = 1 };

struct backend_ops {
	const char *name;
	/* Does this backend answer for @cid? */
	bool (*serves)(struct backend *b, uint64_t cid);
	/* Opens a stream from the guest's @src to @dst. 0; BACKEND_E_PENDING: *out
	 * is there, mux_stream_connected() tells the outcome; -errno: refused. */
	int (*connect)(struct backend *b, const struct vsock_addr *src,
		       const struct vsock_addr *dst, struct stream **out);
	/* Says, for an operator, what is wrong and what to do where connecting to @dst
	 * ended in @error. May look at the file system. */
	void (*explain)(struct backend *b, const struct vsock_addr *dst, int error,
			char *text, size_t size);
	void (*free)(struct backend *b);	/* all its streams are closed by then */
};

struct backend {
	const struct backend_ops *ops;
};

/* ---- from the backend to the core; now_ms: monotonic milliseconds ---- */

/* Is a guest there that can take connections? */
bool mux_is_running(const struct mux *mux);

/* What a backend buffers for the guest comes out of this. Its references are taken and
 * given up in the thread of the mux, or when that has ended. */
struct byte_budget *mux_budget(struct mux *mux);

/* @n siblings may connect to the guest: each gets its share of the connections. Before
 * the first does. */
void mux_set_siblings(struct mux *mux, size_t n);

/* Bytes that the guest may have on the way to another guest, which has not consumed them:
 * twice what it may send ahead of a host program, for we hold one part of them, and the
 * receiver the other. */
uint32_t mux_window(const struct mux *mux);

/*
 * A stream that wants to talk to the guest's @port: of a host program, whose port at
 * the CID @host_cid is chosen here; or of a sibling's guest at @from. 0: @stream is
 * taken over. Otherwise the caller keeps it: -ENOTCONN: no guest is running; -ENOBUFS:
 * too many connections (siblings get half of them, see shares.h); -EADDRINUSE; -ENOMEM.
 */
int mux_connect_from_host(struct mux *mux, struct stream *stream, uint64_t host_cid,
			  uint32_t port, uint64_t now_ms);
int mux_connect_from_sibling(struct mux *mux, struct stream *stream,
			     const struct vsock_addr *from, uint32_t port, uint64_t now_ms);

/* s->ready has changed. */
void mux_stream_ready(struct mux *mux, struct stream *s, uint64_t now_ms);
/* After BACKEND_E_PENDING: 0 or -errno. A failed stream is closed. */
void mux_stream_connected(struct mux *mux, struct stream *s, int error, uint64_t now_ms);
