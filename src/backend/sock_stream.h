/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A socket, connected or connecting, as a stream of the packet core: what
 * the backends with sockets share. A backend embeds it and says in a table what
 * is particular to its kind.
 *
 * A socket is registered once, edge-triggered for input; stream::ready
 * remembers what epoll told. Output is added the first time that a socket is
 * full and taken off again after a while of not being needed: registered
 * always, it would wake us each time the host program reads.
 *
 * Descriptors that a peer passes along are not wanted: see util/unix_socket.h.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "backend/sock_unread.h"
#include "util/loop.h"
#include "util/loop_move.h"
#include "vsock/backend.h"

struct blob;
struct blob_reader;
struct sock_stream;

struct sock_kind {
	/* A read that gives less than was asked for has emptied the socket, so that
	 * what comes next is an edge, and no read has to ask. (Not at an urgent byte.) */
	bool short_read_empties;
	/* An event before the stream is live: NULL where it always is. May free it. */
	void (*early_event)(struct sock_stream *s, uint32_t events);
	/* As in stream_ops. */
	void (*accepted)(struct sock_stream *s, const struct vsock_addr *guest);
	/* The peer writes no more, or may have said so: has it stopped reading too? */
	bool (*is_closed)(struct sock_stream *s, uint32_t events);
	/* Messages, as in stream_ops; NULL: as AF_UNIX has them. */
	int (*read_message)(struct sock_stream *s, const struct iovec *v, int nv, size_t *n,
			    uint32_t *flags);
	int (*write_message)(struct sock_stream *s, const struct iovec *v, int nv, uint32_t flags);
	bool tells_out;				/* it says by itself when it can be written to */
	/* As in stream_ops; with sock_stream_save() in it. */
	void (*save)(const struct sock_stream *s, struct blob *out);
	/* Ends with sock_stream_deinit(), and frees what embeds it. */
	void (*close)(struct sock_stream *s);
};

struct sock_stream {
	struct stream base;
	const struct sock_kind *kind;
	int fd;					/* owned; each call says that it must not block */
	int error;				/* -errno for the next read; 0: none */
	bool is_live : 1;			/* the core has it, or is about to */
	bool saw_rdhup : 1;			/* an end follows the data */
	bool saw_error : 1;			/* ... and it is not a quiet one */
	bool is_empty_for_good : 1;		/* read up to the end, which is to be told */
	bool has_ended : 1;			/* the end was read: nothing waits in it any more */
	bool was_reset : 1;			/* messages: by an error that came before they did */
	bool saw_urgent : 1;			/* MSG_OOB: reads end there, and more follows */
	bool may_have_rights : 1;		/* descriptors may come with the bytes */
	bool wants_out : 1, has_out : 1;	/* interest; registered with EPOLLOUT */
	bool is_shared : 1;			/* others may have it open, so epoll may outlive fd */
	bool is_held : 1;			/* loaded: another process may still go on with it */
	bool from_host : 1;			/* of its kind alone: it is to read an OK */
	bool may_leave : 1;			/* bytes unread, for the peer's sake */
	uint8_t idle_outs;			/* EPOLLOUTs in a row that nobody wanted */
	struct sock_unread unread;
	const char *early;			/* payload that was read with a handshake */
	size_t n_early;
	struct loop *loop;			/* borrowed, as the mux is */
	struct mux *mux;
	struct loop_source source;
};

struct sock_stream *sock_stream_of(struct stream *base);

/* Takes @fd over, a socket of @type: SOCK_STREAM, or SOCK_SEQPACKET. */
void sock_stream_init(struct sock_stream *s, const struct sock_kind *kind,
		      enum vsock_type type, struct loop *loop, struct mux *mux, int fd);
int sock_stream_socket_type(enum vsock_type type);	/* SOCK_* */
void sock_stream_deinit(struct sock_stream *s);

/* Events come from now on; @connecting: those of output too. 0 or -errno. */
int sock_stream_register(struct sock_stream *s, bool connecting);

/* Takes what is known out of the socket. Where that fails, sock_stream::error says it. */
void sock_stream_drop_unread(struct sock_stream *s);

/* @n bytes, which stay where they are, are read before those of the socket. */
void sock_stream_read_early(struct sock_stream *s, const char *bytes, size_t n);

/*
 * State: one section. sock_stream_load() begins a stream with what was saved of another, and
 * registers it; its events come, and what has come meanwhile, from the first wait_for() on.
 * @early: room for @early_max bytes, which it goes on to use. 0; BACKEND_E_BAD_STATE, -errno:
 * there is nothing to deinit, and nothing left open.
 */
void sock_stream_save(const struct sock_stream *s, struct blob *out);
int sock_stream_load(struct sock_stream *s, const struct sock_kind *kind, enum vsock_type type,
		     struct loop *loop, struct mux *mux, int domain, char *early, size_t early_max,
		     struct blob_reader *in);

/* Of read and read_message: the peer writes no more, and there is nothing left. STREAM_E_EOF,
 * or STREAM_E_CLOSED. */
int sock_stream_end(struct sock_stream *s);

/* Handshake or connect is over: from now on events go to the core. stream::ready
 * says what it has missed: output is possible, and input with @may_read. */
void sock_stream_go_live(struct sock_stream *s, bool may_read);
