/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What answers for a CID: it makes the streams (stream.h) of the connections that a guest
 * opens, and opens connections to the guest. The mux_*() functions at the end are its way
 * up, from the event loop, never from within an operation.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vsock/stream.h"

struct blob;
struct blob_reader;
struct loop_move;
struct mux;
struct backend;

enum {
	BACKEND_E_PENDING = 1,			/* mux_stream_connected() will tell the outcome */
	/* Why a connect comes to nothing, besides -errno. */
	BACKEND_E_NO_ROUTE,			/* nobody answers for the CID */
	BACKEND_E_NO_GUEST,			/* no guest is running */
	BACKEND_E_FULL,				/* as many connections as allowed */
	BACKEND_E_NAME_TAKEN,			/* there is a connection of that name */
	BACKEND_E_NOBODY,			/* nobody listens */
	BACKEND_E_OTHER_TYPE,			/* ... at a socket of this type */
	BACKEND_E_DENIED,			/* it may not */
	BACKEND_E_BUSY,				/* the listener's backlog stays full */
	BACKEND_E_TIMEOUT,			/* no answer */
	BACKEND_E_BAD_NAME,			/* no socket can have such a name */
	BACKEND_E_BAD_STATE,			/* what was saved cannot be believed */
	BACKEND_E_NO_TYPE,			/* the guest knows no sockets of this type */
	BACKEND_NUM_E,
};

const char *backend_str_error(int error);	/* BACKEND_E_* or -errno, for people */

struct backend_ops {
	/* Does this backend answer for @cid? */
	bool (*serves)(struct backend *b, uint64_t cid);
	/* Opens a stream of that type from the guest's @src to @dst. 0; BACKEND_E_PENDING:
	 * *out is there, mux_stream_connected() tells the outcome; BACKEND_E_* or -errno:
	 * refused. Never blocks. */
	int (*connect)(struct backend *b, enum vsock_type type, const struct vsock_addr *src,
		       const struct vsock_addr *dst, struct stream **out);
	/* Says, for an operator, what is wrong and what to do where connecting to @dst
	 * ended in @error. May look at the file system. */
	void (*explain)(struct backend *b, const struct vsock_addr *dst, int error,
			char *text, size_t size);
	void (*free)(struct backend *b);	/* all its streams are closed by then */
	/* Its mux goes to another thread: what it has in the loop of that besides its streams,
	 * see loop_move.h. Not before mux_resume(), if that is to come. */
	void (*move)(struct backend *b, struct loop_move *m);

	/*
	 * State (util/blob.h). What is loaded is hostile, and until mux_resume() another
	 * process may still go on with the same peers: so loading, and closing what was
	 * loaded, neither reads, writes nor shuts down anything.
	 *
	 * Of the section that each of its streams saves: no other kind of backend has it.
	 */
	uint32_t stream_tag;
	/* What the backend has besides the streams that the core has: one section. NULL, as
	 * load: nothing. Between two turns. */
	void (*save)(const struct backend *b, struct blob *out);
	/* After mux_load(), with the streams of this mux there. 0; BACKEND_E_BAD_STATE;
	 * -errno. */
	int (*load)(struct backend *b, struct blob_reader *in);
	/*
	 * Makes the stream again that was saved at @in, between the guest's address and the
	 * peer's. 0: a live one; BACKEND_E_PENDING: *out is there, and
	 * mux_stream_connected() will tell the outcome; BACKEND_E_BAD_STATE; another
	 * BACKEND_E_*: it cannot go on, its connection is reset, the others are not; -errno.
	 * A live one has STREAM_IN and STREAM_OUT in ->ready, for what has come meanwhile,
	 * and if its peer is a guest, ->consumed.
	 */
	int (*load_stream)(struct backend *b, const struct vsock_addr *guest,
			   const struct vsock_addr *peer, struct blob_reader *in,
			   struct stream **out);
	/* Of mux_resume(), after each stream has been told what to wait for: what the backend
	 * has besides goes on. NULL: nothing. */
	void (*resume)(struct backend *b);
};

struct backend {
	const struct backend_ops *ops;
	const char *path;			/* where host programs come in; its own; NULL: nowhere */
};

/* ---- from the backend to the core; now_ms: monotonic milliseconds ---- */

/* Is a guest there that can take connections? */
bool mux_is_running(const struct mux *mux);

/* What a backend buffers for the guest is taken out of this. Borrowed; references are taken
 * and given up in the mux's thread, or after that has ended. */
struct byte_budget *mux_budget(struct mux *mux);

/* @n siblings may connect to the guest: each gets its share of the connections. At any time:
 * they come and go. */
void mux_set_siblings(struct mux *mux, size_t n);

/* Bytes that the guest may have on the way to another guest, sent and not consumed: twice
 * what it may send ahead of a host program, for we hold one part and the receiver the
 * other. */
uint32_t mux_window(const struct mux *mux);

/*
 * A stream that wants to talk to the guest's @port: of a host program, whose port at
 * the CID @host_cid is chosen here; or of a sibling's guest at @from. 0: @stream is
 * taken over. Otherwise the caller keeps it: BACKEND_E_NO_GUEST; BACKEND_E_NO_TYPE;
 * BACKEND_E_FULL (siblings get half of the connections, see shares.h);
 * BACKEND_E_NAME_TAKEN; -ENOMEM.
 */
int mux_connect_from_host(struct mux *mux, struct stream *stream, uint64_t host_cid,
			  uint32_t port, uint64_t now_ms);
int mux_connect_from_sibling(struct mux *mux, struct stream *stream,
			     const struct vsock_addr *from, uint32_t port, uint64_t now_ms);

/* How a client that is to name the guest's port is done with that; to be counted. */
enum backend_handshake {
	HANDSHAKE_DONE,				/* it has, whatever the guest says then */
	HANDSHAKE_NO_CONNECT,			/* it has said something else */
	HANDSHAKE_TOO_LONG,
	HANDSHAKE_CUT,				/* it has left halfway */
	HANDSHAKE_LATE,
	HANDSHAKE_TOO_MANY,			/* others had to make room for it, or it for them */
	HANDSHAKE_LEFT,				/* without a word */
	HANDSHAKE_ERROR,			/* of the system */
	BACKEND_NUM_HANDSHAKES,
};
void mux_count_handshake(struct mux *mux, enum backend_handshake how);

/* s->ready has changed. */
void mux_stream_ready(struct mux *mux, struct stream *s, uint64_t now_ms);
/*
 * After BACKEND_E_PENDING: BACKEND_E_* or -errno, and @s is closed; or 0, and the connection
 * goes on with @live: @s itself, or another stream in its place, and @s is closed.
 */
void mux_stream_connected(struct mux *mux, struct stream *s, struct stream *live, int error,
			  uint64_t now_ms);

/*
 * Out of a write to a stream by another mux of the same thread: @s, which is the other end of that,
 * can be read from while the write lasts. Its connection has a turn at once, so that the bytes go
 * from guest to guest in one copy; unless others have been waiting, or the guest gives no
 * buffers: then nothing is read. May close @s. Not while @mux has its own turn.
 */
void mux_push(struct mux *mux, struct stream *s, uint64_t now_ms);

/* Has memory of the guest gone, so that what was read of it lately is void? */
bool mux_is_lost(const struct mux *mux);
