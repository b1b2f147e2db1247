/* SPDX-License-Identifier: BSD-3-Clause */
/* Sockets that we were started with. */
#include "config/passed.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>

#include "config/error.h"
#include "config/plan.h"

/* -1: it is not to be had, and errno says why. */
static int socket_fact(int fd, int fact)
{
	int value;
	socklen_t len = sizeof value;

	return getsockopt(fd, SOL_SOCKET, fact, &value, &len) < 0 ? -1 : value;
}

static bool is_connected(int fd)
{
	struct sockaddr_storage peer;
	socklen_t len = sizeof peer;

	return getpeername(fd, (struct sockaddr *)&peer, &len) == 0;
}

/* Why @fd will not do; NULL: it will. What we have opened ourselves is closed on exec, so
 * it is nothing that was passed. */
static const char *find_fault(int fd, bool *listens)
{
	int flags = fcntl(fd, F_GETFD), family;

	if (flags < 0 || flags & FD_CLOEXEC)
		return "no such descriptor was passed to us";
	family = socket_fact(fd, SO_DOMAIN);
	if (family < 0)
		return errno == ENOTSOCK ? "that descriptor is no socket" : strerror(errno);
	if (family != AF_UNIX || socket_fact(fd, SO_TYPE) != SOCK_STREAM)
		return "not a unix stream socket";
	*listens = socket_fact(fd, SO_ACCEPTCONN) == 1;
	return *listens || is_connected(fd) ? NULL : "a socket that neither listens nor is connected";
}

int passed_check(struct plan *plan, struct config_error *err)
{
	for (struct vm_plan *vm = plan->vms; vm < plan->vms + plan->n_vms; vm++) {
		struct socket_plan *socket = &vm->vhost_socket;
		const char *fault = socket->fd < 0 ? NULL : find_fault(socket->fd, &socket->fd_listens);
		int r;

		if (!fault)
			continue;
		r = config_fail(err, "%sfd: %d: %s", vm->origin ? "" : "--", socket->fd, fault);
		return vm->origin ? config_prefix(err, r, "%s", vm->origin) : r;
	}
	return 0;
}
