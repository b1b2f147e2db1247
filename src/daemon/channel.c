/* SPDX-License-Identifier: BSD-3-Clause */
/* The channel between supervisor and engine. */
#include "daemon/channel.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "protocol/capture.h"
#include "util/closer.h"
#include "util/error.h"
#include "util/fd.h"

enum { SEND_MS = 10 * 1000, LOOK_MS = 100 };	/* for the other side to read */

static const struct row {
	unsigned senders;			/* enum channel_sender; 0: there is no such type */
	bool has_cid;
	size_t fds_min, fds_max;
} rows[SUPERVISE_NUM_TYPES] = {
	[SUPERVISE_STATE]	= { CHANNEL_SUPERVISOR | CHANNEL_PREDECESSOR, false, 0, SUPERVISE_FDS_MAX },
	[SUPERVISE_SETTINGS]	= { CHANNEL_SUPERVISOR, false, 1, 2 },
	[SUPERVISE_VM]		= { CHANNEL_SUPERVISOR, true, 0, 3 },
	[SUPERVISE_KEPT]	= { CHANNEL_SUPERVISOR, true, 0, 0 },
	[SUPERVISE_START]	= { CHANNEL_SUPERVISOR, false, 0, 0 },
	[SUPERVISE_REMOVE]	= { CHANNEL_SUPERVISOR, true, 0, 0 },
	[SUPERVISE_CONNECTED]	= { CHANNEL_SUPERVISOR, true, 0, 1 },
	[SUPERVISE_PING]	= { CHANNEL_SUPERVISOR, false, 0, 0 },
	[SUPERVISE_STOP]	= { CHANNEL_SUPERVISOR, false, 0, 0 },
	[SUPERVISE_READY]	= { CHANNEL_ENGINE, false, 0, 0 },
	[SUPERVISE_FAILED]	= { CHANNEL_ENGINE, false, 0, 0 },
	[SUPERVISE_KEEP]	= { CHANNEL_ENGINE, true, 1, 1 },
	[SUPERVISE_DROP]	= { CHANNEL_ENGINE, true, 0, 0 },
	[SUPERVISE_CAME]	= { CHANNEL_ENGINE, true, 0, 0 },
	[SUPERVISE_GONE]	= { CHANNEL_ENGINE, true, 0, 0 },
	[SUPERVISE_OVER]	= { CHANNEL_ENGINE, true, 0, 0 },
	[SUPERVISE_REMOVED]	= { CHANNEL_ENGINE, true, 0, 0 },
	[SUPERVISE_LEFT_OUT]	= { CHANNEL_ENGINE, true, 0, 0 },
	[SUPERVISE_CONNECT]	= { CHANNEL_ENGINE, true, 0, 0 },
	[SUPERVISE_CALL]	= { CHANNEL_ENGINE, true, 0, 0 },
	[SUPERVISE_PONG]	= { CHANNEL_ENGINE, false, 0, 0 },
	[SUPERVISE_STUCK]	= { CHANNEL_ENGINE, false, 0, 0 },
	[SUPERVISE_PREPARE]	= { CHANNEL_SUPERVISOR, false, 0, 0 },
	[SUPERVISE_TAKE_OVER]	= { CHANNEL_SUPERVISOR, false, 1, 1 },
	[SUPERVISE_PARK]	= { CHANNEL_SUPERVISOR, false, 0, 0 },
	[SUPERVISE_HAND_OVER]	= { CHANNEL_SUPERVISOR, false, 1, 1 },
	[SUPERVISE_GO_ON]	= { CHANNEL_SUPERVISOR, false, 0, 0 },
	[SUPERVISE_PREPARED]	= { CHANNEL_ENGINE, false, 0, 0 },
	[SUPERVISE_PARKED]	= { CHANNEL_ENGINE, false, 0, 0 },
	[SUPERVISE_DEVICE]	= { CHANNEL_PREDECESSOR, true, 0, 0 },
	[SUPERVISE_ALL]		= { CHANNEL_PREDECESSOR, false, 0, 0 },
	[SUPERVISE_CONNECT_SEQPACKET] = { CHANNEL_ENGINE, true, 0, 0 },
	[SUPERVISE_API]		= { CHANNEL_SUPERVISOR, false, 1, 1 },
	[SUPERVISE_DONE]	= { CHANNEL_SUPERVISOR, false, 0, 1 },
	[SUPERVISE_ADD]		= { CHANNEL_ENGINE, true, 0, 0 },
	[SUPERVISE_DELETE]	= { CHANNEL_ENGINE, true, 0, 0 },
	[SUPERVISE_SET_LEVEL]	= { CHANNEL_ENGINE, false, 0, 0 },
	[SUPERVISE_UPGRADE]	= { CHANNEL_ENGINE, false, 1, 1 },
	[SUPERVISE_RELOAD]	= { CHANNEL_ENGINE, false, 0, 0 },
	[SUPERVISE_SHUTDOWN]	= { CHANNEL_ENGINE, false, 0, 0 },
	[SUPERVISE_CAPTURE]	= { CHANNEL_SUPERVISOR, true, 0, 1 + CAPTURE_FILES_MAX },
	[SUPERVISE_CAPTURE_ENDED] = { CHANNEL_ENGINE, true, 0, 0 },
	[SUPERVISE_EVENTS]	= { CHANNEL_SUPERVISOR, false, 1, 1 },
	[SUPERVISE_EVENT]	= { CHANNEL_SUPERVISOR, false, 0, 0 },
	[SUPERVISE_ACCEPT]	= { CHANNEL_ENGINE, true, 0, 0 },
	[SUPERVISE_ACCEPTED]	= { CHANNEL_SUPERVISOR, true, 0, 1 },
	[SUPERVISE_AGAIN]	= { CHANNEL_ENGINE, true, 0, 0 },
};

