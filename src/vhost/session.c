/* SPDX-License-Identifier: BSD-3-Clause */
/* A vhost-user session: negotiation, input, replies. */
#include "vhost/session.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "util/closer.h"
#include "util/error.h"
#include "util/log.h"
#include "util/log_limit.h"
#include "util/unix_socket.h"
#include "vhost/session_internal.h"
#include "vhost/session_requests.h"

enum { MESSAGES_PER_TURN = 32 };		/* or pieces of long ones: three rings are set up in one */

static const uint64_t protocol_features =
	FEATURE_BIT(VHOST_USER_PROTOCOL_F_MQ) |
	FEATURE_BIT(VHOST_USER_PROTOCOL_F_REPLY_ACK) |
	FEATURE_BIT(VHOST_USER_PROTOCOL_F_CONFIG) |
	FEATURE_BIT(VHOST_USER_PROTOCOL_F_RESET_DEVICE) |
	FEATURE_BIT(VHOST_USER_PROTOCOL_F_CONFIGURE_MEM_SLOTS);

_Thread_local uint8_t session_reply[VU_MSG_PAYLOAD_MAX];

struct session *session_alloc(const struct session_config *config)
{
	struct session *s = calloc(1, sizeof *s);

	if (!s)
		return NULL;
	assert(config->n_rings <= SESSION_RINGS_MAX);
	s->config = *config;
	s->sock = -1;
	msg_reader_init(&s->reader);
	session_journal_init(s);
	for (unsigned i = 0; i < SESSION_RINGS_MAX; i++) {
		vring_init(&s->vrings[i], i, config->tag, &s->has_held_up);
		s->vrings[i].n_stops = config->ring_stops ? &config->ring_stops[i] : NULL;
	}
	return s;
}

int session_new(struct session **out, const struct session_config *config, int sock)
{
	struct session *s = session_alloc(config);

	if (!s) {
		unix_close(&sock);
		return -ENOMEM;
	}
	s->sock = sock;
	session_journal_begin(s);
	*out = s;
	return 0;
}

void session_free(struct session *s)
{
	if (!s)
		return;
	for (unsigned i = 0; i < SESSION_RINGS_MAX; i++)
		vring_deinit(&s->vrings[i]);
	gmem_free(s->mem);
	msg_reader_deinit(&s->reader);
	session_journal_deinit(s);
	if (s->is_resumed)			/* another process may go on with it */
		closer_close(&s->sock);
	else
		unix_close(&s->sock);		/* unread messages may hold descriptors */
	free(s);
}

int session_sock(const struct session *s)
{
	return s->sock;
}

struct vring *session_vring(struct session *s, unsigned ring)
{
	assert(ring < s->config.n_rings);
	return &s->vrings[ring];
}

const struct vring *session_look_at_vring(const struct session *s, unsigned ring)
{
	assert(ring < s->config.n_rings);
	return &s->vrings[ring];
}

bool session_memory_is_lost(const struct session *s)
{
	return s->mem && gmem_is_lost(s->mem);
}

bool session_lacks_memory(const struct session *s)
{
	for (unsigned i = 0; i < s->config.n_rings; i++)
		if (s->vrings[i].started && vring_is_enabled(&s->vrings[i], s->features))
			return !s->mem || gmem_is_empty(s->mem);
	return false;
}

bool session_says_reset(const struct session *s)
{
	return s->says_reset;
}

bool session_has_held_up(const struct session *s)
{
	return s->has_held_up;
}

struct virtq *session_running(struct session *s, unsigned ring)
{
	return vring_running(session_vring(s, ring), s->mem, s->features);
}

void session_refresh_ring(struct session *s, unsigned ring)
{
	struct vring *v = session_vring(s, ring);

	vring_refresh(v);
	s->config.ops->ring_changed(s->config.ctx, ring, v->kick_fd);
}

void session_refresh_rings(struct session *s)
{
	for (unsigned i = 0; i < s->config.n_rings; i++)
		vring_refresh(&s->vrings[i]);	/* all, before anybody looks at one */
	for (unsigned i = 0; i < s->config.n_rings; i++)
		s->config.ops->ring_changed(s->config.ctx, i, s->vrings[i].kick_fd);
}

