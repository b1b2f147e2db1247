/* SPDX-License-Identifier: BSD-3-Clause */
/* A vhost-user session: handlers, negotiation, ring states. */
#include "vhost/session.h"

#include <stdio.h>
#include <stdlib.h>

#include "util/closer.h"
#include "util/error.h"
#include "util/fd.h"
#include "util/log.h"
#include "vhost/event_fd.h"

enum { MESSAGES_PER_TURN = 16 };			/* or pieces of long ones */

static const uint64_t protocol_features =
	FEATURE_BIT(VHOST_USER_PROTOCOL_F_MQ) |
	FEATURE_BIT(VHOST_USER_PROTOCOL_F_REPLY_ACK) |
	FEATURE_BIT(VHOST_USER_PROTOCOL_F_CONFIG) |
	FEATURE_BIT(VHOST_USER_PROTOCOL_F_RESET_DEVICE) |
	FEATURE_BIT(VHOST_USER_PROTOCOL_F_CONFIGURE_MEM_SLOTS);

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

/* A handler's result: NULL, or why the request is refused: a constant text or
 * session::refusal. */
typedef const char *handler_fn(struct session *s, struct msg *msg);

static void vring_init(struct vring *v)
{
	*v = (struct vring){ .kick_fd = -1, .call_fd = -1, .err_fd = -1 };
	virtq_init(&v->q);
}

static void vring_deinit(struct vring *v)
{
	fd_close(&v->kick_fd);
	fd_close(&v->call_fd);
	fd_close(&v->err_fd);
	vring_init(v);
}

