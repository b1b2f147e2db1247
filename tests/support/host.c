/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Host programs at the daemon's unix sockets: see host.h.
 */
#include "support/host.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "support/deadline.h"
#include "support/must.h"

static int unix_socket(const char *path, struct sockaddr_un *addr)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	must(fd >= 0);
	must(strlen(path) < sizeof addr->sun_path);
	*addr = (struct sockaddr_un){ .sun_family = AF_UNIX };
	strcpy(addr->sun_path, path);
	return fd;
}

int host_connect(const char *path)
{
	struct sockaddr_un addr;
	int fd = unix_socket(path, &addr);

	if (connect(fd, (struct sockaddr *)&addr, sizeof addr) == 0)
		return fd;
	close(fd);
	return -1;
}

int host_dial(const char *uds, uint32_t port)
{
	char line[32];
	int fd = host_connect(uds);

	must(fd >= 0);
	snprintf(line, sizeof line, "CONNECT %u\n", (unsigned)port);
	host_write(fd, line, strlen(line));	/* it may have been closed already */
	return fd;
}

bool host_read_line(int fd, char *line, size_t size)
{
	size_t n;

	for (n = 0; n + 1 < size; n++) {
		if (host_read(fd, line + n, 1) != 1)
			return false;
		if (line[n] == '\n') {
			line[n] = '\0';
			return true;
		}
	}
	return false;
}

uint32_t host_read_ok(int fd)
{
	char line[32], want[32];
	unsigned long port;

	if (!host_read_line(fd, line, sizeof line) || strncmp(line, "OK ", 3) != 0)
		return 0;
	port = strtoul(line + 3, NULL, 10);
	snprintf(want, sizeof want, "OK %lu", port);
	return strcmp(line, want) == 0 && port <= UINT32_MAX ? (uint32_t)port : 0;
}

int host_listen(const char *uds, uint32_t port, int backlog)
{
	struct sockaddr_un addr;
	char path[128];
	int fd;

	snprintf(path, sizeof path, "%s_%u", uds, (unsigned)port);
	fd = unix_socket(path, &addr);
	must(bind(fd, (struct sockaddr *)&addr, sizeof addr) == 0);
	must(listen(fd, backlog) == 0);
	return fd;
}

int host_accept(int listener)
{
	int fd;

	if (!deadline_poll(listener, POLLIN, deadline_in(DEADLINE_MS)))
		die("nobody connected to the host's listener");
	fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	must(fd >= 0);
	return fd;
}

void host_unlisten(int listener, const char *uds, uint32_t port)
{
	char path[128];

	snprintf(path, sizeof path, "%s_%u", uds, (unsigned)port);
	close(listener);
	unlink(path);
}

bool host_write(int fd, const void *bytes, size_t len)
{
	const uint8_t *p = bytes;
	int64_t deadline = 0;			/* not set before there is something to wait for */
	ssize_t n;

	while (len) {
		n = send(fd, p, len, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n > 0) {
			p += n;
			len -= (size_t)n;
			continue;
		}
		if (errno != EAGAIN)
			return false;
		if (!deadline)
			deadline = deadline_in(DEADLINE_MS);
		if (!deadline_poll(fd, POLLOUT, deadline))
			return false;
	}
	return true;
}

size_t host_read(int fd, void *bytes, size_t len)
{
	int64_t deadline = deadline_in(DEADLINE_MS);
	uint8_t *p = bytes;
	size_t done = 0;
	ssize_t n;

	while (done < len && deadline_poll(fd, POLLIN, deadline)) {
		n = recv(fd, p + done, len - done, MSG_DONTWAIT);
		if (n <= 0)
			break;
		done += (size_t)n;
	}
	return done;
}

bool host_is_closed(int fd, int ms)
{
	char byte;

	return deadline_poll(fd, POLLIN, deadline_in(ms)) &&
	       recv(fd, &byte, 1, MSG_DONTWAIT) <= 0;
}

bool host_is_quiet(int fd, int ms)
{
	return !deadline_poll(fd, POLLIN, deadline_in(ms));
}
