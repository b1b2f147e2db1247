/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * An AF_VSOCK socket as a stream of the packet core.
 *
 * Of bytes, it is as any other. A message that the core writes is sent by a thread
 * (util/sender.h): meanwhile write_message() says STREAM_E_AGAIN, and the message goes on
 * waiting where it was, in the connection, which so counts nothing as passed on that is not. The
 * call after that, for the same message, tells what has become of it.
 *
 * A peer that has read all may close at once, and this may be heard of sooner than that the
 * last message is sent. So while one is being sent, a peer that has closed is not told of.
 */
#pragma once

#include "backend/sock_stream.h"

struct senders;
struct sending;

struct afvsock_stream_config {
	struct loop *loop;			/* borrowed, as all here */
	struct mux *mux;
	struct senders *senders;
	const char *tag;			/* for log lines */
	uint32_t port;				/* the same */
};

struct afvsock_stream {
	struct sock_stream sock;
	struct senders *senders;
	const char *tag;
	uint32_t port;
	struct sending *sending;		/* the first message that waits; NULL: none */
	bool was_sent;				/* loaded: that message had been, as only its end was
						   to be told */
	bool end_waits;				/* the peer has closed, and the core does not know */
};

/* Takes @fd over, of a connect that is over, or with @is_connecting under way; events come from
 * now on. 0 or -errno. */
int afvsock_stream_new(struct afvsock_stream **out, const struct afvsock_stream_config *config,
		       enum vsock_type type, int fd, bool is_connecting);
void afvsock_stream_free(struct afvsock_stream *s);

/* What an errno of connect() means: BACKEND_E_*, -errno; 0 for 0. */
int afvsock_connect_error(int error);

#define AFVSOCK_STREAM_TAG BLOB_TAG('A', 'F', 'V', 'S')

/*
 * State: what saves it waits a moment for a message that is being sent. One that is held up
 * for longer may be passed on in part: its connection cannot go on elsewhere.
 * As backend_ops::load_stream().
 */
int afvsock_stream_load(struct stream **out, const struct afvsock_stream_config *config,
			struct blob_reader *in);
