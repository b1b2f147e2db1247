/* SPDX-License-Identifier: BSD-3-Clause */
/* Host programs with SOCK_SEQPACKET sockets. */
#include "support/host_messages.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "support/deadline.h"
#include "support/must.h"

/* The kernel's default limit for a user's socket is a good 200 KB. */
enum { SNDBUF = 1 << 20 };

static void set_up(int fd)
{
	const int yes = 1, size = SNDBUF;

	must(setsockopt(fd, SOL_SOCKET, SO_PASSCRED, &yes, sizeof yes) == 0);
	must(setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size) == 0);
}

static int message_socket(struct sockaddr_un *addr, const char *uds, const char *rest)
{
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	must(fd >= 0);
	*addr = (struct sockaddr_un){ .sun_family = AF_UNIX };
	must(snprintf(addr->sun_path, sizeof addr->sun_path, "%s_%s", uds, rest) <
	     (int)sizeof addr->sun_path);
	return fd;
}

int host_messages_listen(const char *uds, uint32_t port, int backlog)
{
	struct sockaddr_un addr;
	char rest[16];
	int fd;

	snprintf(rest, sizeof rest, "%u", (unsigned)port);
	fd = message_socket(&addr, uds, rest);
	unlink(addr.sun_path);
	must(bind(fd, (struct sockaddr *)&addr, sizeof addr) == 0);
	must(listen(fd, backlog) == 0);
	return fd;
}

int host_messages_accept(int listener)
{
	int fd;

	must(deadline_poll(listener, POLLIN, deadline_in(DEADLINE_MS)));
	fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	must(fd >= 0);
	set_up(fd);
	return fd;
}

int host_messages_connect(const char *uds)
{
	struct sockaddr_un addr;
	int fd = message_socket(&addr, uds, "seqpacket");

	if (connect(fd, (struct sockaddr *)&addr, sizeof addr) < 0) {
		close(fd);
		return -1;
	}
	set_up(fd);
	return fd;
}

int host_messages_dial(const char *uds, uint32_t port)
{
	char line[32];
	int fd = host_messages_connect(uds);

	must(fd >= 0);
	snprintf(line, sizeof line, "CONNECT %u\n", (unsigned)port);
	host_send_message(fd, line, strlen(line));	/* it may have been closed already */
	return fd;
}

uint32_t host_messages_read_ok(int fd)
{
	char line[64] = "";
	unsigned port;
	int end = 0;
	ssize_t n = host_recv_message(fd, line, sizeof line - 1, DEADLINE_MS);

	return n > 0 && sscanf(line, "OK %u\n%n", &port, &end) == 1 && end == n ? port : 0;
}

bool host_send_message_now(int fd, const void *bytes, size_t len)
{
	return send(fd, bytes, len, MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)len;
}

bool host_send_message(int fd, const void *bytes, size_t len)
{
	int64_t deadline = deadline_in(DEADLINE_MS);

	while (!host_send_message_now(fd, bytes, len))
		if (errno != EAGAIN || !deadline_poll(fd, POLLOUT, deadline))
			return false;
	return true;
}

ssize_t host_recv_message(int fd, void *bytes, size_t size, int ms)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(struct ucred))];
	} control;
	struct iovec iov = { bytes, size };
	struct msghdr mh = {
		.msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = control.bytes, .msg_controllen = sizeof control.bytes,
	};
	ssize_t n;

	if (!deadline_poll(fd, POLLIN, deadline_in(ms)))
		return HOST_LATE;
	n = recvmsg(fd, &mh, MSG_DONTWAIT);
	must(n < 0 || !(mh.msg_flags & MSG_TRUNC));
	return n > 0 || (n == 0 && mh.msg_controllen) ? n : HOST_END;
}
