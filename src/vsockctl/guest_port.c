/* SPDX-License-Identifier: BSD-3-Clause */
/* A port in the guest. */
#include "vsockctl/guest_port.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>

#include "protocol/hybrid.h"
#include "util/clock.h"
#include "util/error.h"
#include "util/fd.h"
#include "util/unix_socket.h"
#include "vsockctl/exit.h"

/* Milliseconds that are left, as poll() wants them: at most a day, -1 for ever. */
static int left_ms(uint64_t deadline_ms)
{
	uint64_t now = clock_ms();

	if (deadline_ms == GUEST_PORT_NEVER)
		return -1;
	if (now >= deadline_ms)
		return 0;
	return deadline_ms - now < 86400000 ? (int)(deadline_ms - now) : 86400000;
}

/* ---- connecting ---- */

/* A blocking connect() waits for room in the listener's backlog; where that takes too long,
 * this ends it. 0 is for ever. */
static int limit_connect(int fd, uint64_t deadline_ms)
{
	int left = left_ms(deadline_ms);
	struct timeval tv = { 0, 0 };

	if (left >= 0) {
		tv.tv_sec = left / 1000;
		tv.tv_usec = left % 1000 * 1000;
		if (left == 0)
			tv.tv_usec = 1;
	}
	return setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof tv) < 0 ? error_last() : 0;
}

static int connect_blocking(int fd, const char *path, uint64_t deadline_ms)
{
	int r, flags = fcntl(fd, F_GETFL);

	if (flags < 0 || fcntl(fd, F_SETFL, flags & ~O_NONBLOCK) < 0)
		return error_last();
	do {
		r = limit_connect(fd, deadline_ms);
		if (r == 0)
			r = unix_connect(fd, path);
	} while (r == -EINTR);			/* stopped and continued: it has not connected */
	return r ? r : limit_connect(fd, GUEST_PORT_NEVER);
}

static int outcome_of(int unix_error)
{
	switch (unix_error) {
	case UNIX_E_AGAIN:
		return GUEST_PORT_E_BUSY;
	case UNIX_E_NO_NAME:
		return GUEST_PORT_E_NO_SOCKET;
	case UNIX_E_NOBODY:
		return GUEST_PORT_E_NOBODY;
	case UNIX_E_OTHER_TYPE:
		return GUEST_PORT_E_OTHER_TYPE;
	case UNIX_E_DENIED:
		return GUEST_PORT_E_DENIED;
	case UNIX_E_NAME_LENGTH:
		return GUEST_PORT_E_NAME_LENGTH;
	default:
		return unix_error;
	}
}

int guest_port_dial(int *out, const char *path, int type, uint64_t deadline_ms)
{
	int fd, r;

	r = unix_socket(&fd, type);
	if (r)
		return r;
	r = connect_blocking(fd, path, deadline_ms);
	if (r) {
		fd_close(&fd);
		return outcome_of(r);
	}
	*out = fd;
	return 0;
}

/* ---- the line and its answer ---- */

static int say_line(int fd, uint32_t port)
{
	char line[HYBRID_LINE_MAX];
	int len = snprintf(line, sizeof line, "CONNECT %u\n", port);
	ssize_t n;

	do
		n = send(fd, line, (size_t)len, MSG_NOSIGNAL);	/* there is room for the first */
	while (n < 0 && errno == EINTR);
	if (n == len)
		return 0;
	return n >= 0 || errno == EPIPE || errno == ECONNRESET ? GUEST_PORT_E_REFUSED : error_last();
}

/* At most @size bytes that have come until the deadline, or none: the end. 0;
 * GUEST_PORT_E_LATE, GUEST_PORT_E_REFUSED, -errno. */
