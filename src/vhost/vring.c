/* SPDX-License-Identifier: BSD-3-Clause */
/* One ring of a session: state and signals. */
#include "vhost/vring.h"

#include "protocol/vhost_user.h"
#include "util/blob.h"
#include "util/closer.h"
#include "util/fd.h"
#include "util/log_limit.h"
#include "vhost/event_fd.h"

void vring_init(struct vring *v, unsigned index, const char *tag, bool *held_up)
{
	*v = (struct vring){
		.index = index, .tag = tag, .held_up = held_up,
		.kick_fd = -1, .call_fd = -1, .err_fd = -1,
	};
	virtq_init(&v->q);
}

void vring_deinit(struct vring *v)
{
	fd_close(&v->kick_fd);
	fd_close(&v->call_fd);
	fd_close(&v->err_fd);
	vring_init(v, v->index, v->tag, v->held_up);
}

bool vring_is_enabled(const struct vring *v, uint64_t features)
{
	return v->enabled || !has_feature(features, VHOST_USER_F_PROTOCOL_FEATURES);
}

/* The front-end has said all. What is missing is not wrong yet. */
static bool is_set_up(const struct vring *v, const struct gmem *mem)
{
	return mem && !gmem_is_empty(mem) && v->q.config.num && v->has_addr;
}

struct virtq *vring_running(struct vring *v, struct gmem *mem, uint64_t features)
{
	if (!v->started || v->failed || !vring_is_enabled(v, features))
		return NULL;
	if (v->q.mem)				/* it is resolved, and nothing has changed */
		return &v->q;
	if (!is_set_up(v, mem))
		return NULL;
	v->has_news |= !v->has_run || !(v->q.has_used_idx || v->q.has_distance);
	if (virtq_resolve(&v->q, mem, features)) {
		vring_fail(v);
		return NULL;
	}
	v->has_run = true;
	return &v->q;
}

void vring_refresh(struct vring *v)
{
	v->failed = false;
	virtq_unresolve(&v->q);
}

const char *vring_check_place(const struct virtq_config *config, struct gmem *mem)
{
	struct virtq_config c = *config;

	if (!mem || gmem_is_empty(mem))
		return NULL;			/* it may come yet */
	if (!c.num)
		c.num = 1;
	return virtq_check(&c, mem);
}

static void signal_fd(struct vring *v, int fd, bool may_block)
{
	if (fd >= 0 && !*v->held_up)
		*v->held_up = event_fd_signal(fd, may_block) == EVENT_FD_E_HELD_UP;
}

void vring_call(struct vring *v)
{
	signal_fd(v, v->call_fd, v->call_may_block);
}

void vring_fail(struct vring *v)
{
	if (v->failed)
		return;
	v->failed = true;
	if (v->n_stops)
		++*v->n_stops;
	log_guest(v->tag, "ring %u broken: %s; ignored until it is set up again",
		  v->index, v->q.broken ? v->q.broken : "unknown reason");
	signal_fd(v, v->err_fd, v->err_may_block);
}

bool vring_take_adopted(struct vring *v)
{
	bool adopted = v->adopted;

	v->adopted = false;
	return adopted;
}

/* ---- state ---- */

void vring_save(const struct vring *v, struct blob *out)
{
	size_t section = blob_open(out, BLOB_TAG('R', 'I', 'N', 'G'), 1);

	blob_put_u8(out, v->started);
	blob_put_u8(out, v->enabled);
	blob_put_u8(out, v->has_addr);
	blob_put_u8(out, v->has_run);
	blob_put_u8(out, v->adopted);
	blob_put_fd(out, v->kick_fd);
	blob_put_fd(out, v->call_fd);
	blob_put_fd(out, v->err_fd);
	virtq_save(&v->q, out);
	blob_close(out, section);
}

/* Whatever is no eventfd may block when it is closed. */
static bool load_event_fd(struct blob_reader *in, int *fd, bool *may_block)
{
	*fd = blob_get_fd(in);
	if (*fd < 0 || event_fd_check(*fd, may_block) == 0)
		return true;
	closer_close(fd);
	return false;
}

static bool load(struct vring *v, struct blob_reader *in)
{
	bool ok, ignored = false;

	v->started = blob_get_bool(in);
	v->enabled = blob_get_bool(in);
	v->has_addr = blob_get_bool(in);
	v->has_run = blob_get_bool(in);
	v->adopted = blob_get_bool(in);
	ok = load_event_fd(in, &v->kick_fd, &ignored);
	ok = load_event_fd(in, &v->call_fd, &v->call_may_block) && ok;
	ok = load_event_fd(in, &v->err_fd, &v->err_may_block) && ok;
	return ok && virtq_load(&v->q, in) == 0 && blob_is_whole(in);
}

int vring_load(struct vring *v, struct blob_reader *in)
{
	struct blob_reader section;
	uint32_t version;

	if (blob_enter(in, &section, BLOB_TAG('R', 'I', 'N', 'G'), 1, &version) &&
	    load(v, &section))
		return 0;
	vring_deinit(v);
	return VRING_E_STATE;
}
