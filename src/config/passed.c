/* SPDX-License-Identifier: BSD-3-Clause */
/* Sockets that we were started with. */
#include "config/passed.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "config/error.h"
#include "config/number.h"
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

/* NULL: it does not run. */
static const struct vm_plan *find_running(const struct plan *running, uint64_t cid)
{
	for (size_t i = 0; running && i < running->n_vms; i++)
		if (running->vms[i].guest_cid == cid)
			return &running->vms[i];
	return NULL;
}

/* The VM that talks to its only front-end by this descriptor, which may be closed here. */
static const struct vm_plan *find_user(const struct plan *running, int fd)
{
	for (size_t i = 0; running && i < running->n_vms; i++) {
		const struct socket_plan *socket = &running->vms[i].vhost_socket;

		if (socket->fd == fd && !socket->fd_listens)
			return &running->vms[i];
	}
	return NULL;
}

static const char *check(struct vm_plan *vm, const struct plan *running)
{
	struct socket_plan *socket = &vm->vhost_socket;
	const struct vm_plan *user = socket->fd < 0 ? NULL : find_user(running, socket->fd);

	if (socket->fd < 0)
		return NULL;
	if (!user)
		return find_fault(socket->fd, &socket->fd_listens);
	return user->guest_cid == vm->guest_cid ? NULL : "another VM has used that descriptor";
}

/* That of the API, which a service manager's is not yet. */
static int check_api(struct plan *plan, struct config_error *err)
{
	struct socket_plan *socket = &plan->api_socket;
	const char *fault = socket->fd < 0 ? NULL : find_fault(socket->fd, &socket->fd_listens);

	if (!fault && socket->fd >= 0 && !socket->fd_listens)
		fault = "a socket that does not listen";
	return fault ? config_fail(err, "--api-socket: fd: %d: %s", socket->fd, fault) : 0;
}

/* It is ours, and closed on exec, once we run. */
static int check_events(const struct plan *plan, struct config_error *err)
{
	int fd = plan->event_fd, flags;

	if (fd < 0)
		return 0;
	flags = fcntl(fd, F_GETFD);
	if (flags < 0 || flags & FD_CLOEXEC)
		return config_fail(err, "--event-monitor: fd: %d: no such descriptor was passed to "
				   "us", fd);
	if ((fcntl(fd, F_GETFL) & O_ACCMODE) == O_RDONLY)
		return config_fail(err, "--event-monitor: fd: %d: cannot be written to", fd);
	return 0;
}

int passed_check(struct plan *plan, const struct plan *running, struct config_error *err)
{
	int r = check_api(plan, err);

	if (!r && !running)
		r = check_events(plan, err);
	if (r)
		return r;
	for (struct vm_plan *vm = plan->vms; vm < plan->vms + plan->n_vms; vm++) {
		struct socket_plan *socket = &vm->vhost_socket;
		const char *fault = check(vm, running);

		if (!fault)
			continue;
		r = config_fail(err, "%sfd: %d: %s", vm->origin ? "" : "--", socket->fd, fault);
		return vm->origin ? config_prefix(err, r, "%s", vm->origin) : r;
	}
	return 0;
}

/* ---- a service manager ---- */

enum {
	LISTEN_FDS_START = 3,
	LISTEN_FDS_MAX = 1 << 16,
	NAME_MAX_BYTES = 256,			/* of a socket, with its end: systemd's limit */
};

/* A number that somebody has set for this process; 0: nobody has. */
static uint64_t number_of_env(const char *name, uint64_t max)
{
	const char *text = getenv(name);
	struct config_error ignored;
	uint64_t n;

	return text && number_parse(&n, text, 0, max, &ignored) == 0 ? n : 0;
}

static bool is_taken(const struct plan *plan, int fd)
{
	for (const struct vm_plan *vm = plan->vms; vm < plan->vms + plan->n_vms; vm++)
		if (vm->vhost_socket.fd == fd || vm->uds_socket.fd == fd)
			return true;
	return plan->api_socket.fd == fd;
}

