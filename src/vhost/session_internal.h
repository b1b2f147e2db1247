/* SPDX-License-Identifier: BSD-3-Clause */
/* What the files of a session share: session.c (negotiation, input, replies),
 * session_memory.c and session_rings.c (requests about guest memory and rings),
 * session_journal.c (what another process needs to go on with it). */
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
	struct {				/* what a handler answers: of session_reply */
		size_t len;
		bool is_due;
	} reply;

	/* Where it is journalled. */
	int queue[2];				/* a pipe: replies, on their way to the socket */
	uint32_t queued;			/* bytes of the reply that is owed */
	bool is_handled;			/* the reader's message is: it is no fact any more */
	bool is_resumed;			/* session_resume() is due */
};

/* From handler to answer(), which follows at once: for all sessions of a thread. */
extern _Thread_local uint8_t session_reply[VU_MSG_PAYLOAD_MAX];

/* One that has no socket yet. NULL: no memory. */
struct session *session_alloc(const struct session_config *config);

/* Are these bits that it can have acknowledged? */
bool session_may_have(const struct session *s, uint64_t features, uint64_t protocol);

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

/* ---- session_journal.c ---- */

/* The null state; and the journal's part of a session that begins, if it is to be had. */
void session_journal_init(struct session *s);
void session_journal_begin(struct session *s);
void session_journal_deinit(struct session *s);

/* What a crash has left to be done. 0; VU_MSG_E_*, -errno: the session cannot go on. */
int session_resume(struct session *s);

/* As msg_read(), for one that is journalled; and what follows when its message has been
 * handled: 0, -errno. */
int session_journal_read(struct session *s);
int session_journal_conclude(struct session *s);