static int read_some(int fd, char *to, size_t size, size_t *got, uint64_t deadline_ms)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	ssize_t n;
	int r;

	for (;;) {
		r = poll(&p, 1, left_ms(deadline_ms));
		if (r < 0 && errno != EINTR)
			return error_last();
		if (r == 0 && clock_ms() >= deadline_ms)
			return GUEST_PORT_E_LATE;
		if (r <= 0)
			continue;
		n = recv(fd, to, size, MSG_DONTWAIT);
		if (n >= 0) {
			*got = (size_t)n;
			return 0;
		}
		if (errno == ECONNRESET)
			return GUEST_PORT_E_REFUSED;
		if (errno != EINTR && errno != EAGAIN)
			return error_last();
	}
}

/* Byte by byte, as the guest may speak right behind it; a message comes whole. */
static int read_answer(int fd, int type, char *answer, size_t size, uint64_t deadline_ms)
{
	size_t len = 0, got, step = type == SOCK_SEQPACKET ? size - 1 : 1;
	int r;

	while (len + step < size) {
		r = read_some(fd, answer + len, step, &got, deadline_ms);
		if (r)
			return r;
		if (got == 0)
			return len ? GUEST_PORT_E_ODD : GUEST_PORT_E_REFUSED;
		len += got;
		if (answer[len - 1] == '\n') {
			answer[len - 1] = '\0';
			return 0;
		}
		if (type == SOCK_SEQPACKET)
			break;
	}
	return GUEST_PORT_E_ODD;
}

/* The port is in it, but which is nobody's business: Firecracker's is the host's. */
static bool is_ok(const char *answer)
{
	static const char ok[] = "OK ";
	const char *port = answer + sizeof ok - 1;

	return strncmp(answer, ok, sizeof ok - 1) == 0 && *port &&
		port[strspn(port, "0123456789")] == '\0';
}

int guest_port_ask(int fd, int type, uint32_t port, uint64_t deadline_ms)
{
	char answer[HYBRID_REPLY_MAX + 1];
	int r = say_line(fd, port);

	if (r == 0)
		r = read_answer(fd, type, answer, sizeof answer, deadline_ms);
	if (r)
		return r;
	return is_ok(answer) ? 0 : GUEST_PORT_E_ODD;
}

int guest_port_open(int *out, const char *uds, int type, uint32_t port, uint64_t deadline_ms)
{
	char path[UNIX_PATH_BYTES];
	int fd, r;

	r = snprintf(path, sizeof path, "%s%s", uds, type == SOCK_SEQPACKET ? HYBRID_SEQPACKET : "");
	if (r < 0 || (size_t)r >= sizeof path)
		return GUEST_PORT_E_NAME_LENGTH;
	r = guest_port_dial(&fd, path, type, deadline_ms);
	if (r)
		return r;
	r = guest_port_ask(fd, type, port, deadline_ms);
	if (r) {
		fd_close(&fd);
		return r;
	}
	*out = fd;
	return 0;
}

/* ---- for people ---- */

static const struct { const char *text; int exit; } outcomes[] = {
	[GUEST_PORT_E_NO_SOCKET] = { "there is no such socket", EXIT_NO_DAEMON },
	[GUEST_PORT_E_NOBODY] = { "nobody listens at this socket", EXIT_NO_DAEMON },
	[GUEST_PORT_E_OTHER_TYPE] = { "it is a socket of another type", EXIT_NO_DAEMON },
	[GUEST_PORT_E_DENIED] = { "permission denied", EXIT_NO_DAEMON },
	[GUEST_PORT_E_NAME_LENGTH] = { "no socket has such a long name", EXIT_USAGE },
	[GUEST_PORT_E_BUSY] = { "the daemon does not accept", EXIT_LATE },
	[GUEST_PORT_E_REFUSED] = { "nobody listens there", EXIT_REFUSED },
	[GUEST_PORT_E_LATE] = { "no answer in time", EXIT_LATE },
	[GUEST_PORT_E_ODD] = { "the answer is not a vsock daemon's", EXIT_REFUSED },
};

const char *guest_port_str_error(int error)
{
	return error > 0 ? outcomes[error].text : error_str(error);
}

int guest_port_exit(int error)
{
	return error > 0 ? outcomes[error].exit : EXIT_FAILED;
}
