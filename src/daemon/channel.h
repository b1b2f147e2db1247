/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The channel between supervisor and engine (protocol/supervise.h).
 *
 * What arrives is checked by a table before anybody acts on it: who may say it, how many
 * descriptors come with it, whether it names a VM. The supervisor believes the engine no
 * more than that: somebody may have taken it over.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "protocol/supervise.h"
#include "util/blob.h"

enum {
	CHANNEL_E_NONE = 1,			/* nothing has come */
	CHANNEL_E_END,				/* the other process is gone */
	CHANNEL_E_GARBAGE,			/* nothing that it may say */
};

/* The predecessor is an engine whose place another takes. */
enum channel_sender { CHANNEL_SUPERVISOR = 1, CHANNEL_ENGINE = 2, CHANNEL_PREDECESSOR = 4 };

struct channel_msg {
	struct supervise_msg m;
	int fds[SUPERVISE_FDS_MAX];		/* owned; -1 beyond n_fds */
	size_t n_fds;
	uint8_t piece[SUPERVISE_PIECE_MAX];	/* of STATE: m.u.number bytes; ADD, DONE: m.u.order.n;
						   EVENT: m.u.event.n */
};

int channel_pair(int out[2]);			/* both close on exec. 0 or -errno */

/*
 * Sends one message with copies of @fds. From any thread. 0; CHANNEL_E_END; -errno, -EAGAIN
 * with @may_block unset: the other side does not read. With it, it blocks until that does;
 * where the socket is not to block, for ten seconds, or until a signal is to end the process.
 */
int channel_send(int channel, const struct supervise_msg *m, const int *fds, size_t n_fds,
		 bool may_block);

/* An order or its outcome, with as much of @text behind it as fits; the same otherwise. */
int channel_send_text(int channel, struct supervise_msg *m, const void *text, size_t len,
		      const int *fds, size_t n_fds, bool may_block);

/* An event: @len bytes of @line, at most SUPERVISE_LINE_MAX; never blocks. The same otherwise. */
int channel_send_event(int channel, bool was_before, uint64_t at_ns, const char *line, size_t len);

/* The next message, which @sender may send; blocks if the socket does. 0; CHANNEL_E_*;
 * -errno. Descriptors of a message that is refused are closed, elsewhere (closer.h). */
int channel_receive(int channel, enum channel_sender sender, struct channel_msg *out);
int channel_take_fd(struct channel_msg *msg, size_t i);	/* -1: there is none */
void channel_msg_deinit(struct channel_msg *msg);	/* closes what was not taken, elsewhere */

const char *channel_str_error(int error);	/* CHANNEL_E_* or -errno, for people */

/* Sends @b and its descriptors, for the message that follows. Blocks. 0; as channel_send(); what
 * blob_error() says. */
int channel_send_blob(int channel, const struct blob *b);

/* A blob that arrives in pieces. */
struct channel_state {
	struct blob bytes;
	struct blob_fds fds;			/* owned, and what is in it */
	size_t max_fds;
};

void channel_state_init(struct channel_state *state, size_t max, size_t max_fds);
void channel_state_deinit(struct channel_state *state);

/* Appends the piece that @msg is. 0; as blob_error(). */
int channel_take_piece(struct channel_msg *msg, struct channel_state *state);

/* What has come so far, for reading as long as nothing else comes. */
void channel_state_read(struct channel_state *state, struct blob_reader *in);
