/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What each vhost-user request is: one row of one table says its name, what its message
 * has to look like, whether it has a reply, and who handles it. A request without a
 * handler is refused, whatever it looks like.
 *
 * request_check() looks at size, descriptors and ring index before any handler runs; a
 * handler can rely on them.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "vhost/msg.h"

struct session;

/* NULL: done. Else why it is refused, and it had no effect: a constant text, or one that
 * lives until the session's next request. */
typedef const char *request_handler(struct session *s, struct msg *msg);

enum request_fds {				/* how many descriptors the message has */
	FDS_NONE,
	FDS_ONE,
	FDS_UP_TO_ONE,
	FDS_VRING,				/* one, or none with the NOFD bit */
	FDS_TABLE,				/* as many as regions */
};

enum request_ring {				/* where the payload names a ring */
	RING_NONE,
	RING_U32,				/* first 32 bits */
	RING_U64_LOW,				/* low byte of a u64 */
};

struct request {
	const char *name;
	request_handler *handle;		/* NULL: refused */
	bool has_reply;				/* of its own, with or without REPLY_ACK */
	bool by_guest;				/* what it says is the driver's, passed on */
	uint16_t size, size_max;		/* bytes of payload; size_max 0: exactly size */
	enum request_fds fds;
	enum request_ring ring;
};

const struct request *request_find(uint32_t number);	/* NULL: there is none */
const char *request_name(uint32_t number);	/* "SET_VRING_NUM", "unknown request" */
bool request_has_reply(uint32_t number);
bool request_is_by_guest(uint32_t number);

enum {
	REQUEST_E_UNKNOWN = 1,			/* not one that we serve */
	REQUEST_E_SIZE, REQUEST_E_FDS,
	REQUEST_E_RING,				/* no such ring */
};

/* 0, or the first REQUEST_E_* that is wrong with it; the device has @n_rings. */
int request_check(const struct msg *msg, unsigned n_rings);
const char *request_str_error(int error);