int channel_pair(int out[2])
{
	return socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, out) < 0 ? error_last() : 0;
}

/* One that was ignored from the start may be pending, too. */
static bool is_due(const sigset_t *pending, int sig)
{
	struct sigaction action;

	return sigismember(pending, sig) && sigaction(sig, NULL, &action) == 0 &&
		action.sa_handler != SIG_IGN;
}

/* Does somebody wait for the end? A supervisor takes signals from its loop. */
static bool is_to_end(void)
{
	sigset_t pending;

	return sigpending(&pending) == 0 &&
		(is_due(&pending, SIGTERM) || is_due(&pending, SIGINT));
}

/* For a socket that does not block; another has waited as long as it is to. False: the other
 * side does not read; errno is EAGAIN. */
static bool wait_for_room(int channel)
{
	struct pollfd p = { .fd = channel, .events = POLLOUT };
	bool blocks = !(fcntl(channel, F_GETFL) & O_NONBLOCK);
	int r = 0;

	for (int ms = 0; !blocks && !r && ms < SEND_MS && !is_to_end(); ms += LOOK_MS)
		r = poll(&p, 1, LOOK_MS);
	errno = EAGAIN;
	return r != 0;
}

static int send_piece(int channel, const struct supervise_msg *m, const void *piece, size_t len,
		      const int *fds, size_t n_fds, bool may_block)
{
	union {
		char bytes[CMSG_SPACE(SUPERVISE_FDS_MAX * sizeof(int))];
		struct cmsghdr align;
	} control = { .bytes = "" };
	struct iovec iov[] = {
		{ .iov_base = (void *)(uintptr_t)m, .iov_len = sizeof *m },
		{ .iov_base = (void *)(uintptr_t)piece, .iov_len = len },
	};
	struct msghdr hdr = { .msg_iov = iov, .msg_iovlen = 2 };
	struct cmsghdr *c = &control.align;

	assert(n_fds <= SUPERVISE_FDS_MAX);
	if (n_fds) {
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(n_fds * sizeof *fds);
		memcpy(CMSG_DATA(c), fds, n_fds * sizeof *fds);
		hdr.msg_control = &control;
		hdr.msg_controllen = CMSG_SPACE(n_fds * sizeof *fds);
	}
	while (sendmsg(channel, &hdr, MSG_NOSIGNAL | (may_block ? 0 : MSG_DONTWAIT)) < 0) {
		if (errno == EPIPE || errno == ECONNRESET)
			return CHANNEL_E_END;
		if (errno != EINTR && !(errno == EAGAIN && may_block && wait_for_room(channel)))
			return error_last();
	}
	return 0;
}

int channel_send(int channel, const struct supervise_msg *m, const int *fds, size_t n_fds,
		 bool may_block)
{
	return send_piece(channel, m, NULL, 0, fds, n_fds, may_block);
}

void channel_msg_deinit(struct channel_msg *msg)
{
	for (size_t i = 0; i < msg->n_fds; i++)
		closer_close(&msg->fds[i]);
	msg->n_fds = 0;
}

int channel_take_fd(struct channel_msg *msg, size_t i)
{
	return i < msg->n_fds ? fd_take(&msg->fds[i]) : -1;
}

/* Descriptors come in one piece, as they were sent. */
static void take_fds(struct channel_msg *out, struct msghdr *hdr)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(hdr); c; c = CMSG_NXTHDR(hdr, c)) {
		size_t n;

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		assert(out->n_fds + n <= SUPERVISE_FDS_MAX);
		memcpy(out->fds + out->n_fds, CMSG_DATA(c), n * sizeof(int));
		out->n_fds += n;
	}
}

/* What there has to be behind the struct. */
static size_t length_of_piece(const struct supervise_msg *m)
{
	switch (m->type) {
	case SUPERVISE_STATE:
		return (size_t)m->u.number;
	case SUPERVISE_ADD:
	case SUPERVISE_DONE:
		return m->u.order.n;
	case SUPERVISE_EVENT:
		return m->u.event.n;
	default:
		return 0;
	}
}

static bool is_legal(const struct channel_msg *msg, size_t len, enum channel_sender sender)
{
	const struct row *row = msg->m.type < SUPERVISE_NUM_TYPES ? &rows[msg->m.type] : &rows[0];
	size_t piece = length_of_piece(&msg->m);

	return row->senders & sender && !msg->m.zero && piece == len - sizeof msg->m &&
		row->has_cid == (msg->m.cid != 0) &&
		msg->n_fds >= row->fds_min && msg->n_fds <= row->fds_max;
}

