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
	bool has_held_up;			/* one of its eventfds has blocked us */
	struct vring vrings[SESSION_RINGS_MAX];
	char refusal[128];			/* why, where the text is not constant */
	struct {				/* what a handler answers */
		uint8_t bytes[VU_MSG_PAYLOAD_MAX];
		size_t len;
	} reply;
};

/* Sets the answer to the front-end; copies @payload. */
void session_answer(struct session *s, const void *payload, size_t len);
void session_answer_u64(struct session *s, uint64_t v);

/* Formats the reason of a refusal; returns s->refusal. */
const char *session_refusal(struct session *s, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/* The set-up of rings has changed: they are resolved anew, broken ones too. */
void session_refresh_ring(struct session *s, unsigned ring);
void session_refresh_rings(struct session *s);

/* Makes the rings what they were before the first request; the guest was reset. */
void session_reset_rings(struct session *s);
