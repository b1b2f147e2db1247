/* SPDX-License-Identifier: BSD-3-Clause */
/* Unix sockets. */
#include "util/unix_socket.h"

#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <linux/sockios.h>

#include "util/closer.h"
#include "util/error.h"
#include "util/fd.h"

enum {
	HANG_UP_READS = 16,			/* of 4 KiB */
	RIGHTS_MAX = 253,			/* descriptors with one byte: SCM_MAX_FD of Linux */
};

void unix_folder(char folder[UNIX_PATH_BYTES], const char *path)
{
	const char *slash = strrchr(path, '/');

	if (slash)
		snprintf(folder, UNIX_PATH_BYTES, "%.*s", (int)(slash - path) + 1, path);
	else
		strcpy(folder, ".");
}

int unix_socket(int *out, int type)
{
	int fd = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return error_last();
	*out = fd;
	return 0;
}

static int connect_error(int error)
{
	switch (error) {
	case EAGAIN:
		return UNIX_E_AGAIN;
	case ENOENT:
		return UNIX_E_NO_NAME;
	case ECONNREFUSED:
		return UNIX_E_NOBODY;
	case EPROTOTYPE:
		return UNIX_E_OTHER_TYPE;
	case EACCES:
	case EPERM:
		return UNIX_E_DENIED;
	default:
		return -error;
	}
}

int unix_open_error(int error)
{
	return connect_error(-error);
}

int unix_connect(int fd, const char *path)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	size_t len = strlen(path);

	if (len == 0)
		return UNIX_E_NO_NAME;
	if (len >= sizeof sa.sun_path)
		return UNIX_E_NAME_LENGTH;
	memcpy(sa.sun_path, path, len + 1);
	return connect(fd, (struct sockaddr *)&sa, sizeof sa) < 0 ? connect_error(errno) : 0;
}

bool unix_is_unseen(int error)
{
	switch (error) {
	case UNIX_E_NO_NAME:
	case UNIX_E_DENIED:
	case -ELOOP:
	case -ENOTDIR:
	case -ENAMETOOLONG:
	case -ESTALE:				/* a mount that has been replaced */
	case -ENOTCONN:				/* ... or left by its server */
		return true;
	default:
		return false;
	}
}

bool unix_refuse_rights(int fd)
{
	const int none = 0;

	return setsockopt(fd, SOL_SOCKET, SO_PASSRIGHTS, &none, sizeof none) == 0;
}

bool unix_refuses_rights(int fd)
{
	int passes = 1;
	socklen_t len = sizeof passes;

	return getsockopt(fd, SOL_SOCKET, SO_PASSRIGHTS, &passes, &len) == 0 && !passes;
}

void unix_keep_urgent_inline(int fd)
{
	const int yes = 1;

	if (setsockopt(fd, SOL_SOCKET, SO_OOBINLINE, &yes, sizeof yes) < 0) {
		/* Every kernel knows it; most know no urgent bytes here. */
	}
}

static bool close_rights(struct msghdr *mh)
{
	bool had_any = false;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(mh); c; c = CMSG_NXTHDR(mh, c)) {
		size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		int fds[RIGHTS_MAX];

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		memcpy(fds, CMSG_DATA(c), n * sizeof fds[0]);
		for (size_t i = 0; i < n; i++)
			closer_close(&fds[i]);
		had_any = true;
	}
	return had_any;
}

static bool has_creds(struct msghdr *mh)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(mh); c; c = CMSG_NXTHDR(mh, c))
		if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_CREDENTIALS)
			return true;
	return false;
}

/* What recv() and recvmsg() have returned. */
static int received(ssize_t n, size_t *got)
{
	if (n > 0) {
		*got = (size_t)n;
		return 0;
	}
	if (n == 0)
		return UNIX_E_EOF;
	return errno == EAGAIN ? UNIX_E_AGAIN : errno == ECONNRESET ? UNIX_E_RESET : error_last();
}

/* @how: MSG_PEEK, or 0. */
static int recv_bytes(int fd, const struct iovec *iov, int how, size_t *got)
{
	ssize_t n;

	do
		n = recv(fd, iov->iov_base, iov->iov_len, MSG_DONTWAIT | how);
	while (n < 0 && errno == EINTR);
	return received(n, got);
}