int channel_receive(int channel, enum channel_sender sender, struct channel_msg *out)
{
	union {
		char bytes[CMSG_SPACE(SUPERVISE_FDS_MAX * sizeof(int))];
		struct cmsghdr align;
	} control;
	struct iovec iov[] = {
		{ .iov_base = &out->m, .iov_len = sizeof out->m },
		{ .iov_base = out->piece, .iov_len = sizeof out->piece },
	};
	struct msghdr hdr = {
		.msg_iov = iov, .msg_iovlen = 2,
		.msg_control = &control, .msg_controllen = sizeof control,
	};
	ssize_t n;

	out->n_fds = 0;
	do
		n = recvmsg(channel, &hdr, MSG_CMSG_CLOEXEC);
	/* A sender that ended without having read all is ECONNRESET, once; what it has said comes
	 * after that, and then its end. */
	while (n < 0 && (errno == EINTR || errno == ECONNRESET));
	if (n < 0)
		return errno == EAGAIN ? CHANNEL_E_NONE : error_last();
	take_fds(out, &hdr);
	if (n == 0 && !out->n_fds)
		return CHANNEL_E_END;
	if (n < (ssize_t)sizeof out->m || hdr.msg_flags & (MSG_TRUNC | MSG_CTRUNC) ||
	    !is_legal(out, (size_t)n, sender)) {
		channel_msg_deinit(out);
		return CHANNEL_E_GARBAGE;
	}
	return 0;
}

int channel_send_text(int channel, struct supervise_msg *m, const void *text, size_t len,
		      const int *fds, size_t n_fds, bool may_block)
{
	if (len > SUPERVISE_PIECE_MAX)
		len = SUPERVISE_PIECE_MAX;
	m->u.order.n = (uint16_t)len;
	return send_piece(channel, m, text, len, fds, n_fds, may_block);
}

int channel_send_event(int channel, bool was_before, uint64_t at_ns, const char *line, size_t len)
{
	const size_t head = offsetof(struct supervise_event, line);
	struct supervise_event event = { .at_ns = at_ns };
	struct supervise_msg m = {
		.type = SUPERVISE_EVENT,
		.u.event = { .was_before = was_before, .n = (uint16_t)(head + len) },
	};

	assert(len <= sizeof event.line);
	memcpy(event.line, line, len);
	return send_piece(channel, &m, &event, head + len, NULL, 0, false);
}

const char *channel_str_error(int error)
{
	switch (error) {
	case CHANNEL_E_NONE:
		return "says nothing";
	case CHANNEL_E_END:
		return "is gone";
	case CHANNEL_E_GARBAGE:
		return "says what it may not say";
	case -EAGAIN:
		return "does not read what it is told";
	default:
		return error_str(error);
	}
}

static size_t at_most(size_t n, size_t max)
{
	return n < max ? n : max;
}

int channel_send_blob(int channel, const struct blob *b)
{
	int r = blob_error(b);

	for (size_t at = 0, at_fd = 0; !r && (at < b->len || at_fd < b->n_fds); ) {
		size_t n = at_most(b->len - at, SUPERVISE_PIECE_MAX);
		size_t n_fds = at_most(b->n_fds - at_fd, SUPERVISE_FDS_MAX);
		const struct supervise_msg m = { .type = SUPERVISE_STATE, .u.number = n };

		r = send_piece(channel, &m, b->bytes + at, n,
			       n_fds ? b->fds + at_fd : NULL, n_fds, true);
		at += n;
		at_fd += n_fds;
	}
	return r;
}

void channel_state_init(struct channel_state *state, size_t max, size_t max_fds)
{
	*state = (struct channel_state){ .max_fds = max_fds };
	blob_init(&state->bytes, max, 0);
}

void channel_state_deinit(struct channel_state *state)
{
	for (size_t i = 0; i < state->fds.n; i++)
		closer_close(&state->fds.fds[i]);
	free(state->fds.fds);
	blob_deinit(&state->bytes);
	state->fds = (struct blob_fds){ .n = 0 };
}

int channel_take_piece(struct channel_msg *msg, struct channel_state *state)
{
	size_t n = state->fds.n + msg->n_fds;
	int *fds;

	blob_put_bytes(&state->bytes, msg->piece, (size_t)msg->m.u.number);
	if (blob_error(&state->bytes) || !msg->n_fds)
		return blob_error(&state->bytes);
	if (n > state->max_fds)
		return BLOB_E_TOO_LARGE;
	fds = realloc(state->fds.fds, n * sizeof *fds);
	if (!fds)
		return -ENOMEM;
	state->fds.fds = fds;
	for (size_t i = 0; i < msg->n_fds; i++)
		fds[state->fds.n++] = channel_take_fd(msg, i);
	return 0;
}

void channel_state_read(struct channel_state *state, struct blob_reader *in)
{
	blob_read(in, state->bytes.bytes, state->bytes.len, &state->fds);
}