/* Is @path, or what the VM calls @role, what @name says, or where the socket is bound? */
static bool is_meant(const struct vm_plan *vm, const char *path, const char *role,
		     const char *name, const struct sockaddr_un *at)
{
	char by_cid[NAME_MAX_BYTES];

	if (!path)
		return false;
	snprintf(by_cid, sizeof by_cid, "cid-%" PRIu64 "-%s", vm->guest_cid, role);
	return strcmp(name, path) == 0 || strcmp(name, by_cid) == 0 ||
		strcmp(at->sun_path, path) == 0;
}

static bool is_same(const char *a, const char *b)
{
	return a && b && strcmp(a, b) == 0;
}

static bool is_api(const struct plan *plan, const char *name, const struct sockaddr_un *at)
{
	return plan->api_path && (strcmp(name, "api") == 0 || strcmp(name, plan->api_path) == 0 ||
				  strcmp(at->sun_path, plan->api_path) == 0);
}

/* Who has it, and is to be found where it is. */
static struct socket_plan *find_present_owner(struct plan *plan, const struct plan *running, int fd)
{
	for (struct vm_plan *vm = plan->vms; vm < plan->vms + plan->n_vms; vm++) {
		const struct vm_plan *now = find_running(running, vm->guest_cid);

		if (now && now->vhost_socket.fd == fd && is_same(now->socket, vm->socket))
			return &vm->vhost_socket;
		if (now && now->uds_socket.fd == fd && is_same(now->uds_path, vm->uds_path))
			return &vm->uds_socket;
	}
	return NULL;
}

/* Whose socket @fd is; NULL: nobody's. */
static struct socket_plan *find_owner(struct plan *plan, const struct plan *running,
				      const char *name, int fd)
{
	struct sockaddr_un at = { .sun_path = "" };
	socklen_t len = sizeof at - 1;		/* so that a longest path has its end */
	struct vm_plan *sole = plan->n_vms == 1 ? plan->vms : NULL;

	if (getsockname(fd, (struct sockaddr *)&at, &len) < 0 || at.sun_family != AF_UNIX)
		at.sun_path[0] = '\0';
	if (is_api(plan, name, &at))
		return &plan->api_socket;
	for (struct vm_plan *vm = plan->vms; vm < plan->vms + plan->n_vms; vm++) {
		if (is_meant(vm, vm->socket, "socket", name, &at))
			return &vm->vhost_socket;
		if (is_meant(vm, vm->uds_path, "uds", name, &at))
			return &vm->uds_socket;
	}
	if (running)
		return find_present_owner(plan, running, fd);
	if (sole && sole->socket && sole->vhost_socket.fd < 0)
		return &sole->vhost_socket;
	return sole && sole->uds_path && sole->uds_socket.fd < 0 ? &sole->uds_socket : NULL;
}

static int give(struct plan *plan, const struct plan *running, int fd, const char *name,
		struct config_error *err)
{
	struct socket_plan *socket = find_owner(plan, running, name, fd);
	bool listens = false;
	const char *fault = !socket ? "belongs to no VM of ours" :
		socket->fd >= 0 ? "belongs to what has one already" : find_fault(fd, &listens);

	if (!socket && running)
		return 0;			/* until there is a VM again that it belongs to */
	if (!fault && !listens)
		fault = "does not listen";
	if (fault)
		return config_fail(err, "LISTEN_FDS: descriptor %d (" SHOWN "): %s", fd, name, fault);
	socket->fd = fd;
	socket->fd_listens = true;
	return 0;
}

int passed_activate(struct plan *plan, const struct plan *running, struct config_error *err)
{
	int n = (int)number_of_env("LISTEN_FDS", LISTEN_FDS_MAX), r = 0;
	const char *names = getenv("LISTEN_FDNAMES");

	if (number_of_env("LISTEN_PID", INT32_MAX) != (uint64_t)getpid())
		return 0;			/* meant for who started us */
	for (int fd = LISTEN_FDS_START; r == 0 && fd < LISTEN_FDS_START + n; fd++) {
		int len = names ? (int)strcspn(names, ":") : 0;
		char name[NAME_MAX_BYTES];

		snprintf(name, sizeof name, "%.*s", len, names ? names : "");
		if (names)
			names += len + (names[len] == ':');
		if (!is_taken(plan, fd) && strncmp(name, "vdv-", 4) != 0)
			r = give(plan, running, fd, name, err);
	}
	return r;
}
