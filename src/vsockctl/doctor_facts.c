/* SPDX-License-Identifier: BSD-3-Clause */
/* The doctor's facts, as far as sockets, files and /proc tell them. */
#include "vsockctl/doctor_facts.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "util/clock.h"
#include "util/fd.h"
#include "util/unix_socket.h"
#include "vsockctl/guest_port.h"

/* ---- who listens ---- */

static void name_program(pid_t pid, char program[DOCTOR_NAME_MAX])
{
	char path[64];
	FILE *f;

	snprintf(path, sizeof path, "/proc/%d/comm", (int)pid);
	f = fopen(path, "re");
	if (!f)
		return;
	if (fgets(program, DOCTOR_NAME_MAX, f))
		program[strcspn(program, "\n")] = '\0';
	fclose(f);
}

static void name_listener(int fd, struct doctor_socket *out)
{
	struct ucred cred = { .pid = 0 };
	socklen_t len = sizeof cred;

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0)
		return;
	out->pid = cred.pid;
	path_user_name(cred.uid, out->user);
	if (cred.pid > 0)
		name_program(cred.pid, out->program);
}

/* ---- why nobody does ---- */

static enum doctor_socket_state state_of(int error)
{
	switch (error) {
	case 0:
		return SOCKET_OPEN;
	case GUEST_PORT_E_NO_SOCKET:
		return SOCKET_ABSENT;
	case GUEST_PORT_E_NOBODY:
		return SOCKET_STALE;
	case GUEST_PORT_E_OTHER_TYPE:
		return SOCKET_OTHER_TYPE;
	case GUEST_PORT_E_DENIED:
		return SOCKET_DENIED;
	case GUEST_PORT_E_NAME_LENGTH:
		return SOCKET_NAME_LENGTH;
	case GUEST_PORT_E_BUSY:
		return SOCKET_BUSY;
	default:
		return SOCKET_FAILED;
	}
}

/* Files tell more than connect() did. */
static void look_at_path(const char *path, const struct path_who *who, struct doctor_socket *s)
{
	path_check(path, who, &s->fault);
	switch (s->fault.kind) {
	case PATH_FINE:
	case PATH_UNSEEN:
		break;
	case PATH_MISSING:
	case PATH_NO_FOLDER:
		s->state = SOCKET_ABSENT;
		break;
	case PATH_DANGLING:
	case PATH_NO_SOCKET:
		s->state = SOCKET_OTHER_FILE;
		break;
	case PATH_NO_SEARCH:
	case PATH_NO_WRITE:
		s->state = SOCKET_DENIED;
		break;
	}
}

static void begin(struct doctor_socket *s, const char *path)
{
	*s = (struct doctor_socket){ .state = SOCKET_UNTRIED };
	snprintf(s->path, sizeof s->path, "%s", path);
}

void doctor_facts_connect(const char *path, uint64_t deadline_ms, struct doctor_socket *out,
			  int *fd)
{
	int sock = -1, r;

	begin(out, path);
	r = guest_port_dial(&sock, path, SOCK_STREAM, deadline_ms);
	out->state = state_of(r);
	if (r < 0)
		out->error = r;
	if (r == 0)
		name_listener(sock, out);
	else if (r != GUEST_PORT_E_NAME_LENGTH && r != GUEST_PORT_E_BUSY)
		look_at_path(path, NULL, out);
	if (fd)
		*fd = fd_take(&sock);
	fd_close(&sock);
}

/* ---- a listener on the host ---- */

static const char *last_part(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

/* Whether the name that a socket was bound by, as the kernel keeps it, is @path, of file @st. */
static enum doctor_socket_state compare(const char *name, const char *path, const struct stat *st)
{
	struct stat other;

	if (strcmp(name, path) == 0)
		return SOCKET_OPEN;
	if (strcmp(last_part(name), last_part(path)) != 0)
		return SOCKET_STALE;
	if (name[0] != '/')			/* from a folder that is not known */
		return SOCKET_UNSURE;
	return stat(name, &other) == 0 && other.st_dev == st->st_dev && other.st_ino == st->st_ino ?
		SOCKET_OPEN : SOCKET_STALE;
}

/*
 * Does the kernel know a listener of that name? Never by a connect, which one that waits for the
 * guest would take for the guest's. What is not seen: one in another network namespace, and
 * whether it accepts.
 */
static enum doctor_socket_state look_up(const char *path)
{
	enum { ACCEPTS = 0x10000 };		/* __SO_ACCEPTCON */
	enum doctor_socket_state found = SOCKET_STALE;
	char line[512], name[UNIX_PATH_BYTES + 1];
	struct stat st = { .st_ino = 0 };
	unsigned flags;
	FILE *f = fopen("/proc/net/unix", "re");

	if (!f || stat(path, &st) < 0)
		found = SOCKET_UNSURE;
	while (f && found != SOCKET_OPEN && fgets(line, sizeof line, f))
		if (sscanf(line, "%*s %*s %*s %x %*s %*s %*s %108[^\n]", &flags, name) == 2 &&
		    flags & ACCEPTS && compare(name, path, &st) != SOCKET_STALE)
			found = compare(name, path, &st);
	if (f)
		fclose(f);
	return found;
}

static void look_for_listener(const char *path, const struct path_who *daemon,
			      struct doctor_socket *out)
{
	begin(out, path);
	out->state = SOCKET_OPEN;
	look_at_path(path, daemon, out);
	if (out->state == SOCKET_OPEN)
		out->state = look_up(path);
}

/* ---- the hybrid socket ---- */

void doctor_facts_hybrid(const char *path, uint64_t deadline_ms, struct doctor_facts *f)
{
	char host[DOCTOR_PATH_MAX];
	struct path_who daemon;
	uint64_t began_ms;
	bool is_seen;
	int fd;

	doctor_facts_connect(path, deadline_ms, &f->uds, &fd);
	if (!f->has_port || f->uds.state != SOCKET_OPEN) {
		fd_close(&fd);
		return;
	}
	is_seen = f->uds.pid > 0 && path_who_is(f->uds.pid, &daemon);
	path_user_name(is_seen ? daemon.uid : 0, f->daemon_user);
	snprintf(host, sizeof host, "%s_%" PRIu32, path, f->port);
	look_for_listener(host, is_seen ? &daemon : NULL, &f->host);
	began_ms = clock_ms();
	f->port_outcome = guest_port_ask(fd, SOCK_STREAM, f->port, deadline_ms);
	f->port_ms = clock_ms() - began_ms;
	f->was_port_tried = true;
	fd_close(&fd);
}
