/* SPDX-License-Identifier: BSD-3-Clause */
/* One vhost-user message: framing and descriptors. */
#include "vhost/msg.h"

#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "util/blob.h"
#include "util/closer.h"
#include "util/error.h"
#include "util/fd.h"
#include "util/unix_socket.h"

/* More than any request has; what is beyond is closed by the kernel (MSG_CTRUNC). An even
 * number, as CMSG_SPACE() has room for that. */
enum { CONTROL_FDS = VU_MSG_FDS_MAX + 2 };
static_assert(CONTROL_FDS % 2 == 0, "or it has room for one more");

const char *msg_str_error(int error)
{
	static const char *const text[] = {
		[VU_MSG_E_AGAIN] = "incomplete", [VU_MSG_E_MORE] = "incomplete",
		[VU_MSG_E_EOF] = "end of stream", [VU_MSG_E_GARBAGE] = "not a vhost-user message",
		[VU_MSG_E_PIECE] = "incomplete",
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
	reader->unread = 0;
	reader->doubtful = 0;
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

/* Reads at most so much to where @to says, and counts it. */
static int receive(struct msg_reader *reader, int sock, struct iovec to, int flags)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(CONTROL_FDS * sizeof(int))];
	} control;
	struct msghdr mh = {
		.msg_iov = &to, .msg_iovlen = 1,
		.msg_control = control.bytes, .msg_controllen = sizeof control.bytes,
	};
	ssize_t n;

	do
		n = recvmsg(sock, &mh, MSG_DONTWAIT | MSG_CMSG_CLOEXEC | flags);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return errno == EAGAIN ? VU_MSG_E_AGAIN : error_last();
	collect_fds(&reader->msg, &mh);
	if (n == 0)
		return VU_MSG_E_EOF;
	reader->got += (size_t)n;
	if (flags & MSG_PEEK)
		reader->unread = (size_t)n;
	return 0;
}

/* A payload that is longer than any that is of use: its bytes are dropped. */
static bool is_too_long(const struct vhost_user_hdr *hdr)
{
	return hdr->size > VU_MSG_PAYLOAD_MAX;
}

static size_t size_min(size_t a, size_t b)
{
	return a < b ? a : b;
}

/* Where the next bytes go, and how many: none, the message is whole. @dropped has room for
 * VU_MSG_SKIP_CHUNK of no use. 0 or VU_MSG_E_GARBAGE. */
static int find_next(struct msg_reader *reader, uint8_t *dropped, struct iovec *out)
{
	struct vhost_user_hdr *hdr = &reader->msg.hdr;
	size_t at, left;

	if (reader->got < sizeof *hdr) {
		*out = (struct iovec){ (char *)hdr + reader->got, sizeof *hdr - reader->got };
		return 0;
	}
	if ((hdr->flags & VHOST_USER_VERSION_MASK) != VHOST_USER_VERSION ||
	    hdr->flags & VHOST_USER_F_REPLY || hdr->size > VU_MSG_SKIP_MAX)
		return VU_MSG_E_GARBAGE;
	at = reader->got - sizeof *hdr;
	left = hdr->size - at;
	if (!is_too_long(hdr) && at < VU_MSG_KEPT_MAX)
		*out = (struct iovec){ reader->msg.payload.bytes + at,
				       size_min(left, VU_MSG_KEPT_MAX - at) };
	else
		*out = (struct iovec){ dropped, size_min(left, VU_MSG_SKIP_CHUNK) };
	return 0;
}

/* Has some of a payload been read, but not all? */
static bool is_within_payload(const struct msg_reader *reader)
{
	return reader->got > sizeof reader->msg.hdr &&
		reader->got < sizeof reader->msg.hdr + reader->msg.hdr.size;
}

int msg_read(struct msg_reader *reader, int sock)
{
	uint8_t dropped[VU_MSG_SKIP_CHUNK];
	struct iovec next;
	int r;

	while (!(r = find_next(reader, dropped, &next)) && next.iov_len) {
		if ((r = receive(reader, sock, next, 0)))
			return r;
		if (next.iov_base == dropped && is_within_payload(reader))
			return VU_MSG_E_MORE;
	}
	return r;
}

int msg_peek(struct msg_reader *reader, int sock)
{
	uint8_t dropped[VU_MSG_SKIP_CHUNK];
	struct iovec next;
	unsigned n_fds = reader->msg.n_fds;
	int r = find_next(reader, dropped, &next);

	assert(!reader->unread && !reader->doubtful);
	if (r || !next.iov_len)
		return r;
	r = receive(reader, sock, next, MSG_PEEK);
	reader->doubtful = reader->msg.n_fds - n_fds;
	return r ? r : VU_MSG_E_PIECE;
}

