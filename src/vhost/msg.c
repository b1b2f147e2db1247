/* SPDX-License-Identifier: BSD-3-Clause */
/* One vhost-user message: framing and descriptors. */
#include "vhost/msg.h"

#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "util/closer.h"
#include "util/error.h"
#include "util/fd.h"

enum { CONTROL_FDS = 32 };			/* more are closed by the kernel (MSG_CTRUNC) */

const char *msg_str_error(int error)
{
	static const char *const text[] = {
		[VU_MSG_E_AGAIN] = "incomplete", [VU_MSG_E_MORE] = "incomplete",
		[VU_MSG_E_EOF] = "end of stream", [VU_MSG_E_GARBAGE] = "not a vhost-user message",
	};

	return error < 0 ? error_str(error) : text[error];
}

void msg_reader_init(struct msg_reader *reader)
{
	memset(reader, 0, sizeof *reader);
	for (unsigned i = 0; i < VU_MSG_FDS_MAX; i++)
		reader->msg.fds[i] = -1;
}

void msg_reader_next(struct msg_reader *reader)
{
	for (unsigned i = 0; i < VU_MSG_FDS_MAX; i++)
		closer_close(&reader->msg.fds[i]);
	reader->msg.n_fds = 0;
	reader->got = 0;
}

void msg_reader_deinit(struct msg_reader *reader)
{
	msg_reader_next(reader);
}

int msg_take_fd(struct msg *msg, unsigned i)
{
	return i < VU_MSG_FDS_MAX ? fd_take(&msg->fds[i]) : -1;
}

static void collect_fds(struct msg *msg, struct msghdr *mh)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(mh); c; c = CMSG_NXTHDR(mh, c)) {
		int fds[CONTROL_FDS];
		size_t n;

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		n = (c->cmsg_len - CMSG_LEN(0)) / sizeof fds[0];
		memcpy(fds, CMSG_DATA(c), n * sizeof fds[0]);
		for (size_t i = 0; i < n; i++) {
			if (msg->n_fds < VU_MSG_FDS_MAX)
				msg->fds[msg->n_fds] = fd_take(&fds[i]);
			closer_close(&fds[i]);
			msg->n_fds++;
		}
	}
	if (mh->msg_flags & MSG_CTRUNC)
		msg->n_fds += CONTROL_FDS;	/* some were lost: wrong for any request */
}

/* Reads at most @want bytes to @buf and counts them. */
static int receive(struct msg_reader *reader, int sock, void *buf, size_t want)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(CONTROL_FDS * sizeof(int))];
	} control;
	struct iovec iov = { buf, want };
	struct msghdr mh = {
		.msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = control.bytes, .msg_controllen = sizeof control.bytes,
	};
	ssize_t n;

	do
		n = recvmsg(sock, &mh, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return errno == EAGAIN ? VU_MSG_E_AGAIN : error_last();
	collect_fds(&reader->msg, &mh);
	if (n == 0)
		return VU_MSG_E_EOF;
	reader->got += (size_t)n;
	return 0;
}

/* Reads and drops some of the @left bytes of a payload that is too long. */
static int skip(struct msg_reader *reader, int sock, size_t left)
{
	uint8_t dropped[VU_MSG_SKIP_CHUNK];
	size_t want = left < sizeof dropped ? left : sizeof dropped, before = reader->got;
	int r = receive(reader, sock, dropped, want);

	return r || reader->got - before == left ? r : VU_MSG_E_MORE;
}

int msg_read(struct msg_reader *reader, int sock)
{
	struct vhost_user_hdr *hdr = &reader->msg.hdr;
	int r;

	while (reader->got < sizeof *hdr) {
		r = receive(reader, sock, (char *)hdr + reader->got, sizeof *hdr - reader->got);
		if (r)
			return r;
	}
	if ((hdr->flags & VHOST_USER_VERSION_MASK) != VHOST_USER_VERSION ||
	    hdr->flags & VHOST_USER_F_REPLY || hdr->size > VU_MSG_SKIP_MAX)
		return VU_MSG_E_GARBAGE;
	while (reader->got < sizeof *hdr + hdr->size) {
		size_t at = reader->got - sizeof *hdr, left = hdr->size - at;

		if (hdr->size > VU_MSG_PAYLOAD_MAX)
			return skip(reader, sock, left);
		r = receive(reader, sock, reader->msg.payload.bytes + at, left);
		if (r)
			return r;
	}
	return 0;
}

int msg_send_reply(int sock, uint32_t request, const void *payload, size_t len)
{
	struct vhost_user_hdr hdr = {
		.request = request, .flags = VHOST_USER_VERSION | VHOST_USER_F_REPLY,
		.size = (uint32_t)len,
	};
	union {
		const void *c;
		void *v;
	} p = { .c = payload };			/* iovecs have no const */
	struct iovec iov[2] = { { &hdr, sizeof hdr }, { p.v, len } };
	struct msghdr mh = { .msg_iov = iov, .msg_iovlen = 2 };
	ssize_t n;

	/* A few bytes, on a socket that the front-end empties before its next request.
	 * One that does not is not worth a buffer. */
	do
		n = sendmsg(sock, &mh, MSG_DONTWAIT | MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return error_last();
	return n == (ssize_t)(sizeof hdr + len) ? 0 : -EAGAIN;
}