void session_answer(struct session *s, const void *payload, size_t len)
{
	assert(len <= sizeof session_reply);
	memcpy(session_reply, payload, len);
	s->reply.len = len;
}

void session_answer_u64(struct session *s, uint64_t v)
{
	session_answer(s, &v, sizeof v);
}

const char *session_refusal(struct session *s, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(s->refusal, sizeof s->refusal, fmt, ap);
	va_end(ap);
	return s->refusal;
}

uint64_t session_features(const struct session *s)
{
	return s->features;
}

uint64_t session_protocol_features(const struct session *s)
{
	return s->protocol_features;
}

static uint64_t offered_features(const struct session *s)
{
	return s->config.features | FEATURE_BIT(VHOST_USER_F_PROTOCOL_FEATURES);
}

bool session_may_have(const struct session *s, uint64_t features, uint64_t protocol)
{
	return !(features & ~offered_features(s)) && !(protocol & ~protocol_features);
}

const char *session_get_features(struct session *s, struct msg *msg)
{
	(void)msg;
	session_answer_u64(s, offered_features(s));
	return NULL;
}

/* "features that were not offered: bits 33, 40". */
static const char *refuse_bits(struct session *s, const char *what, uint64_t bits)
{
	const char *separator = bits & (bits - 1) ? "bits " : "bit ";
	size_t len = (size_t)snprintf(s->refusal, sizeof s->refusal,
				      "%s that were not offered: ", what);

	for (unsigned bit = 0; bit < 64 && len < sizeof s->refusal; bit++) {
		if (!has_feature(bits, bit))
			continue;
		len += (size_t)snprintf(s->refusal + len, sizeof s->refusal - len, "%s%u",
					separator, bit);
		separator = ", ";
	}
	return s->refusal;
}

const char *session_set_features(struct session *s, struct msg *msg)
{
	uint64_t strange = msg->payload.u64 & ~offered_features(s);

	if (strange)
		return refuse_bits(s, "features", strange);
	s->features = msg->payload.u64;
	session_refresh_rings(s);
	return NULL;
}

const char *session_get_protocol_features(struct session *s, struct msg *msg)
{
	(void)msg;
	session_answer_u64(s, protocol_features);
	return NULL;
}

const char *session_set_protocol_features(struct session *s, struct msg *msg)
{
	uint64_t strange = msg->payload.u64 & ~protocol_features;

	if (strange)
		return refuse_bits(s, "protocol features", strange);
	s->protocol_features = msg->payload.u64;
	return NULL;
}

void session_reset_rings(struct session *s)
{
	s->config.ops->guest_reset(s->config.ctx);
	for (unsigned i = 0; i < s->config.n_rings; i++) {
		s->vrings[i].started = false;
		s->config.ops->ring_stopped(s->config.ctx, i);
		vring_deinit(&s->vrings[i]);
	}
}

/*
 * Says that a session starts (vhost-user.rst). A second one starts a new session on the
 * same socket: QEMU does so when one device is removed and another added, and does not
 * take back the memory of the old one. What was negotiated stays, since QEMU negotiates
 * the protocol features before it says SET_OWNER.
 */
const char *session_set_owner(struct session *s, struct msg *msg)
{
	(void)msg;
	if (s->has_owner) {
		session_reset_rings(s);
		gmem_free(s->mem);
		s->mem = NULL;
	}
	s->has_owner = true;
	return NULL;
}

/* Ignored, as vhost-user.rst recommends. */
const char *session_reset_owner(struct session *s, struct msg *msg)
{
	(void)s;
	(void)msg;
	return NULL;
}

const char *session_get_queue_num(struct session *s, struct msg *msg)
{
	(void)msg;
	session_answer_u64(s, s->config.n_rings);
	return NULL;
}