/*
 * Descriptors that come along are others for the same files. Where the message owns them all,
 * the kernel may drop these unseen, since none is the last one, and says so (MSG_CTRUNC).
 * Else some are the last ones, and closing those may take long.
 */
int msg_take(struct msg_reader *reader, int sock, struct msghdr *receipt)
{
	uint8_t dropped[VU_MSG_SKIP_CHUNK];
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(CONTROL_FDS * sizeof(int))];
	} control;
	bool owns_all = reader->msg.n_fds <= VU_MSG_FDS_MAX;
	struct msg_reader again;
	struct iovec to = { dropped, reader->unread };
	ssize_t n;

	assert(to.iov_len <= sizeof dropped);
	*receipt = (struct msghdr){
		.msg_iov = &to, .msg_iovlen = 1, .msg_control = owns_all ? NULL : control.bytes,
		.msg_controllen = owns_all ? 0 : sizeof control.bytes,
	};
	do
		n = recvmsg(sock, receipt, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return errno == EAGAIN ? VU_MSG_E_GARBAGE : error_last();
	if (!owns_all) {
		msg_reader_init(&again);
		collect_fds(&again.msg, receipt);
		msg_reader_deinit(&again);
	}
	reader->unread -= (size_t)n;
	return reader->unread ? VU_MSG_E_GARBAGE : 0;	/* somebody else has taken it */
}

void msg_settle_fds(struct msg_reader *reader, const struct msghdr *receipt)
{
	struct msg *msg = &reader->msg;

	if (!(receipt->msg_flags & MSG_CTRUNC) && !receipt->msg_controllen) {
		msg->n_fds -= reader->doubtful;
		for (unsigned i = msg->n_fds; i < VU_MSG_FDS_MAX; i++)
			closer_close(&msg->fds[i]);
	}
	reader->doubtful = 0;
}

int msg_begin_peeking(int sock)
{
	return unix_set_peek_offset(sock, 0);
}

int msg_end_peeking(int sock)
{
	return unix_set_peek_offset(sock, -1);
}

int msg_recount_unread(struct msg_reader *reader, int sock)
{
	int offset;
	socklen_t len = sizeof offset;

	if (getsockopt(sock, SOL_SOCKET, SO_PEEK_OFF, &offset, &len) < 0)
		return error_last();
	if (offset < 0 || (size_t)offset > reader->unread)
		return VU_MSG_E_GARBAGE;
	reader->unread = (size_t)offset;
	return 0;
}

/* ---- state ---- */

enum { STATE_VERSION = 2, FDS_MAX_OF_1 = 8 };		/* version 1 kept no more of them */

/* Bytes of the payload that are saved: all that have come of one that is of use, though not all
 * of them are kept. */
static size_t payload_saved(const struct msg_reader *reader)
{
	size_t hdr = sizeof reader->msg.hdr;

	return reader->got > hdr && !is_too_long(&reader->msg.hdr) ? reader->got - hdr : 0;
}

static size_t header_kept(const struct msg_reader *reader)
{
	return reader->got < sizeof reader->msg.hdr ? reader->got : sizeof reader->msg.hdr;
}

static unsigned fds_kept(const struct msg *msg, unsigned max)
{
	return msg->n_fds < max ? msg->n_fds : max;
}

static void put_payload(const struct msg_reader *reader, struct blob *out)
{
	size_t n = payload_saved(reader), kept = size_min(n, VU_MSG_KEPT_MAX);

	blob_put_bytes(out, reader->msg.payload.bytes, kept);
	for (size_t i = kept; i < n; i++)
		blob_put_u8(out, 0);
}

void msg_reader_save(const struct msg_reader *reader, struct blob *out)
{
	const struct msg *msg = &reader->msg;
	size_t section = blob_open(out, BLOB_TAG('M', 'E', 'S', 'G'), STATE_VERSION);

	blob_put_u32(out, (uint32_t)reader->got);
	blob_put_u32(out, (uint32_t)reader->unread);
	blob_put_u32(out, reader->doubtful);
	blob_put_bytes(out, &msg->hdr, header_kept(reader));
	put_payload(reader, out);
	blob_put_u32(out, msg->n_fds);
	for (unsigned i = 0; i < fds_kept(msg, VU_MSG_FDS_MAX); i++)
		blob_put_fd(out, msg->fds[i]);
	blob_close(out, section);
}

static void get_bytes(struct blob_reader *in, void *to, size_t n)
{
	const void *bytes = blob_get_bytes(in, n);

	if (bytes)
		memcpy(to, bytes, n);
}

