/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A scripted vhost-user front-end: see vmm.h.
 */
#include "support/vmm.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "support/deadline.h"
#include "support/must.h"

enum {
	CONFIG_DATA_MAX = 4096,
	CONFIG_MSG_MAX = sizeof(struct vhost_user_config) + CONFIG_DATA_MAX,
};

bool vmm_connect(struct vmm *f, const char *path)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };

	*f = (struct vmm){ .sock = -1, .reply_ms = DEADLINE_MS };
	must(strlen(path) < sizeof addr.sun_path);
	snprintf(addr.sun_path, sizeof addr.sun_path, "%s", path);
	f->sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	must(f->sock >= 0);
	if (connect(f->sock, (struct sockaddr *)&addr, sizeof addr) == 0)
		return true;
	vmm_close(f);
	return false;
}

int vmm_pair(struct vmm *f)
{
	int socks[2];

	must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, socks) == 0);
	*f = (struct vmm){ .sock = socks[0] };
	return socks[1];
}

void vmm_close(struct vmm *f)
{
	if (f->sock >= 0)
		close(f->sock);
	f->sock = -1;
}

bool vmm_is_closed(struct vmm *f, int ms)
{
	int64_t deadline = deadline_in(ms);
	char byte;

	while (deadline_poll(f->sock, POLLIN, deadline))
		if (recv(f->sock, &byte, 1, MSG_DONTWAIT) <= 0)
			return true;
	return false;
}

bool vmm_send_bytes(struct vmm *f, const void *bytes, size_t len,
		    const int *fds, unsigned n_fds)
{
	union {
		struct cmsghdr align;
		char buf[CMSG_SPACE(VMM_FDS_MAX * sizeof(int))];
	} control;
	struct iovec iov = { (void *)(uintptr_t)bytes, len };
	struct msghdr mh = { .msg_iov = &iov, .msg_iovlen = 1 };
	struct cmsghdr *c;

	must(n_fds <= VMM_FDS_MAX);
	if (n_fds) {
		memset(&control, 0, sizeof control);
		mh.msg_control = &control;
		mh.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
		c = CMSG_FIRSTHDR(&mh);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(n_fds * sizeof(int));
		memcpy(CMSG_DATA(c), fds, n_fds * sizeof(int));
	}
	return sendmsg(f->sock, &mh, MSG_NOSIGNAL) == (ssize_t)len;
}

bool vmm_send(struct vmm *f, uint32_t request, uint32_t flags,
	      const void *body, size_t size, const int *fds, unsigned n_fds)
{
	struct vmm_msg m = { .hdr = {
		request, VHOST_USER_VERSION | flags, (uint32_t)size,
	} };

	must(size <= sizeof m.body);
	if (size)
		memcpy(m.body, body, size);
	return vmm_send_bytes(f, &m, sizeof m.hdr + size, fds, n_fds);
}

static int recv_full(struct vmm *f, void *to, size_t len, int64_t deadline)
{
	uint8_t *p = to;
	ssize_t n;

	while (len) {
		if (!deadline_poll(f->sock, POLLIN, deadline))
			return VMM_SILENT;
		n = recv(f->sock, p, len, 0);
		if (n <= 0)
			return VMM_GONE;
		p += n;
		len -= (size_t)n;
	}
	return 0;
}

int vmm_recv(struct vmm *f, struct vmm_msg *m)
{
	int64_t deadline = deadline_in(f->reply_ms);
	int r = recv_full(f, &m->hdr, sizeof m->hdr, deadline);

	if (r)
		return r;
	if (m->hdr.size > sizeof m->body)
		return VMM_ODD;
	return recv_full(f, m->body, m->hdr.size, deadline);
}

static int recv_reply(struct vmm *f, uint32_t request, void *reply,
		      size_t size)
{
	struct vmm_msg m;
	int r = vmm_recv(f, &m);

	if (r)
		return r;
	if (m.hdr.request != request || m.hdr.size != size ||
	    m.hdr.flags != (VHOST_USER_VERSION | VHOST_USER_F_REPLY))
		return VMM_ODD;
	memcpy(reply, m.body, size);
	return 0;
}

