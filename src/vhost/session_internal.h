/* SPDX-License-Identifier: BSD-3-Clause */
/* What the files of a session share: session.c (negotiation, input, replies),
 * session_memory.c and session_rings.c (requests about guest memory and rings). */
#pragma once

#include "vhost/request.h"
#include "vhost/session.h"

struct session {
	struct session_config config;
	int sock;
	struct msg_reader reader;
	struct gmem *mem;			/* NULL before the first region */
	uint64_t features, protocol_features;	/* acknowledged */
	bool has_owner;				/* SET_OWNER came */
	bool says_reset;			/* RESET_DEVICE came */
	bool has_held_up;			/* an eventfd of it has blocked us */
	struct vring vrings[SESSION_RINGS_MAX];
	char refusal[128];			/* the reason of one that is not constant */
	struct {				/* what a handler answers */
		uint8_t bytes[VU_MSG_PAYLOAD_MAX];
		size_t len;
	} reply;
};

/* What the front-end gets for an answer; once or more often, all of it together. */
void session_answer(struct session *s, const void *payload, size_t len);
void session_answer_u64(struct session *s, uint64_t v);

/* The reason of a refusal: s->refusal. */
const char *session_refusal(struct session *s, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/* Something about rings is new: they get another chance. */
void session_refresh_ring(struct session *s, unsigned ring);
void session_refresh_rings(struct session *s);

/* The rings are as before the first request. */
void session_reset_rings(struct session *s);