static void get_payload(struct msg_reader *reader, struct blob_reader *in)
{
	size_t n = payload_saved(reader), kept = size_min(n, VU_MSG_KEPT_MAX);

	get_bytes(in, reader->msg.payload.bytes, kept);
	blob_get_bytes(in, n - kept);
}

static bool load(struct msg_reader *reader, unsigned fds_max, struct blob_reader *in)
{
	struct msg *msg = &reader->msg;

	reader->got = blob_get_u32(in);
	reader->unread = blob_get_u32(in);
	reader->doubtful = blob_get_u32(in);
	get_bytes(in, &msg->hdr, header_kept(reader));
	if (reader->got >= sizeof msg->hdr &&
	    (in->is_short || msg->hdr.size > VU_MSG_SKIP_MAX ||
	     reader->got - sizeof msg->hdr > msg->hdr.size))
		return false;
	if (reader->unread > reader->got || reader->unread > VU_MSG_SKIP_CHUNK)
		return false;
	get_payload(reader, in);
	msg->n_fds = blob_get_u32(in);
	if (msg->n_fds > VU_MSG_FDS_COUNT_MAX || reader->doubtful > msg->n_fds)
		return false;
	for (unsigned i = 0; i < fds_kept(msg, fds_max); i++)
		if ((msg->fds[i] = blob_get_fd(in)) < 0)
			return false;
	return blob_is_whole(in);
}

int msg_reader_load(struct msg_reader *reader, struct blob_reader *in)
{
	struct blob_reader section;
	uint32_t version;

	msg_reader_init(reader);
	if (blob_enter(in, &section, BLOB_TAG('M', 'E', 'S', 'G'), STATE_VERSION, &version) &&
	    load(reader, version == 1 ? FDS_MAX_OF_1 : VU_MSG_FDS_MAX, &section))
		return 0;
	msg_reader_deinit(reader);
	return VU_MSG_E_GARBAGE;
}

/* ---- replies ---- */

struct reply_iov {
	struct vhost_user_hdr hdr;
	struct iovec iov[2];
};

static void reply_init(struct reply_iov *r, uint32_t request, const void *payload, size_t len)
{
	union {
		const void *c;
		void *v;
	} p = { .c = payload };			/* iovecs have no const */

	r->hdr = (struct vhost_user_hdr){
		.request = request, .flags = VHOST_USER_VERSION | VHOST_USER_F_REPLY,
		.size = (uint32_t)len,
	};
	r->iov[0] = (struct iovec){ &r->hdr, sizeof r->hdr };
	r->iov[1] = (struct iovec){ p.v, len };
}

int msg_send_reply(int sock, uint32_t request, const void *payload, size_t len)
{
	struct reply_iov reply;
	struct msghdr mh = { .msg_iov = reply.iov, .msg_iovlen = 2 };
	ssize_t n;

	reply_init(&reply, request, payload, len);
	/* A few bytes, on a socket that the front-end empties before its next request.
	 * One that does not is not worth a buffer. */
	do
		n = sendmsg(sock, &mh, MSG_DONTWAIT | MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return error_last();
	return n == (ssize_t)(sizeof reply.hdr + len) ? 0 : -EAGAIN;
}

int msg_queue_reply(int pipe, uint32_t request, const void *payload, size_t len, uint32_t *queued)
{
	struct reply_iov reply;
	ssize_t n;

	reply_init(&reply, request, payload, len);
	do
		n = writev(pipe, reply.iov, 2);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return error_last();
	if (n != (ssize_t)(sizeof reply.hdr + len))
		return -EAGAIN;
	*queued = (uint32_t)n;
	return 0;
}

/* As much as the socket takes at once, as above. */
int msg_send_queued(int pipe, int sock, size_t len)
{
	ssize_t n;

	do
		n = splice(pipe, NULL, sock, NULL, len, SPLICE_F_NONBLOCK);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return error_last();
	return n == (ssize_t)len ? 0 : -EAGAIN;
}

int msg_count_queued(int pipe, uint32_t *len)
{
	int n;

	if (ioctl(pipe, FIONREAD, &n) < 0)
		return error_last();
	*len = (uint32_t)n;
	return 0;
}

int msg_drop_queued(int pipe)
{
	uint8_t dropped[VU_MSG_PAYLOAD_MAX];
	uint32_t left;
	int r;

	while (!(r = msg_count_queued(pipe, &left)) && left)
		if (read(pipe, dropped, sizeof dropped) <= 0)
			return -EIO;
	return r;
}
