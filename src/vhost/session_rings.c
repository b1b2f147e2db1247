/* SPDX-License-Identifier: BSD-3-Clause */
/* Requests about rings. */
#include "util/error.h"
#include "util/fd.h"
#include "vhost/event_fd.h"
#include "vhost/session_internal.h"
#include "vhost/session_requests.h"

const char *session_set_vring_num(struct session *s, struct msg *msg)
{
	struct vring *v = session_vring(s, msg->payload.state.index);
	struct virtq_config config = v->q.config;
	uint32_t num = msg->payload.state.num;
	const char *why;

	if (num == 0 || num > s->config.queue_size || (num & (num - 1)))
		return "ring size not a power of two or above queue-size";
	config.num = num;
	if (v->started && v->has_addr && (why = vring_check_place(&config, s->mem)))
		return why;
	v->q.config.num = num;
	session_refresh_ring(s, msg->payload.state.index);
	return NULL;
}

const char *session_set_vring_addr(struct session *s, struct msg *msg)
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
	if ((why = vring_check_place(&config, s->mem)))
		return why;
	if (v->q.config.used_uaddr != addr->used)
		virtq_forget_used(&v->q);
	v->has_addr = true;
	v->q.config = config;
	session_refresh_ring(s, addr->index);
	return NULL;
}

const char *session_set_vring_base(struct session *s, struct msg *msg)
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
	session_refresh_ring(s, msg->payload.state.index);
	return NULL;
}

const char *session_get_vring_base(struct session *s, struct msg *msg)
{
	unsigned ring = msg->payload.state.index;
	struct vring *v = session_vring(s, ring);
	struct vhost_user_vring_state state = { .index = ring, .num = v->q.last_avail };

	v->started = false;
	if (v->q.mem)				/* who goes on with it may wait for a kick */
		virtq_enable_notify(&v->q);
	virtq_set_base(&v->q, v->q.last_avail);
	s->config.ops->ring_stopped(s->config.ctx, ring);
	fd_close(&v->kick_fd);
	fd_close(&v->call_fd);
	session_answer(s, &state, sizeof state);
	return NULL;
}

static unsigned vring_fd_index(const struct msg *msg)
{
	return msg->payload.u64 & VHOST_USER_VRING_IDX_MASK;
}

/* NULL: the message has an eventfd, or no descriptor. */
static const char *check_event_fd(struct session *s, const struct msg *msg, bool *may_block)
{
	int r = msg->n_fds ? event_fd_check(msg->fds[0], may_block) : 0;

	*may_block |= s->config.distrusts_eventfds;
	if (!r)
		return NULL;
	s->has_held_up |= r == EVENT_FD_E_HELD_UP;
	return r < 0 ? error_str(r) : r == EVENT_FD_E_OTHER ? "not an eventfd" :
		"an eventfd that blocks";
}

const char *session_set_vring_kick(struct session *s, struct msg *msg)
{
	struct vring *v = session_vring(s, vring_fd_index(msg));
	bool may_block = false;			/* we never read it */
	const char *why = check_event_fd(s, msg, &may_block);
	int old_fd;

	if (why)
		return why;
	old_fd = fd_take(&v->kick_fd);
	v->kick_fd = msg_take_fd(msg, 0);
	v->started = true;
	session_refresh_ring(s, vring_fd_index(msg));
	fd_close(&old_fd);			/* only now is it out of the epoll set */
	return NULL;
}

/* Keeps the message's descriptor in *@fd, or none. */
static const char *take_event_fd(struct session *s, struct msg *msg, int *fd, bool *may_block)
{
	const char *why = check_event_fd(s, msg, may_block);

	if (why)
		return why;
	fd_close(fd);
	*fd = msg_take_fd(msg, 0);
	return NULL;
}

const char *session_set_vring_call(struct session *s, struct msg *msg)
{
	struct vring *v = session_vring(s, vring_fd_index(msg));

	return take_event_fd(s, msg, &v->call_fd, &v->call_may_block);
}

const char *session_set_vring_err(struct session *s, struct msg *msg)
{
	struct vring *v = session_vring(s, vring_fd_index(msg));

	return take_event_fd(s, msg, &v->err_fd, &v->err_may_block);
}

const char *session_set_vring_enable(struct session *s, struct msg *msg)
{
	struct vring *v = session_vring(s, msg->payload.state.index);

	if (msg->payload.state.num > 1)
		return "neither enable nor disable";
	v->enabled = msg->payload.state.num;
	s->config.ops->ring_changed(s->config.ctx, msg->payload.state.index, v->kick_fd);
	return NULL;
}
