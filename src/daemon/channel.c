/* SPDX-License-Identifier: BSD-3-Clause */
/* The channel between supervisor and engine. */
#include "daemon/channel.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "util/closer.h"
#include "util/error.h"
#include "util/fd.h"

enum { SEALS = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE };

static const struct row {
	enum channel_sender sender;		/* 0: there is no such type */
	bool has_cid;
	size_t fds_min, fds_max;
} rows[SUPERVISE_NUM_TYPES] = {
	[SUPERVISE_SETTINGS]	= { CHANNEL_SUPERVISOR, false, 2, 3 },
	[SUPERVISE_VM]		= { CHANNEL_SUPERVISOR, true, 1, 3 },
	[SUPERVISE_KEPT]	= { CHANNEL_SUPERVISOR, true, 1, 1 },
	[SUPERVISE_START]	= { CHANNEL_SUPERVISOR, false, 0, 0 },
	[SUPERVISE_REMOVE]	= { CHANNEL_SUPERVISOR, true, 0, 0 },
	[SUPERVISE_CONNECTED]	= { CHANNEL_SUPERVISOR, true, 0, 1 },
	[SUPERVISE_PING]	= { CHANNEL_SUPERVISOR, false, 0, 0 },
	[SUPERVISE_STOP]	= { CHANNEL_SUPERVISOR, false, 0, 0 },
	[SUPERVISE_READY]	= { CHANNEL_ENGINE, false, 0, 0 },
	[SUPERVISE_FAILED]	= { CHANNEL_ENGINE, false, 0, 0 },
	[SUPERVISE_KEEP]	= { CHANNEL_ENGINE, true, 1, 1 },
	[SUPERVISE_DROP]	= { CHANNEL_ENGINE, true, 0, 0 },
	[SUPERVISE_CAME]	= { CHANNEL_ENGINE, true, 0, 0 },
	[SUPERVISE_GONE]	= { CHANNEL_ENGINE, true, 0, 0 },
	[SUPERVISE_OVER]	= { CHANNEL_ENGINE, true, 0, 0 },
	[SUPERVISE_CONNECT]	= { CHANNEL_ENGINE, true, 0, 0 },
	[SUPERVISE_PONG]	= { CHANNEL_ENGINE, false, 0, 0 },
	[SUPERVISE_STUCK]	= { CHANNEL_ENGINE, false, 0, 0 },
};

int channel_pair(int out[2])
{
	return socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, out) < 0 ? error_last() : 0;
}

int channel_send(int channel, const struct supervise_msg *m, const int *fds, size_t n_fds,
		 bool may_block)
{
	union {
		char bytes[CMSG_SPACE(SUPERVISE_FDS_MAX * sizeof(int))];
		struct cmsghdr align;
	} control = { .bytes = "" };
	struct iovec iov = { .iov_base = (void *)(uintptr_t)m, .iov_len = sizeof *m };
	struct msghdr hdr = { .msg_iov = &iov, .msg_iovlen = 1 };
	struct cmsghdr *c = &control.align;

	assert(n_fds <= SUPERVISE_FDS_MAX);
	if (n_fds) {
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(n_fds * sizeof *fds);
		memcpy(CMSG_DATA(c), fds, n_fds * sizeof *fds);
		hdr.msg_control = &control;
		hdr.msg_controllen = CMSG_SPACE(n_fds * sizeof *fds);
	}
	while (sendmsg(channel, &hdr, MSG_NOSIGNAL | (may_block ? 0 : MSG_DONTWAIT)) < 0) {
		if (errno == EPIPE || errno == ECONNRESET)
			return CHANNEL_E_END;
		if (errno != EINTR)
			return error_last();
	}
	return 0;
}

void channel_msg_deinit(struct channel_msg *msg)
{
	for (size_t i = 0; i < msg->n_fds; i++)
		closer_close(&msg->fds[i]);
	msg->n_fds = 0;
}