int vmm_send_acked(struct vmm *f, uint32_t request, const void *body,
		   size_t size, const int *fds, unsigned n_fds)
{
	uint64_t refusal;
	int r;

	if (!vmm_send(f, request, VHOST_USER_F_NEED_REPLY, body, size, fds,
		      n_fds))
		return VMM_GONE;
	r = recv_reply(f, request, &refusal, sizeof refusal);
	return r ? r : refusal ? 1 : 0;
}

int vmm_ask(struct vmm *f, uint32_t request, const void *body,
	    size_t size, void *reply, size_t reply_size)
{
	uint32_t flags = f->flags_gets ? VHOST_USER_F_NEED_REPLY : 0;

	if (!vmm_send(f, request, flags, body, size, NULL, 0))
		return VMM_GONE;
	return recv_reply(f, request, reply, reply_size);
}

/* A request without a reply of its own. */
static int tell(struct vmm *f, uint32_t request, const void *body,
		size_t size, const int *fds, unsigned n_fds)
{
	if (f->ack_all)
		return vmm_send_acked(f, request, body, size, fds, n_fds);
	return vmm_send(f, request, 0, body, size, fds, n_fds)
		       ? 0 : VMM_GONE;
}

int vmm_get_features(struct vmm *f, uint64_t *features)
{
	return vmm_ask(f, VHOST_USER_GET_FEATURES, NULL, 0, features,
		       sizeof *features);
}

int vmm_set_features(struct vmm *f, uint64_t features)
{
	f->features = features;
	return tell(f, VHOST_USER_SET_FEATURES, &features, sizeof features, NULL, 0);
}

int vmm_get_protocol_features(struct vmm *f, uint64_t *features)
{
	return vmm_ask(f, VHOST_USER_GET_PROTOCOL_FEATURES, NULL, 0, features,
		       sizeof *features);
}

int vmm_set_protocol_features(struct vmm *f, uint64_t features)
{
	f->protocol_features = features;
	return tell(f, VHOST_USER_SET_PROTOCOL_FEATURES, &features, sizeof features,
		    NULL, 0);
}

int vmm_get_queue_num(struct vmm *f, uint64_t *n)
{
	return vmm_ask(f, VHOST_USER_GET_QUEUE_NUM, NULL, 0, n, sizeof *n);
}

int vmm_get_max_mem_slots(struct vmm *f, uint64_t *n)
{
	return vmm_ask(f, VHOST_USER_GET_MAX_MEM_SLOTS, NULL, 0, n, sizeof *n);
}

int vmm_set_owner(struct vmm *f)
{
	return tell(f, VHOST_USER_SET_OWNER, NULL, 0, NULL, 0);
}

int vmm_reset_owner(struct vmm *f)
{
	return tell(f, VHOST_USER_RESET_OWNER, NULL, 0, NULL, 0);
}

int vmm_reset_device(struct vmm *f)
{
	return tell(f, VHOST_USER_RESET_DEVICE, NULL, 0, NULL, 0);
}

/* Header and data; returns their size. */
static size_t build_config(uint8_t *m, uint32_t offset, uint32_t size)
{
	struct vhost_user_config c = { .offset = offset, .size = size };

	must(size <= CONFIG_DATA_MAX);
	memset(m, 0xee, sizeof c + size);
	memcpy(m, &c, sizeof c);
	return sizeof c + size;
}

int vmm_get_config(struct vmm *f, uint32_t offset, uint32_t size,
		   void *data)
{
	uint8_t m[CONFIG_MSG_MAX], reply[CONFIG_MSG_MAX];
	size_t whole = build_config(m, offset, size);
	struct vhost_user_config c;
	int r;

	r = vmm_ask(f, VHOST_USER_GET_CONFIG, m, whole, reply, whole);
	if (r)
		return r;
	memcpy(&c, reply, sizeof c);
	if (c.offset != offset || c.size != size)
		return VMM_ODD;
	memcpy(data, reply + sizeof c, size);
	return 0;
}

int vmm_set_config(struct vmm *f, uint32_t offset, uint32_t size,
		   const void *data)
{
	uint8_t m[CONFIG_MSG_MAX];
	size_t whole = build_config(m, offset, size);

	memcpy(m + sizeof(struct vhost_user_config), data, size);
	return tell(f, VHOST_USER_SET_CONFIG, m, whole, NULL, 0);
}