const char *session_get_config(struct session *s, struct msg *msg)
{
	struct vhost_user_config config = msg->payload.config;

	config.flags = 0;
	session_answer(s, &config, sizeof config);
	s->config.ops->read_config(s->config.ctx, config.offset,
				   session_reply + sizeof config, config.size);
	s->reply.len += config.size;
	return NULL;
}

const char *session_set_config(struct session *s, struct msg *msg)
{
	(void)s;
	(void)msg;
	return "the configuration space is read-only";
}

const char *session_reset_device(struct session *s, struct msg *msg)
{
	(void)msg;
	s->says_reset = true;
	session_reset_rings(s);
	s->features = 0;
	return NULL;
}

static bool wants_ack(const struct session *s, const struct msg *msg)
{
	return has_feature(s->protocol_features, VHOST_USER_PROTOCOL_F_REPLY_ACK) &&
		msg->hdr.flags & VHOST_USER_F_NEED_REPLY;
}

static void owe_ack(struct session *s, uint64_t status)
{
	session_answer_u64(s, status);
	s->reply.is_due = true;
}

/* False: the session cannot go on. */
static bool refuse(struct session *s, const struct msg *msg, int error, const char *why)
{
	log_limited(LEVEL_WARN, s->config.tag, "%s (%u) refused: %s",
		    request_name(msg->hdr.request), msg->hdr.request, why);
	if (wants_ack(s, msg)) {
		owe_ack(s, 1);
		return true;
	}
	s->reply.len = 0;			/* an empty one, lest it waits for ever */
	s->reply.is_due = request_has_reply(msg->hdr.request);
	return s->reply.is_due || error == REQUEST_E_UNKNOWN ||
		(!error && request_is_by_guest(msg->hdr.request));
}

/* Says in s->reply what is to be answered. False: the session cannot go on. */
static bool dispatch(struct session *s, struct msg *msg)
{
	int error = request_check(msg, s->config.n_rings);
	const char *why;

	log_at(LEVEL_DEBUG, s->config.tag, "%s, %u bytes, %u descriptors",
	       request_name(msg->hdr.request), msg->hdr.size, msg->n_fds);
	s->reply.is_due = false;
	if (error)
		return refuse(s, msg, error, request_str_error(error));
	why = request_find(msg->hdr.request)->handle(s, msg);
	if (why)
		return refuse(s, msg, 0, why);
	if (request_has_reply(msg->hdr.request))
		s->reply.is_due = true;
	else if (wants_ack(s, msg))
		owe_ack(s, 0);
	return true;
}

/* False: the session cannot go on. */
static bool answer(struct session *s, uint32_t request)
{
	int r = 0;

	if (s->config.is_journalled)
		r = session_journal_conclude(s);
	else if (s->reply.is_due)
		r = msg_send_reply(s->sock, request, session_reply, s->reply.len);
	if (r < 0)
		log_limited(error_is_shortage(r) ? LEVEL_WARN : LEVEL_INFO, s->config.tag,
			    "front-end: cannot answer %s: %s; disconnected",
			    request_name(request), error_str(r));
	return r == 0;
}

static int read_message(struct session *s)
{
	int r = s->is_resumed ? session_resume(s) : 0;

	if (r)
		return r;
	return s->config.is_journalled ? session_journal_read(s) : msg_read(&s->reader, s->sock);
}

int session_input(struct session *s)
{
	for (int i = 0; i < MESSAGES_PER_TURN; i++) {
		int r = read_message(s);
		bool goes_on;

		if (r == VU_MSG_E_AGAIN)
			return SESSION_E_AGAIN;
		if (r == VU_MSG_E_MORE)
			continue;
		if (r) {
			if (r != VU_MSG_E_EOF)
				log_limited(LEVEL_WARN, s->config.tag,
					    "front-end: %s; disconnected", msg_str_error(r));
			return SESSION_E_END;
		}
		goes_on = dispatch(s, &s->reader.msg) && answer(s, s->reader.msg.hdr.request);
		msg_reader_next(&s->reader);
		s->is_handled = false;
		if (!goes_on || s->has_held_up)
			return SESSION_E_END;
	}
	return 0;
}
