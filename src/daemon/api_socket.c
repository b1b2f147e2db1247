/* SPDX-License-Identifier: BSD-3-Clause */
/* Where clients of the control API connect. */
#include "daemon/api_socket.h"

#include <fcntl.h>
#include <sys/socket.h>

#include "config/plan.h"
#include "daemon/sockets.h"
#include "util/error.h"
#include "util/log.h"

/* The number stays open, as of all that was passed: a reload looks at it again. */
static int adopt(struct listener *l, int fd)
{
	int own = fcntl(fd, F_DUPFD_CLOEXEC, 3), r;

	if (own < 0)
		return error_last();
	r = listener_adopt(l, own);
	if (r)
		log_err("main", "api-socket: descriptor %d: %s", fd, error_str(r));
	return r;
}

int api_socket_open(struct listener *l, const struct plan *plan)
{
	const struct socket_plan *socket = &plan->api_socket;
	const struct listener_access access = sockets_access(plan, socket);
	char why[LISTENER_TEXT_MAX];
	int r;

	listener_init(l);
	if (socket->fd >= 0)
		return adopt(l, socket->fd);
	if (!plan->api_path)
		return 0;
	r = listener_open(l, plan->api_path, SOCK_STREAM, &access);
	if (r) {
		listener_explain(plan->api_path, &access.within, r, why);
		log_err("main", "api-socket %s: %s", plan->api_path, why);
	} else {
		log_info("main", "the control API listens on %s, mode %04o", plan->api_path,
			 (unsigned)socket->mode);
	}
	return r;
}
