/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Bytes and descriptors in random cuts through a socket.
 *
 * Input: pieces, each sent by one call: how many descriptors go along, how many
 * of a message's are taken by its handler, how many bytes (two bytes), then the
 * bytes.
 *
 * Asserted: outcomes are documented ones; messages are those that the bytes
 * say, whatever the cuts, each with the descriptors that were sent with its
 * bytes; a good message has the shape that its request needs; no descriptor
 * stays open.
 */
#include <assert.h>
#include <fcntl.h>
#include <sys/socket.h>

#include "input.h"
#include "util/error.h"
#include "util/fd.h"
#include "vhost/request.h"

enum { PIECES_MAX = 64, PIECE_MAX = 8192, FDS_MAX = 40, RINGS = 3 };

/* More than fit into one read: some are lost, and the number is wrong. */
enum { FDS_LOST = 32 };

static struct {					/* what was sent */
	uint8_t bytes[PIECES_MAX * PIECE_MAX];
	size_t len, read;			/* ... and made into messages */
	struct {
		size_t at;
		unsigned n_fds;
	} pieces[PIECES_MAX];
	unsigned n_pieces;
} sent;

static void send_piece(int sock, void *bytes, size_t len, unsigned n_fds)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(FDS_MAX * sizeof(int))];
	} control = { .bytes = "" };
	struct iovec iov = { bytes, len };
	struct msghdr mh = { .msg_iov = &iov, .msg_iovlen = 1 };
	struct cmsghdr *c;
	int fds[FDS_MAX];
	ssize_t n;

	if (n_fds) {
		mh.msg_control = &control;
		mh.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
		c = CMSG_FIRSTHDR(&mh);
		*c = (struct cmsghdr){ .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS,
			.cmsg_len = CMSG_LEN(n_fds * sizeof(int)) };
		for (unsigned i = 0; i < n_fds; i++)
			fds[i] = STDERR_FILENO;
		memcpy(CMSG_DATA(c), fds, n_fds * sizeof(int));
	}
	n = sendmsg(sock, &mh, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (n < 0) {
		assert(errno == EAGAIN);
		return;
	}
	memcpy(sent.bytes + sent.len, bytes, (size_t)n);
	sent.pieces[sent.n_pieces].at = sent.len;
	sent.pieces[sent.n_pieces++].n_fds = n_fds;
	sent.len += (size_t)n;
}

/* Descriptors go with the first byte of their piece. */
static void check_fds(const struct msg *msg, size_t begin, size_t end)
{
	unsigned n_fds = 0;
	bool lost = false;

	for (unsigned i = 0; i < sent.n_pieces; i++) {
		if (sent.pieces[i].at < begin || sent.pieces[i].at >= end)
			continue;
		n_fds += sent.pieces[i].n_fds;
		lost |= sent.pieces[i].n_fds > FDS_LOST;
	}
	assert(lost ? msg->n_fds > VU_MSG_FDS_MAX : msg->n_fds == n_fds);
}

/* The message is the next of the bytes sent. */
static void check_bytes(const struct msg *msg)
{
	size_t begin = sent.read, payload = begin + sizeof msg->hdr;

	sent.read = payload + msg->hdr.size;
	assert(sent.read <= sent.len);
	assert(memcmp(&msg->hdr, sent.bytes + begin, sizeof msg->hdr) == 0);
	if (msg->hdr.size <= VU_MSG_PAYLOAD_MAX)
		assert(memcmp(msg->payload.bytes, sent.bytes + payload,
			      msg->hdr.size < VU_MSG_KEPT_MAX ? msg->hdr.size : VU_MSG_KEPT_MAX) == 0);
	check_fds(msg, begin, sent.read);
}

static void check_msg(struct msg *msg, unsigned n_take)
{
	int r = request_check(msg, RINGS);

	assert(msg->hdr.size <= VU_MSG_SKIP_MAX);
	assert(r == 0 || (r >= REQUEST_E_UNKNOWN && r <= REQUEST_E_RING));
	assert(request_name(msg->hdr.request) && (!r || request_str_error(r)));
	if (r == 0) {
		assert(msg->hdr.size <= VU_MSG_PAYLOAD_MAX && msg->n_fds <= VU_MSG_FDS_MAX);
		for (unsigned i = 0; i < msg->n_fds; i++)
			assert(msg->fds[i] >= 0);
	}
	for (unsigned i = 0; i < n_take; i++) {
		int fd = msg_take_fd(msg, i);

		assert((fd >= 0) == (i < msg->n_fds && i < VU_MSG_FDS_MAX));
		fd_close(&fd);
	}
}

/* False: the session is over. */
static bool read_all(struct msg_reader *reader, int sock, unsigned n_take)
{
	for (;;) {
		int r = msg_read(reader, sock);

		if (r == VU_MSG_E_AGAIN)
			return true;
		if (r == VU_MSG_E_MORE)
			continue;
		assert(r == 0 || r == VU_MSG_E_EOF || r == VU_MSG_E_GARBAGE);
		if (r)
			return false;
		check_bytes(&reader->msg);
		check_msg(&reader->msg, n_take);
		msg_reader_next(reader);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };
	int n_fds_before = input_count_fds(), socks[2];
	struct msg_reader *reader = malloc(sizeof *reader);
	bool goes_on = true;

	if (!reader || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, socks) < 0)
		abort();
	msg_reader_init(reader);
	sent.len = sent.read = 0;
	sent.n_pieces = 0;
	for (int i = 0; i < PIECES_MAX && in.left && goes_on; i++) {
		unsigned n_fds = input_u8(&in) % (FDS_MAX + 1), n_take = input_u8(&in) % 10;
		size_t len = input_u16(&in) % PIECE_MAX;
		void *bytes = malloc(len + 1);

		if (!bytes)
			abort();
		input_take(&in, bytes, len + 1);
		send_piece(socks[0], bytes, len + 1, n_fds);
		free(bytes);
		goes_on = read_all(reader, socks[1], n_take);
	}
	shutdown(socks[0], SHUT_WR);		/* at once, whoever looks at it just now */
	fd_close(&socks[0]);
	if (goes_on)
		assert(!read_all(reader, socks[1], 0));
	msg_reader_deinit(reader);
	fd_close(&socks[1]);
	free(reader);
	assert(input_count_fds() == n_fds_before);
	return 0;
}