int channel_take_fd(struct channel_msg *msg, size_t i)
{
	return i < msg->n_fds ? fd_take(&msg->fds[i]) : -1;
}

/* Descriptors come in one piece, as they were sent. */
static void take_fds(struct channel_msg *out, struct msghdr *hdr)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(hdr); c; c = CMSG_NXTHDR(hdr, c)) {
		size_t n;

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		assert(out->n_fds + n <= SUPERVISE_FDS_MAX);
		memcpy(out->fds + out->n_fds, CMSG_DATA(c), n * sizeof(int));
		out->n_fds += n;
	}
}

static bool is_legal(const struct channel_msg *msg, enum channel_sender sender)
{
	const struct row *row = msg->m.type < SUPERVISE_NUM_TYPES ? &rows[msg->m.type] : &rows[0];

	return row->sender == sender && !msg->m.zero && row->has_cid == (msg->m.cid != 0) &&
		msg->n_fds >= row->fds_min && msg->n_fds <= row->fds_max;
}

int channel_receive(int channel, enum channel_sender sender, struct channel_msg *out)
{
	union {
		char bytes[CMSG_SPACE(SUPERVISE_FDS_MAX * sizeof(int))];
		struct cmsghdr align;
	} control;
	struct iovec iov = { .iov_base = &out->m, .iov_len = sizeof out->m };
	struct msghdr hdr = {
		.msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = &control, .msg_controllen = sizeof control,
	};
	ssize_t n;

	*out = (struct channel_msg){ .fds = { -1, -1, -1 } };
	do
		n = recvmsg(channel, &hdr, MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	if (n < 0 && errno == EAGAIN)
		return CHANNEL_E_NONE;
	if (n < 0)
		return errno == ECONNRESET ? CHANNEL_E_END : error_last();
	take_fds(out, &hdr);
	if (n == 0 && !out->n_fds)
		return CHANNEL_E_END;
	if (n != sizeof out->m || hdr.msg_flags & (MSG_TRUNC | MSG_CTRUNC) ||
	    !is_legal(out, sender)) {
		channel_msg_deinit(out);
		return CHANNEL_E_GARBAGE;
	}
	return 0;
}

const char *channel_str_error(int error)
{
	switch (error) {
	case CHANNEL_E_NONE:
		return "says nothing";
	case CHANNEL_E_END:
		return "is gone";
	case CHANNEL_E_GARBAGE:
		return "says what it may not say";
	default:
		return error_str(error);
	}
}

static int write_all(int fd, const uint8_t *bytes, size_t n)
{
	while (n) {
		ssize_t done = write(fd, bytes, n);

		if (done < 0 && errno != EINTR)
			return error_last();
		bytes += done > 0 ? done : 0;
		n -= done > 0 ? (size_t)done : 0;
	}
	return 0;
}

int channel_seal_blob(const struct blob *b, int *out)
{
	int fd, r = blob_error(b);

	if (r)
		return r;
	fd = memfd_create("state", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0)
		return error_last();
	r = write_all(fd, b->bytes, b->len);
	if (!r && fcntl(fd, F_ADD_SEALS, SEALS) < 0)
		r = error_last();
	if (r) {
		fd_close(&fd);
		return r;
	}
	*out = fd;
	return 0;
}

int channel_read_blob(int fd, void **bytes, size_t *n)
{
	struct stat st;
	ssize_t got;
	void *copy;

	if (fcntl(fd, F_GET_SEALS) != SEALS || fstat(fd, &st) < 0 ||
	    st.st_size > SUPERVISE_BLOB_MAX)
		return CHANNEL_E_GARBAGE;
	copy = malloc((size_t)st.st_size + 1);
	if (!copy)
		return -ENOMEM;
	got = pread(fd, copy, (size_t)st.st_size, 0);
	if (got != st.st_size) {
		int r = got < 0 ? error_last() : CHANNEL_E_GARBAGE;

		free(copy);
		return r;
	}
	*bytes = copy;
	*n = (size_t)got;
	return 0;
}
