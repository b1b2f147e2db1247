/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One vhost-user message with its file descriptors, read from a stream socket.
 *
 * The attacker is the front-end: it sends any bytes in any pieces with any
 * number of descriptors. A message owns its descriptors; a handler that keeps
 * one takes it by msg_take_fd(), the rest are closed with the message, even a
 * malformed one. What a request has to look like is said in request.h.
 *
 * Where another process is to go on after a crash of this one (session.h), a message is read
 * in two steps, piece by piece: msg_peek() leaves the bytes in the socket, msg_take() drops
 * them there. So does a reply leave by way of a pipe. Of both the kernel knows how far they
 * came: SO_PEEK_OFF, and what is left in the pipe. But a peek goes on to the bytes that follow
 * the piece, as far as descriptors are concerned: only the taking shows whether they came
 * with it. It shows in the msghdr, which therefore has to outlive the process, too.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "protocol/vhost_user.h"

struct blob;
struct blob_reader;
struct msghdr;

enum {
	VU_MSG_CONFIG_MAX = 4096,		/* bytes of configuration in one message */
	VU_MSG_PAYLOAD_MAX = sizeof(struct vhost_user_config) + VU_MSG_CONFIG_MAX,
	/* Of a payload so many are kept: what follows is configuration that is not for us to
	 * read. */
	VU_MSG_KEPT_MAX = sizeof(struct vhost_user_mem_table),
	VU_MSG_FDS_MAX = VHOST_USER_MEM_TABLE_REGIONS,
	VU_MSG_FDS_COUNT_MAX = 1 << 27,		/* of a message that is loaded */
	VU_MSG_SKIP_MAX = 1024 * 1024,		/* a longer payload ends the session */
	VU_MSG_SKIP_CHUNK = 16 * 1024,		/* of one that is dropped, by one msg_read() */
};

enum {
	VU_MSG_E_AGAIN = 1,			/* the rest has not come yet */
	VU_MSG_E_MORE,				/* more has come than one call reads */
	VU_MSG_E_EOF,				/* the front-end is gone */
	VU_MSG_E_GARBAGE,			/* no longer a sequence of messages */
	VU_MSG_E_PIECE,				/* a piece has come, and is in the socket still */
};

struct msg {
	struct vhost_user_hdr hdr;
	union {					/* the first VU_MSG_KEPT_MAX bytes */
		uint64_t u64;
		struct vhost_user_vring_state state;
		struct vhost_user_vring_addr addr;
		struct vhost_user_mem_table table;
		struct vhost_user_single_region region;
		struct vhost_user_config config;
		uint8_t bytes[VU_MSG_KEPT_MAX];
	} payload;
	int fds[VU_MSG_FDS_MAX];
	unsigned n_fds;				/* received, may exceed VU_MSG_FDS_MAX */
};

struct msg_reader {
	struct msg msg;
	size_t got;				/* bytes of header and payload so far */
	size_t unread;				/* of these, the last ones: still in the socket */
	unsigned doubtful;			/* of msg.n_fds, the last ones: maybe not its own */
};

void msg_reader_init(struct msg_reader *reader);
void msg_reader_deinit(struct msg_reader *reader);

/*
 * Reads on from @sock without blocking. 0: reader->msg is whole, and valid
 * until msg_reader_next(). A payload longer than VU_MSG_PAYLOAD_MAX is read and
 * dropped, a piece at a time (VU_MSG_E_MORE), so that its message can be refused.
 * VU_MSG_E_AGAIN, VU_MSG_E_EOF, VU_MSG_E_GARBAGE, -errno.
 */
int msg_read(struct msg_reader *reader, int sock);
void msg_reader_next(struct msg_reader *reader);	/* closes what was not taken */

/* From now on peeks of @sock begin where the last one ended: the kernel counts them. 0 or
 * -errno. */
int msg_begin_peeking(int sock);
int msg_end_peeking(int sock);

/*
 * As msg_read(), but a piece stays in the socket: VU_MSG_E_PIECE, with descriptors that are
 * doubtful. To be taken before the next is looked at. 0: the message is whole.
 */
int msg_peek(struct msg_reader *reader, int sock);

/* Takes the piece, by way of @receipt. 0, VU_MSG_E_*, -errno. */
int msg_take(struct msg_reader *reader, int sock, struct msghdr *receipt);

/* For a reader that was loaded: how much of the piece is not taken yet is what the kernel
 * says. 0; VU_MSG_E_GARBAGE: it says what cannot be; -errno. */
int msg_recount_unread(struct msg_reader *reader, int sock);

/* What is doubtful is cleared up, once the piece is taken: @receipt says it. */
void msg_settle_fds(struct msg_reader *reader, const struct msghdr *receipt);

/* The message so far. What is loaded is checked: 0; VU_MSG_E_GARBAGE, and the reader is as
 * msg_reader_init() leaves it. */
void msg_reader_save(const struct msg_reader *reader, struct blob *out);
int msg_reader_load(struct msg_reader *reader, struct blob_reader *in);

/* Moves the @i-th descriptor out; -1 if there is none. */
int msg_take_fd(struct msg *msg, unsigned i);

const char *msg_str_error(int error);		/* VU_MSG_E_* or -errno, for people */

/* Sends a reply, without blocking. 0; -errno: it was not taken, the session is over. */
int msg_send_reply(int sock, uint32_t request, const void *payload, size_t len);

/* The same in two steps, over a pipe that does not block, as @sock must not: the reply is
 * *@queued bytes in the pipe, and then no longer. What is left of it is the kernel's to know. */
int msg_queue_reply(int pipe, uint32_t request, const void *payload, size_t len, uint32_t *queued);
int msg_send_queued(int pipe, int sock, size_t len);
int msg_count_queued(int pipe, uint32_t *len);	/* 0 or -errno */
int msg_drop_queued(int pipe);			/* 0 or -errno */
