/* SPDX-License-Identifier: BSD-3-Clause */
/* What an engine is told at its start. */
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "config/plan.h"
#include "config/plan_state.h"
#include "control/events.h"
#include "daemon/supervisor_internal.h"
#include "util/closer.h"
#include "util/error.h"
#include "util/fd.h"
#include "util/log.h"

static int make_shared(int *fd)
{
	*fd = memfd_create("workers", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (*fd < 0 || ftruncate(*fd, sizeof(struct supervise_shared)) < 0 ||
	    fcntl(*fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
		return error_last();
	return 0;
}

/* That of an older program: the engine which still uses it will end soon. */
static bool is_smaller(int fd)
{
	struct stat st;

	return fstat(fd, &st) < 0 || st.st_size < (off_t)sizeof(struct supervise_shared);
}

/* One of the program before is there already. */
int supervisor_share(struct supervisor *s)
{
	void *shared;
	int r;

	if (s->shared_fd >= 0 && is_smaller(s->shared_fd))
		fd_close(&s->shared_fd);
	r = s->shared_fd < 0 ? make_shared(&s->shared_fd) : 0;

	if (r < 0)
		return r;
	shared = mmap(NULL, sizeof *s->shared, PROT_READ | PROT_WRITE, MAP_SHARED, s->shared_fd, 0);
	if (shared == MAP_FAILED)
		return error_last();
	s->shared = shared;
	return 0;
}

void supervisor_unshare(struct supervisor *s)
{
	if (s->shared)
		munmap(s->shared, sizeof *s->shared);
	s->shared = NULL;
	fd_close(&s->shared_fd);
}

static int send_settings(struct supervisor *s, int channel)
{
	const struct supervise_msg m = { .type = SUPERVISE_SETTINGS };
	struct blob b;
	int fds[] = { log_descriptor(), s->shared_fd }, r;

	blob_init(&b, SUPERVISE_BLOB_MAX, 0);
	plan_state_save(s->plan, &b);
	r = channel_send_blob(channel, &b);
	if (!r)
		r = channel_send(channel, &m, fds, s->shared ? 2 : 1, true);
	blob_deinit(&b);
	return r;
}

static int send_events(int channel)
{
	const struct supervise_msg m = { .type = SUPERVISE_EVENTS };
	int fd = events_descriptor();

	return fd < 0 ? 0 : channel_send(channel, &m, &fd, 1, true);
}

int supervisor_send_settings(struct supervisor *s)
{
	return send_settings(s, s->channel);
}

static int send_kept(int channel, struct held_vm *h)
{
	const struct supervise_msg m = { .type = SUPERVISE_KEPT, .cid = h->plan.guest_cid };
	struct blob b;
	int r;

	h->told = h->n_changes;
	blob_init(&b, SUPERVISE_BLOB_MAX, SUPERVISE_SLOTS_MAX);
	for (size_t i = 0; i < h->n_kept; i++) {
		blob_put_u32(&b, h->kept[i].slot);
		blob_put_fd(&b, h->kept[i].fd);
	}
	r = channel_send_blob(channel, &b);
	if (!r)
		r = channel_send(channel, &m, NULL, 0, true);
	blob_deinit(&b);
	return r;
}

static int send_vm(int channel, const struct held_vm *h)
{
	struct supervise_msg m = {
		.type = SUPERVISE_VM, .cid = h->plan.guest_cid,
	};
	int fds[3], r;
	size_t n_fds = 0;
	struct blob b;

	blob_init(&b, SUPERVISE_BLOB_MAX, 0);
	plan_state_save_vm(&h->plan, &b);
	r = channel_send_blob(channel, &b);
	if (h->plan.is_by_api)
		m.u.vm.sockets |= SUPERVISE_IS_BY_API;
	if (h->sockets.vhost.fd >= 0) {
		m.u.vm.sockets |= SUPERVISE_HAS_SOCKET;
		fds[n_fds++] = h->sockets.vhost.fd;
	}
	if (h->sockets.uds.fd >= 0) {
		m.u.vm.sockets |= SUPERVISE_HAS_UDS;
		fds[n_fds++] = h->sockets.uds.fd;
	}
	if (h->sockets.seqpacket.fd >= 0) {
		m.u.vm.sockets |= SUPERVISE_HAS_SEQPACKET;
		fds[n_fds++] = h->sockets.seqpacket.fd;
	}
	if (!r)
		r = channel_send(channel, &m, fds, n_fds, true);
	blob_deinit(&b);
	return r;
}

/* Two of one CID are not told apart by what the engine says. */
int supervisor_send_vm(struct supervisor *s, struct held_vm *h)
{
	int r;

	h->waits = supervisor_outgrows(s, h) || supervisor_is_leaving(s, h->plan.guest_cid);
	if (h->waits)
		return 0;
	r = send_vm(s->channel, h);
	return r ? r : supervisor_send_capture(s, h);
}

static int feed_kept(struct supervisor *s, int channel)
{
	int r = 0;

	for (size_t i = 0; !r && i < s->n_vms; i++) {
		struct held_vm *h = s->vms[i];

		h->told = h->n_changes;
		if (h->is_served && h->n_kept)
			r = send_kept(channel, h);
	}
	return r;
}

int supervisor_feed_again(int channel, struct held_vm *h)
{
	int r = send_vm(channel, h);

	return r ? r : send_kept(channel, h);
}

int supervisor_feed_changes(struct supervisor *s, int channel)
{
	int r = 0;

	for (size_t i = 0; !r && i < s->n_vms; i++)
		if (s->vms[i]->is_served && s->vms[i]->told != s->vms[i]->n_changes)
			r = supervisor_feed_again(channel, s->vms[i]);
	return r;
}

int supervisor_say(struct supervisor *s, enum supervise_type type, uint64_t number)
{
	const struct supervise_msg m = { .type = type, .u.number = number };
	bool is_urgent = type == SUPERVISE_PING || type == SUPERVISE_STOP;

	return channel_send(s->channel, &m, NULL, 0, !is_urgent);
}

/* It reads nothing of a peer before START, so there is nothing that it can hang at; should it
 * do so all the same, that is known, and it is ended. */
int supervisor_feed(struct supervisor *s, int channel, enum supervise_type begin)
{
	const struct supervise_msg api = { .type = SUPERVISE_API }, last = { .type = begin };
	int flags = fcntl(channel, F_GETFL), r;

	if (flags < 0 || fcntl(channel, F_SETFL, flags | O_NONBLOCK) < 0)
		return error_last();
	r = send_settings(s, channel);
	if (!r)
		r = send_events(channel);
	if (!r && s->api.fd >= 0)
		r = channel_send(channel, &api, &s->api.fd, 1, true);
	for (size_t i = 0; !r && i < s->n_vms; i++)
		if (s->vms[i]->is_served && !(r = send_vm(channel, s->vms[i])))
			r = supervisor_feed_capture(channel, s->vms[i]);
	if (!r)
		r = feed_kept(s, channel);
	if (!r)
		r = channel_send(channel, &last, NULL, 0, true);
	if (!r && begin == SUPERVISE_START)	/* else once it takes over */
		supervisor_feed_told(s);
	return r;
}

void supervisor_passed_on(struct held_vm *h)
{
	if (h->plan.vhost_socket.fd >= 0 && !h->plan.vhost_socket.fd_listens)
		closer_close(&h->sockets.vhost.fd);
}