int session_new(struct session **out, const struct session_config *config, int sock)
{
	struct session *s = calloc(1, sizeof *s);

	if (!s) {
		closer_close(&sock);
		return -ENOMEM;
	}
	assert(config->n_rings <= SESSION_RINGS_MAX);
	s->config = *config;
	s->sock = sock;
	msg_reader_init(&s->reader);
	for (unsigned i = 0; i < SESSION_RINGS_MAX; i++)
		vring_init(&s->vrings[i]);
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
	closer_close(&s->sock);			/* unread messages have descriptors */
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

bool session_memory_is_lost(const struct session *s)
{
	return s->mem && gmem_is_lost(s->mem);
}

static bool vring_is_enabled(const struct session *s, const struct vring *v)
{
	return v->enabled || !has_feature(s->features, VHOST_USER_F_PROTOCOL_FEATURES);
}

static bool has_memory(const struct session *s)
{
	return s->mem && !gmem_is_empty(s->mem);
}

bool session_lacks_memory(const struct session *s)
{
	for (unsigned i = 0; i < s->config.n_rings; i++)
		if (s->vrings[i].started && vring_is_enabled(s, &s->vrings[i]))
			return !has_memory(s);
	return false;
}

bool session_says_reset(const struct session *s)
{
	return s->says_reset;
}

/* All of it was said: what is missing is not wrong yet. */
static bool vring_is_set_up(const struct session *s, const struct vring *v)
{
	return has_memory(s) && v->q.config.num && v->has_addr;
}

struct virtq *session_running(struct session *s, unsigned ring)
{
	struct vring *v = session_vring(s, ring);

	if (!v->started || v->failed || !vring_is_enabled(s, v) || !vring_is_set_up(s, v))
		return NULL;
	if (!v->q.mem) {
		if (virtq_resolve(&v->q, s->mem, s->features)) {
			session_ring_broken(s, ring);
			return NULL;
		}
		v->has_run = true;
	}
	return &v->q;
}

static void signal_fd(struct session *s, int fd, bool may_block)
{
	if (!s->has_held_up)
		s->has_held_up = event_fd_signal(fd, may_block) == EVENT_FD_E_HELD_UP;
}

void session_ring_broken(struct session *s, unsigned ring)
{
	struct vring *v = session_vring(s, ring);

	if (v->failed)
		return;
	v->failed = true;
	log_guest(s->config.tag, "ring %u broken: %s; ignored until it is set up again",
		  ring, v->q.broken ? v->q.broken : "unknown reason");
	if (v->err_fd >= 0)
		signal_fd(s, v->err_fd, v->err_may_block);
}

void session_call(struct session *s, unsigned ring)
{
	struct vring *v = session_vring(s, ring);

	if (v->call_fd >= 0)
		signal_fd(s, v->call_fd, v->call_may_block);
}

bool session_has_held_up(const struct session *s)
{
	return s->has_held_up;
}

/* Something about the ring is new: it gets another chance. */
static void ring_refresh(struct session *s, unsigned ring)
{
	struct vring *v = session_vring(s, ring);

	v->failed = false;
	virtq_unresolve(&v->q);
	s->config.ops->ring_changed(s->config.ctx, ring);
}

static void all_rings_refresh(struct session *s)
{
	for (unsigned i = 0; i < s->config.n_rings; i++)
		ring_refresh(s, i);
}

static void answer(struct session *s, const void *payload, size_t len)
{
	memcpy(s->reply.bytes, payload, len);
	s->reply.len = len;
}

static void answer_u64(struct session *s, uint64_t v)
{
	answer(s, &v, sizeof v);
}

static uint64_t offered_features(const struct session *s)
{
	return s->config.features | FEATURE_BIT(VHOST_USER_F_PROTOCOL_FEATURES);
}

static const char *on_get_features(struct session *s, struct msg *msg)
{
	(void)msg;
	answer_u64(s, offered_features(s));
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

static const char *on_set_features(struct session *s, struct msg *msg)
{
	uint64_t strange = msg->payload.u64 & ~offered_features(s);

	if (strange)
		return refuse_bits(s, "features", strange);
	s->features = msg->payload.u64;
	all_rings_refresh(s);
	return NULL;
}

static const char *on_get_protocol_features(struct session *s, struct msg *msg)
{
	(void)msg;
	answer_u64(s, protocol_features);
	return NULL;
}

static const char *on_set_protocol_features(struct session *s, struct msg *msg)
{
	uint64_t strange = msg->payload.u64 & ~protocol_features;

	if (strange)
		return refuse_bits(s, "protocol features", strange);
	s->protocol_features = msg->payload.u64;
	return NULL;
}

/* The guest's connections are void, and the rings as before the first message. */
static void reset_rings(struct session *s)
{
	s->config.ops->guest_reset(s->config.ctx);
	for (unsigned i = 0; i < s->config.n_rings; i++) {
		s->vrings[i].started = false;
		s->config.ops->ring_stopped(s->config.ctx, i);
		vring_deinit(&s->vrings[i]);
	}
}

/*
 * The flag that a session starts (vhost-user.rst). Whoever sets it again starts a new
 * one on the same socket, as QEMU does when one device is removed and another added;
 * it has not taken back the memory of the old one. What was negotiated stays, since
 * QEMU negotiates the protocol features before it says SET_OWNER.
 */
static const char *on_set_owner(struct session *s, struct msg *msg)
{
	(void)msg;
	if (s->has_owner) {
		reset_rings(s);
		gmem_free(s->mem);
		s->mem = NULL;
	}
	s->has_owner = true;
	return NULL;
}

/* Best ignored: vhost-user.rst. */
static const char *on_reset_owner(struct session *s, struct msg *msg)
{
	(void)s;
	(void)msg;
	return NULL;
}

static const char *on_get_queue_num(struct session *s, struct msg *msg)
{
	(void)msg;
	answer_u64(s, s->config.n_rings);
	return NULL;
}

static const char *refuse_region(struct session *s, int error)
{
	switch (error) {
	case -EINVAL:
		return "region empty, wrapping around, or larger than its file";
	case -EEXIST:
		return "regions overlap";
	case -ENOSPC:
		snprintf(s->refusal, sizeof s->refusal, "no memory slot left: a VM may have %zu here",
			 s->config.memory.regions);
		return s->refusal;
	case -EDQUOT:
		snprintf(s->refusal, sizeof s->refusal, "more memory than the %llu bytes that a VM "
			 "may have mapped; see max-memory",
			 (unsigned long long)s->config.memory.bytes);
		return s->refusal;
	case -ENOENT:
		return "no such region";
	default:
		snprintf(s->refusal, sizeof s->refusal, "region cannot be mapped: %s; the guest's "
			 "memory has to be shared (QEMU: share=on)", error_str(error));
		return s->refusal;
	}
}

/* All or nothing: the old table stays until the new one is mapped. */
static const char *on_set_mem_table(struct session *s, struct msg *msg)
{
	const struct vhost_user_mem_table *table = &msg->payload.table;
	struct gmem *mem;
	int r;

	if ((r = gmem_new(&mem, &s->config.memory)) < 0)
		return refuse_region(s, r);
	for (uint32_t i = 0; i < table->num_regions; i++) {
		if ((r = gmem_add_region(mem, &table->regions[i], msg->fds[i])) < 0) {
			gmem_free(mem);
			return refuse_region(s, r);
		}
	}
	gmem_free(s->mem);
	s->mem = mem;
	all_rings_refresh(s);
	return NULL;
}

static const char *on_get_max_mem_slots(struct session *s, struct msg *msg)
{
	(void)msg;
	answer_u64(s, s->config.memory.regions);
	return NULL;
}

static const char *on_add_mem_reg(struct session *s, struct msg *msg)
{
	int r;

	if (!s->mem && (r = gmem_new(&s->mem, &s->config.memory)) < 0)
		return refuse_region(s, r);
	if ((r = gmem_add_region(s->mem, &msg->payload.region.region, msg->fds[0])) < 0)
		return refuse_region(s, r);
	all_rings_refresh(s);
	return NULL;
}

static const char *on_rem_mem_reg(struct session *s, struct msg *msg)
{
	int r = s->mem ? gmem_remove_region(s->mem, &msg->payload.region.region) : -ENOENT;

	if (r < 0)
		return refuse_region(s, r);
	all_rings_refresh(s);
	return NULL;
}

/* NULL, or why a ring of these addresses could not be run with the memory there is. Of
 * one whose size is not known its first entry counts. */
static const char *check_place(struct session *s, const struct virtq_config *config)
{
	struct virtq_config c = *config;

	if (!has_memory(s))
		return NULL;			/* it may come yet */
	if (!c.num)
		c.num = 1;
	return virtq_check(&c, s->mem);
}

static const char *on_set_vring_num(struct session *s, struct msg *msg)
{
	struct vring *v = session_vring(s, msg->payload.state.index);
	struct virtq_config config = v->q.config;
	uint32_t num = msg->payload.state.num;
	const char *why;

	if (num == 0 || num > s->config.ring_size_max || (num & (num - 1)))
		return "ring size not a power of two or above queue-size";
	config.num = num;
	if (v->started && v->has_addr && (why = check_place(s, &config)))
		return why;
	v->q.config.num = num;
	ring_refresh(s, msg->payload.state.index);
	return NULL;
}

static const char *on_set_vring_addr(struct session *s, struct msg *msg)
{
	const struct vhost_user_vring_addr *addr = &msg->payload.addr;
	struct vring *v = session_vring(s, addr->index);
	struct virtq_config config = {
		.num = v->q.config.num, .desc_uaddr = addr->desc, .avail_uaddr = addr->avail,
		.used_uaddr = addr->used,
	};
	const char *why;

	if (addr->flags & FEATURE_BIT(VHOST_VRING_F_LOG))
		return "dirty logging, which was not offered";
	if ((why = check_place(s, &config)))
		return why;
	if (v->q.config.used_uaddr != addr->used)
		v->q.has_used_idx = false;
	v->has_addr = true;
	v->q.config = config;
	ring_refresh(s, addr->index);
	return NULL;
}

static const char *on_set_vring_base(struct session *s, struct msg *msg)
{
	struct vring *v = session_vring(s, msg->payload.state.index);

	if (msg->payload.state.num > UINT16_MAX)
		return "ring base above 65535";
	if (v->has_run && msg->payload.state.num != v->q.last_avail) {
		s->config.ops->guest_reset(s->config.ctx);
		v->has_run = false;
		v->adopted = false;
	} else if (!v->has_run) {
		v->adopted = msg->payload.state.num;
	}
	virtq_set_base(&v->q, (uint16_t)msg->payload.state.num);
	ring_refresh(s, msg->payload.state.index);
	return NULL;
}

static const char *on_get_vring_base(struct session *s, struct msg *msg)
{
	unsigned ring = msg->payload.state.index;
	struct vring *v = session_vring(s, ring);
	struct vhost_user_vring_state state = { .index = ring, .num = v->q.last_avail };

	v->started = false;
	v->polled = false;
	virtq_set_base(&v->q, v->q.last_avail);
	s->config.ops->ring_stopped(s->config.ctx, ring);
	fd_close(&v->kick_fd);
	fd_close(&v->call_fd);
	answer(s, &state, sizeof state);
	return NULL;
}

static unsigned vring_fd_index(const struct msg *msg)
{
	return msg->payload.u64 & VHOST_USER_VRING_IDX_MASK;
}

/* NULL: the message has an eventfd, or none. */
static const char *check_event_fd(struct session *s, const struct msg *msg, bool *may_block)
{
	int r = msg->n_fds ? event_fd_check(msg->fds[0], may_block) : 0;

	if (!r)
		return NULL;
	s->has_held_up |= r == EVENT_FD_E_HELD_UP;
	return r < 0 ? error_str(r) : r == EVENT_FD_E_OTHER ? "not an eventfd" :
		"an eventfd that blocks";
}

static const char *on_set_vring_kick(struct session *s, struct msg *msg)
{
	struct vring *v = session_vring(s, vring_fd_index(msg));
	bool may_block;				/* we never read it */
	const char *why = check_event_fd(s, msg, &may_block);
	int old_fd;

	if (why)
		return why;
	old_fd = fd_take(&v->kick_fd);
	v->kick_fd = msg_take_fd(msg, 0);
	v->polled = v->kick_fd < 0;
	v->started = true;
	ring_refresh(s, vring_fd_index(msg));
	fd_close(&old_fd);			/* only now is nobody registered on it */
	return NULL;
}

/* Keeps the message's descriptor, or none. */
static const char *take_event_fd(struct session *s, struct msg *msg, int *fd, bool *may_block)
{
	const char *why = check_event_fd(s, msg, may_block);

	if (why)
		return why;
	fd_close(fd);
	*fd = msg_take_fd(msg, 0);
	return NULL;
}

static const char *on_set_vring_call(struct session *s, struct msg *msg)
{
	struct vring *v = session_vring(s, vring_fd_index(msg));

	return take_event_fd(s, msg, &v->call_fd, &v->call_may_block);
}

static const char *on_set_vring_err(struct session *s, struct msg *msg)
{
	struct vring *v = session_vring(s, vring_fd_index(msg));

	return take_event_fd(s, msg, &v->err_fd, &v->err_may_block);
}

static const char *on_set_vring_enable(struct session *s, struct msg *msg)
{
	struct vring *v = session_vring(s, msg->payload.state.index);

	if (msg->payload.state.num > 1)
		return "neither enable nor disable";
	v->enabled = msg->payload.state.num;
	s->config.ops->ring_changed(s->config.ctx, msg->payload.state.index);
	return NULL;
}

static const char *on_get_config(struct session *s, struct msg *msg)
{
	struct vhost_user_config config = msg->payload.config;

	config.flags = 0;
	answer(s, &config, sizeof config);
	s->config.ops->read_config(s->config.ctx, config.offset,
				   s->reply.bytes + sizeof config, config.size);
	s->reply.len += config.size;
	return NULL;
}

static const char *on_set_config(struct session *s, struct msg *msg)
{
	(void)s;
	(void)msg;
	return "the configuration space is read-only";
}

static const char *on_reset_device(struct session *s, struct msg *msg)
{
	(void)msg;
	s->says_reset = true;
	reset_rings(s);
	s->features = 0;
	return NULL;
}

static handler_fn *const handlers[VHOST_USER_REQUEST_END] = {
	[VHOST_USER_GET_FEATURES] = on_get_features,
	[VHOST_USER_SET_FEATURES] = on_set_features,
	[VHOST_USER_SET_OWNER] = on_set_owner,
	[VHOST_USER_RESET_OWNER] = on_reset_owner,
	[VHOST_USER_SET_MEM_TABLE] = on_set_mem_table,
	[VHOST_USER_SET_VRING_NUM] = on_set_vring_num,
	[VHOST_USER_SET_VRING_ADDR] = on_set_vring_addr,
	[VHOST_USER_SET_VRING_BASE] = on_set_vring_base,
	[VHOST_USER_GET_VRING_BASE] = on_get_vring_base,
	[VHOST_USER_SET_VRING_KICK] = on_set_vring_kick,
	[VHOST_USER_SET_VRING_CALL] = on_set_vring_call,
	[VHOST_USER_SET_VRING_ERR] = on_set_vring_err,
	[VHOST_USER_GET_PROTOCOL_FEATURES] = on_get_protocol_features,
	[VHOST_USER_SET_PROTOCOL_FEATURES] = on_set_protocol_features,
	[VHOST_USER_GET_QUEUE_NUM] = on_get_queue_num,
	[VHOST_USER_SET_VRING_ENABLE] = on_set_vring_enable,
	[VHOST_USER_GET_CONFIG] = on_get_config,
	[VHOST_USER_SET_CONFIG] = on_set_config,
	[VHOST_USER_RESET_DEVICE] = on_reset_device,
	[VHOST_USER_GET_MAX_MEM_SLOTS] = on_get_max_mem_slots,
	[VHOST_USER_ADD_MEM_REG] = on_add_mem_reg,
	[VHOST_USER_REM_MEM_REG] = on_rem_mem_reg,
};

static bool wants_ack(const struct session *s, const struct msg *msg)
{
	return has_feature(s->protocol_features, VHOST_USER_PROTOCOL_F_REPLY_ACK) &&
		msg->hdr.flags & VHOST_USER_F_NEED_REPLY;
}

/* False: the session cannot go on. */
static bool send_reply(struct session *s, const struct msg *msg, const void *payload, size_t len)
{
	int r = msg_send_reply(s->sock, msg->hdr.request, payload, len);

	if (r < 0)
		log_limited(error_is_shortage(r) ? LEVEL_WARN : LEVEL_INFO, s->config.tag,
			    "front-end: cannot answer %s: %s; disconnected",
			    msg_name(msg->hdr.request), error_str(r));
	return r == 0;
}

static bool send_ack(struct session *s, const struct msg *msg, uint64_t status)
{
	return send_reply(s, msg, &status, sizeof status);
}

/* False: the session cannot go on. */
static bool refuse(struct session *s, const struct msg *msg, int error, const char *why)
{
	log_limited(LEVEL_WARN, s->config.tag, "%s (%u) refused: %s", msg_name(msg->hdr.request),
		    msg->hdr.request, why);
	if (wants_ack(s, msg))
		return send_ack(s, msg, 1);
	if (msg_has_reply(msg->hdr.request))	/* nothing, rather than keep it waiting */
		return send_reply(s, msg, NULL, 0);
	return error == VU_MSG_E_UNKNOWN;
}

static bool dispatch(struct session *s, struct msg *msg)
{
	int error = msg_check(msg, s->config.n_rings);
	const char *why;

	log_at(LEVEL_DEBUG, s->config.tag, "%s, %u bytes, %u descriptors",
	       msg_name(msg->hdr.request), msg->hdr.size, msg->n_fds);
	if (error)
		return refuse(s, msg, error, msg_str_error(error));
	why = handlers[msg->hdr.request](s, msg);
	if (why)
		return refuse(s, msg, 0, why);
	if (msg_has_reply(msg->hdr.request))
		return send_reply(s, msg, s->reply.bytes, s->reply.len);
	return !wants_ack(s, msg) || send_ack(s, msg, 0);
}

int session_input(struct session *s)
{
	for (int i = 0; i < MESSAGES_PER_TURN; i++) {
		int r = msg_read(&s->reader, s->sock);
		bool goes_on;

		if (r == VU_MSG_E_AGAIN)
			return SESSION_E_AGAIN;
		if (r == VU_MSG_E_MORE)
			continue;
		if (r) {
			if (r != VU_MSG_E_EOF)
				log_limited(LEVEL_WARN, s->config.tag, "front-end: %s; disconnected",
					    msg_str_error(r));
			return SESSION_E_END;
		}
		goes_on = dispatch(s, &s->reader.msg);
		msg_reader_next(&s->reader);
		if (!goes_on || s->has_held_up)
			return SESSION_E_END;
	}
	return 0;
}
