/* SPDX-License-Identifier: BSD-3-Clause */
/* The front-end's side of a vhost-user socket. */
#include "frontend.h"

#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "util/error.h"
#include "util/fd.h"

void frontend_init(struct frontend *f)
{
	int socks[2], r = socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, socks);

	assert(r == 0);
	*f = (struct frontend){ socks[0], socks[1] };
}

void frontend_deinit(struct frontend *f)
{
	fd_close(&f->sock);
	fd_close(&f->other);
}

static void send_all(int sock, struct iovec *iov, size_t n, const int *fds, unsigned n_fds)
{
	union {
		struct cmsghdr hdr;
		char bytes[CMSG_SPACE(FRONTEND_FDS_MAX * sizeof(int))];
	} control = { .bytes = "" };
	struct msghdr mh = { .msg_iov = iov, .msg_iovlen = n };
	ssize_t sent;

	assert(n_fds <= FRONTEND_FDS_MAX);
	if (n_fds) {
		control.hdr = (struct cmsghdr){ .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS,
			.cmsg_len = CMSG_LEN(n_fds * sizeof(int)) };
		memcpy(CMSG_DATA(&control.hdr), fds, n_fds * sizeof(int));
		mh.msg_control = &control;
		mh.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
	}
	sent = sendmsg(sock, &mh, MSG_NOSIGNAL);
	assert(sent > 0);
}

void frontend_send_bytes(struct frontend *f, const void *bytes, size_t len, unsigned n_fds)
{
	union {
		const void *c;
		void *v;
	} p = { .c = bytes };
	int fds[FRONTEND_FDS_MAX];

	for (unsigned i = 0; i < n_fds; i++)
		fds[i] = STDERR_FILENO;
	send_all(f->sock, &(struct iovec){ p.v, len }, 1, fds, n_fds);
}

void frontend_send(struct frontend *f, uint32_t request, uint32_t flags, const void *payload,
		   size_t len, const int *fds, unsigned n_fds)
{
	struct vhost_user_hdr hdr = {
		.request = request, .flags = VHOST_USER_VERSION | flags, .size = (uint32_t)len,
	};
	union {
		const void *c;
		void *v;
	} p = { .c = payload };
	struct iovec iov[2] = { { &hdr, sizeof hdr }, { p.v, len } };

	send_all(f->sock, iov, 2, fds, n_fds);
}

bool frontend_take(struct frontend *f, struct frontend_answer *out)
{
	ssize_t n = recv(f->sock, &out->hdr, sizeof out->hdr, MSG_DONTWAIT);

	if (n <= 0)
		return false;
	assert(n == sizeof out->hdr && out->hdr.size <= sizeof out->payload);
	if (out->hdr.size) {
		n = recv(f->sock, out->payload.bytes, out->hdr.size, MSG_DONTWAIT);
		assert(n == (ssize_t)out->hdr.size);
	}
	return true;
}
