/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One vhost-user message with its file descriptors, read from a stream socket,
 * and the shape that each request must have.
 *
 * The attacker is the front-end: it sends any bytes in any pieces with any
 * number of descriptors. A message owns its descriptors; a handler that keeps
 * one takes it by msg_take_fd(), the rest is closed with the message, also when
 * it is malformed. msg_check() decides by one table, before any handler runs,
 * whether size, descriptors and ring index are what the request needs.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol/vhost_user.h"

enum {
	MSG_CONFIG_MAX = 4096,			/* bytes of configuration in one message */
	MSG_PAYLOAD_MAX = sizeof(struct vhost_user_config) + MSG_CONFIG_MAX,
	MSG_FDS_MAX = VHOST_USER_MEM_TABLE_REGIONS,
	MSG_SKIP_MAX = 1024 * 1024,		/* a longer payload ends the session */
	MSG_SKIP_CHUNK = 16 * 1024,		/* of one that is dropped, by one msg_read() */
};

enum {
	MSG_E_AGAIN = 1,			/* the rest has not come yet */
	MSG_E_MORE,				/* nor has it all been read that came */
	MSG_E_EOF,				/* the front-end is gone */
	MSG_E_GARBAGE,				/* no longer a sequence of messages */
	MSG_E_UNKNOWN,				/* msg_check(): not a request that we serve */
	MSG_E_SIZE,
	MSG_E_FDS,
	MSG_E_RING,				/* no such ring */
};

struct msg {
	struct vhost_user_hdr hdr;
	union {
		uint64_t u64;
		struct vhost_user_vring_state state;
		struct vhost_user_vring_addr addr;
		struct vhost_user_mem_table table;
		struct vhost_user_single_region region;
		struct vhost_user_config config;
		uint8_t bytes[MSG_PAYLOAD_MAX];
	} payload;
	int fds[MSG_FDS_MAX];
	unsigned n_fds;				/* received, may exceed MSG_FDS_MAX */
};

struct msg_reader {
	struct msg msg;
	size_t got;				/* bytes of header and payload so far */
};

void msg_reader_init(struct msg_reader *reader);
void msg_reader_deinit(struct msg_reader *reader);

/*
 * Reads on from @sock without blocking. 0: reader->msg is whole, and valid
 * until msg_reader_next(). A payload longer than MSG_PAYLOAD_MAX is read and
 * dropped, so that its message can be refused; a piece at a time: MSG_E_MORE.
 * MSG_E_AGAIN, MSG_E_EOF, MSG_E_GARBAGE, -errno.
 */
int msg_read(struct msg_reader *reader, int sock);
void msg_reader_next(struct msg_reader *reader);	/* closes what was not taken */

/* Moves the @i-th descriptor out; -1 if there is none. */
int msg_take_fd(struct msg *msg, unsigned i);

/* 0, MSG_E_UNKNOWN, MSG_E_SIZE, MSG_E_FDS or MSG_E_RING (@n_rings there are). */
int msg_check(const struct msg *msg, unsigned n_rings);

const char *msg_name(uint32_t request);		/* "SET_VRING_NUM", "unknown request" */
const char *msg_str_error(int error);

/* Does the request have a reply of its own, whatever REPLY_ACK says? */
bool msg_has_reply(uint32_t request);

/* Sends a reply. 0; -errno: the front-end does not take it, the session is over. */
int msg_send_reply(int sock, uint32_t request, const void *payload, size_t len);
