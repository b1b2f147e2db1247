/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The other side of a connection, as the packet core sees it: something that bytes are
 * read from and written to. Backends (backend.h) make streams.
 *
 * Operations go down and never call back, but for a write between two guests, which may give
 * the other guest's mux a turn (mux_push()); events come up by mux_stream_ready() and
 * mux_stream_connected(), from the event loop, never from within an operation. An instance
 * embeds its struct; the downcast asserts the table.
 */
#pragma once

#include <stdint.h>
#include <sys/uio.h>

#include "vsock/pkt.h"

struct blob;
struct conn;
struct loop_move;
struct stream;

enum {
	STREAM_E_AGAIN = 1,			/* not now; an event will tell */
	STREAM_E_EOF,				/* the peer writes no more, but may read */
	STREAM_E_CLOSED,			/* the peer neither writes nor reads any more */
	STREAM_E_NO_READER,			/* the peer reads no more, but may write */
	STREAM_E_RESET,				/* it is gone, and may not have taken all */
	STREAM_E_TOO_LONG,			/* no such long message can be passed on */
};

enum {						/* stream::ready, interest */
	STREAM_IN = 1,				/* read may give something, or an end */
	STREAM_OUT = 2,				/* write may take something */
	STREAM_HUP = 4,				/* closed both ways, as the backend saw */
	STREAM_READ_CLOSED = 8,			/* reads no more, where the backend can see it */
	STREAM_LOST = 16,			/* with STREAM_HUP: closed without having read all */
};

/* One of several messages, one after the other in the same iovecs. */
struct stream_message {
	size_t n, len;				/* iovecs; bytes in them */
	uint32_t flags;				/* VSOCK_SEQ_EOR */
};

enum { STREAM_MESSAGES_MAX = 16 };		/* written at once */

struct stream_ops {
	/* 0 and *n > 0; STREAM_E_AGAIN; STREAM_E_EOF or STREAM_E_CLOSED, after
	 * the last byte; STREAM_E_RESET or -errno: stream dead. Clears STREAM_IN in
	 * s->ready when it knows that the next would be STREAM_E_AGAIN. Never blocks. */
	int (*read)(struct stream *s, const struct iovec *v, int nv, size_t *n);
	/* 0 and *n > 0; STREAM_E_AGAIN; STREAM_E_NO_READER or STREAM_E_RESET: nothing
	 * can be written any more, reading may go on; -errno: stream dead. Clears
	 * STREAM_OUT in s->ready likewise. Never blocks. */
	int (*write)(struct stream *s, const struct iovec *v, int nv, size_t *n);
	/*
	 * The same in messages, for streams of VSOCK_TYPE_SEQPACKET, which have these instead:
	 * one whole message, of *n bytes or none at all, with its VSOCK_SEQ_EOR in *flags.
	 * STREAM_E_TOO_LONG: it is longer than the peer can ever take, or, reading, than @v: it is
	 * lost, and *n 0, or still there and of *n bytes. The rest as above.
	 */
	int (*read_message)(struct stream *s, const struct iovec *v, int nv, size_t *n,
			    uint32_t *flags);
	int (*write_message)(struct stream *s, const struct iovec *v, int nv, uint32_t flags);
	/* Where it costs less than one by one: up to STREAM_MESSAGES_MAX of them. Returns how many
	 * it has taken, the first ones; what is the matter with the next, write_message() says.
	 * Others may leave it out. */
	size_t (*write_messages)(struct stream *s, const struct iovec *v,
				 const struct stream_message *m, size_t n);
	/* @how as for shutdown(2). 0 or -errno. */
	int (*shutdown)(struct stream *s, int how);
	/* Of all that was read the guest has consumed @total bytes, modulo 2^32. Only for
	 * streams with ->consumed; others may leave it out. */
	void (*consumed)(struct stream *s, uint32_t total);
	/* The guest may have @bytes on the way to the peer: another number than before, and than
	 * mux_window() before the first call. As consumed(). */
	void (*window)(struct stream *s, uint32_t bytes);
	/* The guest has accepted this host-initiated stream as @guest. */
	void (*accepted)(struct stream *s, const struct vsock_addr *guest);
	/* The events of STREAM_IN and STREAM_OUT that make a difference now. With
	 * STREAM_OUT an event must come once write can take something, also where
	 * the last write was short and STREAM_OUT is still set. */
	void (*wait_for)(struct stream *s, unsigned events);
	/* Frees s. @is_orderly: the guest had finished and all of it was written;
	 * otherwise the peer is to see a reset, where its kind knows one. */
	void (*close)(struct stream *s, bool is_orderly);
	/* Adds one section, tagged backend_ops::stream_tag, from which load_stream() of
	 * that backend makes it again; its descriptors stay open, and its peer notices
	 * nothing. Between two turns. */
	void (*save)(const struct stream *s, struct blob *out);
	/* Its mux goes to another thread: what it has in the loop of that, see loop_move.h. */
	void (*move)(struct stream *s, struct loop_move *m);
};

struct stream {
	const struct stream_ops *ops;
	struct conn *conn;			/* set by the core; NULL before */
	unsigned ready;				/* STREAM_*: kept by the backend */
	uint16_t type;				/* enum vsock_type: which of the above it has */

	/*
	 * Where the peer is a guest too: how many of the bytes written it has consumed,
	 * modulo 2^32, which may change at any time and is told by an event; and how many
	 * it may have on the way to our guest, from the first event on. NULL and 0 for a host
	 * program: what it has taken is its own and no longer ours to count. Which of the
	 * two it is, does not change.
	 */
	const _Atomic uint32_t *consumed;
	uint32_t peer_window;			/* bytes */
};
