/* SPDX-License-Identifier: BSD-3-Clause */
/* The control API: orders to the supervisor, and what comes from there. */
#include <string.h>

#include "control/api.h"
#include "daemon/hosted_internal.h"
#include "util/error.h"

/* In the API's thread, which does not wait for a supervisor that is busy. */
int hosted_order(struct supervise_msg *m, const void *text, size_t len, int fd)
{
	int r;

	if (m->type == SUPERVISE_UPGRADE && fd < 0)
		return -EBADF;
	r = channel_send_text(hosted.channel, m, text, len, &fd, m->type == SUPERVISE_UPGRADE, false);
	return r > 0 ? -EPIPE : r;
}

void hosted_take_done(struct channel_msg *msg)
{
	const struct supervise_msg *m = &msg->m;
	enum supervise_outcome outcome = m->u.order.code < SUPERVISE_NUM_OUTCOMES ?
		(enum supervise_outcome)m->u.order.code : SUPERVISE_ERROR;

	if (m->u.order.id)
		api_answer(hosted.engine.api, m->u.order.id, outcome, msg->piece, m->u.order.n);
	else if (msg->n_fds)
		api_tell_upgraded(channel_take_fd(msg, 0));
}

int hosted_take_event(const struct channel_msg *msg)
{
	const size_t head = offsetof(struct supervise_event, line), n = msg->m.u.event.n;
	struct supervise_event event;

	if (n < head || n > sizeof event)
		return CHANNEL_E_GARBAGE;
	memcpy(&event, msg->piece, n);
	api_tell_event(hosted.engine.api, event.at_ns, msg->m.u.event.was_before, event.line,
		       n - head);
	return 0;
}