int unix_drop(int fd, size_t n)
{
	char dropped[4096];
	int r = 0;

	while (n && !r) {
		struct iovec iov = { dropped, n < sizeof dropped ? n : sizeof dropped };
		size_t got;

		r = recv_bytes(fd, &iov, 0, &got);
		if (!r)
			n -= got;
	}
	return r;
}

/* As recvmsg(), and what has come along: */
struct came {
	int flags;				/* MSG_* */
	bool has_rights;			/* closed meanwhile */
	bool has_creds;
};

/* @how: MSG_PEEK, or 0. */
static ssize_t recv_all(int fd, const struct iovec *iov, size_t n, int how, bool wants_control,
			struct came *came)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(RIGHTS_MAX * sizeof(int)) + CMSG_SPACE(sizeof(struct ucred))];
	} control;
	union {
		const struct iovec *c;
		struct iovec *v;
	} to = { .c = iov };			/* recvmsg writes where it points, not to it */
	struct msghdr mh;
	ssize_t r;

	do {
		mh = (struct msghdr){ .msg_iov = to.v, .msg_iovlen = n };
		if (wants_control) {
			mh.msg_control = control.bytes;
			mh.msg_controllen = sizeof control.bytes;
		}
		r = recvmsg(fd, &mh, MSG_DONTWAIT | MSG_CMSG_CLOEXEC | how);
	} while (r < 0 && errno == EINTR);
	*came = (struct came){ .flags = 0 };
	if (r < 0)
		return r;
	came->flags = mh.msg_flags;
	if (wants_control && mh.msg_controllen) {
		came->has_rights = close_rights(&mh);
		came->has_creds = has_creds(&mh);
	}
	return r;
}

int unix_recv(int fd, const struct iovec *iov, size_t n, bool may_have_rights, size_t *got,
	      bool *cut)
{
	struct came came;
	ssize_t r;

	*cut = false;
	if (n == 1 && !may_have_rights)
		return recv_bytes(fd, iov, 0, got);
	r = recv_all(fd, iov, n, 0, may_have_rights, &came);
	*cut = came.flags & MSG_CTRUNC || came.has_rights;
	return received(r, got);
}

int unix_peek(int fd, const struct iovec *iov, size_t n, size_t *got)
{
	struct came came;

	if (n == 1)
		return recv_bytes(fd, iov, MSG_PEEK, got);
	return received(recv_all(fd, iov, n, MSG_PEEK, false, &came), got);
}

int unix_set_peek_offset(int fd, int offset)
{
	return setsockopt(fd, SOL_SOCKET, SO_PEEK_OFF, &offset, sizeof offset) < 0 ?
		error_last() : 0;
}

int unix_tell_empty(int fd)
{
	const int yes = 1;

	return setsockopt(fd, SOL_SOCKET, SO_PASSCRED, &yes, sizeof yes) < 0 ? error_last() : 0;
}

int unix_recv_message(int fd, const struct iovec *iov, size_t n, size_t *got)
{
	struct came came;
	ssize_t r = recv_all(fd, iov, n, 0, true, &came);

	if (r < 0)
		return received(r, got);
	if (came.flags & MSG_TRUNC)
		return UNIX_E_TOO_LONG;
	*got = (size_t)r;
	return r == 0 && !came.has_creds ? UNIX_E_EOF : 0;
}

bool unix_drained(int fd)
{
	int unread;

	return shutdown(fd, SHUT_RD) == 0 && ioctl(fd, SIOCINQ, &unread) == 0 && unread == 0;
}

void unix_close(int *fd)
{
	if (*fd >= 0 && unix_drained(*fd))
		fd_close(fd);
	else
		closer_close(fd);
}

void unix_hang_up(int *fd)
{
	char dropped[4096];
	struct iovec iov = { dropped, sizeof dropped };
	size_t got;
	bool cut;

	for (int i = 0; i < HANG_UP_READS; i++)
		if (unix_recv(*fd, &iov, 1, true, &got, &cut))
			break;
	unix_close(fd);
}
