/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * vsockctl shutdown: done when the daemon has ended, so that another one may be started at once.
 *
 * The API says which process answers; what it is a child of, the supervisor, ends last. That is
 * believed where the kernel says that the one or its parent listens at the API's socket: numbers
 * of another pid namespace mean others here. The process is held by a descriptor from before the
 * order, as its number may be another's soon. Where it cannot be told, a connection that is kept
 * open tells the end of whoever has accepted it.
 */
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "util/clock.h"
#include "util/fd.h"
#include "vsockctl/api.h"
#include "vsockctl/command.h"
#include "vsockctl/exit.h"
#include "vsockctl/guest_port.h"
#include "vsockctl/text.h"

enum { ORDER_MS = 120000, LOOK_MS = 5000, END_MS = 10000, PAUSE_MS = 20 };

struct watch {
	int fd;					/* readable when it has ended; -1: nobody is there */
	pid_t listener;				/* the daemon, which made the socket; 0: another did */
};

static pid_t listener_of(int sock)
{
	struct ucred cred = { .pid = 0 };
	socklen_t len = sizeof cred;

	return getsockopt(sock, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0 ? 0 : cred.pid;
}

/* 0: unknown. */
static pid_t parent_of(pid_t pid)
{
	char name[64], line[256];
	int parent = 0;
	FILE *f;

	snprintf(name, sizeof name, "/proc/%d/status", (int)pid);
	f = fopen(name, "re");
	while (f && !parent && fgets(line, sizeof line, f))
		if (sscanf(line, "PPid: %d", &parent) == 1)
			break;
	if (f)
		fclose(f);
	return parent;
}

/* As the API says; 0: it does not. */
static pid_t daemon_of(const char *api)
{
	char why[HTTP_WHY_MAX];
	json_t *json;
	uint64_t pid;

	if (api_get(api, "/v1/version", &json, why))
		return 0;
	pid = api_number(json, "pid");
	if (pid > INT32_MAX)
		pid = 0;
	if (pid && api_is_true(json, "supervised"))
		pid = (uint64_t)parent_of((pid_t)pid);
	json_decref(json);
	return (pid_t)pid;
}

static void begin(struct watch *w, const char *api)
{
	pid_t daemon = daemon_of(api), listener;
	int process = -1;

	*w = (struct watch){ .fd = -1 };
	if (guest_port_dial(&w->fd, api, SOCK_STREAM, clock_ms() + LOOK_MS))
		return;				/* the order says why */
	listener = listener_of(w->fd);
	if (daemon > 0 && listener > 0 && (daemon == listener || parent_of(daemon) == listener))
		process = (int)syscall(SYS_pidfd_open, daemon, 0);
	if (process < 0)
		return;
	fd_close(&w->fd);
	w->fd = process;
	if (daemon == listener)
		w->listener = listener;
}

static bool has_ended(const struct watch *w, uint64_t deadline_ms)
{
	struct pollfd p = { .fd = w->fd, .events = POLLIN };
	uint64_t now_ms;

	while ((now_ms = clock_ms()) < deadline_ms) {
		uint64_t left_ms = deadline_ms - now_ms;

		if (poll(&p, 1, left_ms < END_MS ? (int)left_ms : END_MS) > 0)
			return true;
	}
	return false;
}

/* Nobody is at the socket, or the next daemon is. Whoever gave it to the daemon keeps it, and may
 * start another one for a connection. */
static bool is_left(const struct watch *w, const char *api, uint64_t deadline_ms)
{
	if (!w->listener)
		return true;
	do {
		int sock = -1, r = guest_port_dial(&sock, api, SOCK_STREAM, deadline_ms);
		bool is_same = r == GUEST_PORT_E_BUSY || (r == 0 && listener_of(sock) == w->listener);

		fd_close(&sock);
		if (!is_same)
			return true;
		clock_rest(PAUSE_MS);
	} while (clock_ms() < deadline_ms);
	return false;
}

int command_shutdown(const struct args *a)
{
	uint64_t patience_ms = a->timeout_ms == UINT64_MAX ? END_MS : a->timeout_ms, deadline_ms;
	const char *api = args_api(a, NULL);
	struct watch w;
	int r;

	begin(&w, api);
	r = api_order(a, "POST", "/v1/shutdown", NULL, ORDER_MS);
	deadline_ms = clock_ms() + patience_ms;
	if (r == EXIT_DONE && w.fd >= 0 &&
	    (!has_ended(&w, deadline_ms) || !is_left(&w, api, deadline_ms))) {
		text_complain("the daemon was told to end, and has not so far");
		r = EXIT_LATE;
	}
	fd_close(&w.fd);
	return r;
}