static struct vhost_user_mem_region wire_region(const struct guest_region *r)
{
	return (struct vhost_user_mem_region){
		r->gpa, r->size, r->uaddr, r->mmap_offset,
	};
}

int vmm_set_mem_table(struct vmm *f, const struct guest *g)
{
	struct {
		uint32_t n, padding;
		struct vhost_user_mem_region r[VMM_REGIONS_MAX];
	} m = { .n = g->n_regions };
	int fds[VMM_REGIONS_MAX];

	must(g->n_regions <= VMM_REGIONS_MAX);
	for (unsigned i = 0; i < g->n_regions; i++) {
		m.r[i] = wire_region(&g->regions[i]);
		fds[i] = g->regions[i].fd;
	}
	return tell(f, VHOST_USER_SET_MEM_TABLE, &m,
		    offsetof(struct vhost_user_mem_table, regions) +
		    g->n_regions * sizeof m.r[0], fds, g->n_regions);
}

int vmm_add_mem_reg(struct vmm *f, const struct guest_region *r)
{
	struct vhost_user_single_region m = { .region = wire_region(r) };

	return tell(f, VHOST_USER_ADD_MEM_REG, &m, sizeof m, &r->fd, 1);
}

int vmm_rem_mem_reg(struct vmm *f, const struct guest_region *r)
{
	struct vhost_user_single_region m = { .region = wire_region(r) };

	return tell(f, VHOST_USER_REM_MEM_REG, &m, sizeof m, NULL, 0);
}

static int tell_state(struct vmm *f, uint32_t request, uint32_t q,
		      uint32_t num)
{
	struct vhost_user_vring_state s = { q, num };

	return tell(f, request, &s, sizeof s, NULL, 0);
}

int vmm_set_vring_num(struct vmm *f, uint32_t q, uint32_t num)
{
	return tell_state(f, VHOST_USER_SET_VRING_NUM, q, num);
}

int vmm_set_vring_base(struct vmm *f, uint32_t q, uint32_t base)
{
	return tell_state(f, VHOST_USER_SET_VRING_BASE, q, base);
}

int vmm_set_vring_enable(struct vmm *f, uint32_t q, bool enable)
{
	return tell_state(f, VHOST_USER_SET_VRING_ENABLE, q, enable);
}

int vmm_get_vring_base(struct vmm *f, uint32_t q, uint32_t *base)
{
	struct vhost_user_vring_state s = { q, 0 }, reply;
	int r = vmm_ask(f, VHOST_USER_GET_VRING_BASE, &s, sizeof s, &reply,
			sizeof reply);

	if (r)
		return r;
	if (reply.index != q)
		return VMM_ODD;
	*base = reply.num;
	return 0;
}

int vmm_set_vring_addr(struct vmm *f, uint32_t q, const struct guest_ring *r)
{
	struct vhost_user_vring_addr a = {
		.index = q,
		.desc = guest_uaddr(r->guest, r->desc_gpa),
		.avail = guest_uaddr(r->guest, r->avail_gpa),
		.used = guest_uaddr(r->guest, r->used_gpa),
		.log = r->used_gpa,
	};

	return tell(f, VHOST_USER_SET_VRING_ADDR, &a, sizeof a, NULL, 0);
}

static int tell_fd(struct vmm *f, uint32_t request, uint32_t q, int fd)
{
	uint64_t u = q | (fd < 0 ? VHOST_USER_VRING_NOFD : 0);

	return tell(f, request, &u, sizeof u, &fd, fd < 0 ? 0 : 1);
}

int vmm_set_vring_kick(struct vmm *f, uint32_t q, int fd)
{
	return tell_fd(f, VHOST_USER_SET_VRING_KICK, q, fd);
}

int vmm_set_vring_call(struct vmm *f, uint32_t q, int fd)
{
	return tell_fd(f, VHOST_USER_SET_VRING_CALL, q, fd);
}

int vmm_set_vring_err(struct vmm *f, uint32_t q, int fd)
{
	return tell_fd(f, VHOST_USER_SET_VRING_ERR, q, fd);
}
