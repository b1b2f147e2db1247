/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Front-ends that come and go.
 *
 * One that the engine had accepted itself would be nobody else's for a moment, and be closed with
 * it if it died; QEMU does not come again. So it is accepted here, when the engine says that there
 * is one, and kept from its first moment on.
 */
#include <sys/socket.h>
#include <sys/time.h>

#include "daemon/notify.h"
#include "daemon/supervisor_internal.h"
#include "util/error.h"
#include "util/log.h"

/* One at a time. The engine has the same socket, and could make it one that blocks; but it is
 * not allowed to change for how long. */
static int accept_one(struct supervisor *s, struct held_vm *h, int *fd)
{
	const struct timeval shortest = { .tv_usec = 1 };
	struct listener *l = &h->sockets.vhost;
	int r;

	*fd = held_vm_get(h, SUPERVISE_SLOT_ACCEPTED);
	if (*fd >= 0)				/* it has not heard of this one */
		return 0;
	if (s->successor.state > SUCCESSOR_PREPARING)
		return -EAGAIN;			/* both are to know of the same ones */
	if (setsockopt(l->fd, SOL_SOCKET, SO_RCVTIMEO, &shortest, sizeof shortest) < 0)
		return error_last();
	r = listener_accept(l, fd);
	return r ? r : held_vm_keep(h, SUPERVISE_SLOT_ACCEPTED, *fd);
}

int supervisor_accept(struct supervisor *s, struct held_vm *h)
{
	struct supervise_msg m = { .type = SUPERVISE_ACCEPTED, .cid = h->plan.guest_cid };
	int fd, r = accept_one(s, h, &fd);

	m.u.connected.result = r;
	r = channel_send(s->channel, &m, &fd, r == 0, false);
	/* It asks again; one that has ended may have said more before. */
	return r == -EAGAIN || r == CHANNEL_E_END ? 0 : r;
}

/* Where sockets have paths, there is always a next front-end. */
static bool may_be_over(const struct held_vm *h)
{
	return !h->plan.socket && !h->plan.connect;
}

/* One whose only front-end has gone has nothing left to do. 0; CHANNEL_E_GARBAGE. */
int supervisor_on_over(struct supervisor *s, struct held_vm *h)
{
	if (!may_be_over(h))
		return CHANNEL_E_GARBAGE;
	h->is_over = true;
	for (size_t i = 0; i < s->n_vms; i++)
		if (s->vms[i]->awaits_folder || (s->vms[i]->is_served && !s->vms[i]->is_over))
			return 0;
	log_info("main", "ends: the last front-end has gone, and no other can come");
	supervisor_end(s, 0);
	return 0;
}

void supervisor_note_session(struct held_vm *h, bool has_come)
{
	if (h->has_front_end != has_come)
		notify_front_end(has_come ? 1 : -1);
	h->has_front_end = has_come;
}
