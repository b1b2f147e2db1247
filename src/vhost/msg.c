/* SPDX-License-Identifier: BSD-3-Clause */
/* One vhost-user message: framing, descriptors, shapes. */
#include "vhost/msg.h"

#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "util/closer.h"
#include "util/error.h"
#include "util/fd.h"

enum { CONTROL_FDS = 32 };			/* more are closed by the kernel (MSG_CTRUNC) */

enum fds_rule {
	FDS_NONE,
	FDS_ONE,
	FDS_UP_TO_ONE,
	FDS_VRING,				/* one, or none with the NOFD bit */
	FDS_TABLE,				/* as many as regions */
};

enum ring_at {					/* where the payload names a ring */
	RING_NONE,
	RING_U32,				/* first 32 bits */
	RING_U64_LOW,				/* low byte of a u64 */
};

struct shape {
	const char *name;
	bool served;				/* else refused, whatever its shape */
	bool has_reply;
	uint16_t size, size_max;		/* bytes of payload; size_max 0: exactly size */
	enum fds_rule fds;
	enum ring_at ring;
};

#define U64	.size = 8
#define STATE	.size = sizeof(struct vhost_user_vring_state), .ring = RING_U32
#define REFUSED .served = false
#define SERVED	.served = true

static const struct shape shapes[VHOST_USER_REQUEST_END] = {
	[VHOST_USER_GET_FEATURES] = { "GET_FEATURES", SERVED, .has_reply = true },
	[VHOST_USER_SET_FEATURES] = { "SET_FEATURES", SERVED, U64 },
	[VHOST_USER_SET_OWNER] = { "SET_OWNER", SERVED },
	[VHOST_USER_RESET_OWNER] = { "RESET_OWNER", SERVED },
	[VHOST_USER_SET_MEM_TABLE] = { "SET_MEM_TABLE", SERVED,
		.size = offsetof(struct vhost_user_mem_table, regions),
		.size_max = sizeof(struct vhost_user_mem_table),
		.fds = FDS_TABLE },
	[VHOST_USER_SET_LOG_BASE] = { "SET_LOG_BASE", REFUSED, .has_reply = true },
	[VHOST_USER_SET_LOG_FD] = { "SET_LOG_FD", REFUSED },
	[VHOST_USER_SET_VRING_NUM] = { "SET_VRING_NUM", SERVED, STATE },
	[VHOST_USER_SET_VRING_ADDR] = { "SET_VRING_ADDR", SERVED,
		.size = sizeof(struct vhost_user_vring_addr), .ring = RING_U32 },
	[VHOST_USER_SET_VRING_BASE] = { "SET_VRING_BASE", SERVED, STATE },
	[VHOST_USER_GET_VRING_BASE] = { "GET_VRING_BASE", SERVED, .has_reply = true, STATE },
	[VHOST_USER_SET_VRING_KICK] = { "SET_VRING_KICK", SERVED, U64,
		.fds = FDS_VRING, .ring = RING_U64_LOW },
	[VHOST_USER_SET_VRING_CALL] = { "SET_VRING_CALL", SERVED, U64,
		.fds = FDS_VRING, .ring = RING_U64_LOW },
	[VHOST_USER_SET_VRING_ERR] = { "SET_VRING_ERR", SERVED, U64,
		.fds = FDS_VRING, .ring = RING_U64_LOW },
	[VHOST_USER_GET_PROTOCOL_FEATURES] = { "GET_PROTOCOL_FEATURES", SERVED, .has_reply = true },
	[VHOST_USER_SET_PROTOCOL_FEATURES] = { "SET_PROTOCOL_FEATURES", SERVED, U64 },
	[VHOST_USER_GET_QUEUE_NUM] = { "GET_QUEUE_NUM", SERVED, .has_reply = true },
	[VHOST_USER_SET_VRING_ENABLE] = { "SET_VRING_ENABLE", SERVED, STATE },
	[VHOST_USER_SEND_RARP] = { "SEND_RARP", REFUSED },
	[VHOST_USER_NET_SET_MTU] = { "NET_SET_MTU", REFUSED },
	[VHOST_USER_SET_BACKEND_REQ_FD] = { "SET_BACKEND_REQ_FD", REFUSED },
	[VHOST_USER_IOTLB_MSG] = { "IOTLB_MSG", REFUSED },
	[VHOST_USER_SET_VRING_ENDIAN] = { "SET_VRING_ENDIAN", REFUSED },
	[VHOST_USER_GET_CONFIG] = { "GET_CONFIG", SERVED, .has_reply = true,
		.size = sizeof(struct vhost_user_config), .size_max = MSG_PAYLOAD_MAX },
	[VHOST_USER_SET_CONFIG] = { "SET_CONFIG", SERVED,
		.size = sizeof(struct vhost_user_config), .size_max = MSG_PAYLOAD_MAX },
	[VHOST_USER_CREATE_CRYPTO_SESSION] = { "CREATE_CRYPTO_SESSION", REFUSED, .has_reply = true },
	[VHOST_USER_CLOSE_CRYPTO_SESSION] = { "CLOSE_CRYPTO_SESSION", REFUSED },
	[VHOST_USER_POSTCOPY_ADVISE] = { "POSTCOPY_ADVISE", REFUSED, .has_reply = true },
	[VHOST_USER_POSTCOPY_LISTEN] = { "POSTCOPY_LISTEN", REFUSED },
	[VHOST_USER_POSTCOPY_END] = { "POSTCOPY_END", REFUSED, .has_reply = true },
	[VHOST_USER_GET_INFLIGHT_FD] = { "GET_INFLIGHT_FD", REFUSED, .has_reply = true },
	[VHOST_USER_SET_INFLIGHT_FD] = { "SET_INFLIGHT_FD", REFUSED },
	[VHOST_USER_GPU_SET_SOCKET] = { "GPU_SET_SOCKET", REFUSED },
	[VHOST_USER_RESET_DEVICE] = { "RESET_DEVICE", SERVED },
	[VHOST_USER_VRING_KICK] = { "VRING_KICK", REFUSED },
	[VHOST_USER_GET_MAX_MEM_SLOTS] = { "GET_MAX_MEM_SLOTS", SERVED, .has_reply = true },
	[VHOST_USER_ADD_MEM_REG] = { "ADD_MEM_REG", SERVED,
		.size = sizeof(struct vhost_user_single_region), .fds = FDS_ONE },
	[VHOST_USER_REM_MEM_REG] = { "REM_MEM_REG", SERVED,
		.size = sizeof(struct vhost_user_single_region), .fds = FDS_UP_TO_ONE },
	[VHOST_USER_SET_STATUS] = { "SET_STATUS", REFUSED },
	[VHOST_USER_GET_STATUS] = { "GET_STATUS", REFUSED, .has_reply = true },
	[VHOST_USER_GET_SHARED_OBJECT] = { "GET_SHARED_OBJECT", REFUSED, .has_reply = true },
	[VHOST_USER_SET_DEVICE_STATE_FD] = { "SET_DEVICE_STATE_FD", REFUSED, .has_reply = true },
	[VHOST_USER_CHECK_DEVICE_STATE] = { "CHECK_DEVICE_STATE", REFUSED, .has_reply = true },
	[VHOST_USER_GET_SHMEM_CONFIG] = { "GET_SHMEM_CONFIG", REFUSED, .has_reply = true },
};

static const struct shape *shape_of(uint32_t request)
{
	if (request >= VHOST_USER_REQUEST_END || !shapes[request].name)
		return NULL;
	return &shapes[request];
}

const char *msg_name(uint32_t request)
{
	const struct shape *shape = shape_of(request);

	return shape ? shape->name : "unknown request";
}

bool msg_has_reply(uint32_t request)
{
	const struct shape *shape = shape_of(request);

	return shape && shape->has_reply;
}

const char *msg_str_error(int error)
{
	static const char *const text[] = {
		[MSG_E_AGAIN] = "incomplete", [MSG_E_MORE] = "incomplete", [MSG_E_EOF] = "end of stream",
		[MSG_E_GARBAGE] = "not a vhost-user message", [MSG_E_UNKNOWN] = "not supported",
		[MSG_E_SIZE] = "wrong size", [MSG_E_FDS] = "wrong number of file descriptors",
		[MSG_E_RING] = "no such ring",
	};

	return error < 0 ? error_str(error) : text[error];
}

/* As many bytes as the region count says; a longer table of unused regions
 * behind them is what some front-ends send. */
static bool size_is_right(const struct shape *shape, const struct msg *msg)
{
	uint32_t size = msg->hdr.size;

	if (!shape->size_max)
		return size == shape->size;
	if (size < shape->size || size > shape->size_max)
		return false;
	if (msg->hdr.request == VHOST_USER_SET_MEM_TABLE)
		return (size - shape->size) / sizeof(struct vhost_user_mem_region) >=
			msg->payload.table.num_regions;
	if (msg->hdr.request == VHOST_USER_SET_CONFIG)
		return size - shape->size == msg->payload.config.size;
	return msg->payload.config.size <= MSG_CONFIG_MAX;	/* GET_CONFIG */
}

static bool fds_are_right(const struct shape *shape, const struct msg *msg)
{
	switch (shape->fds) {
	case FDS_NONE:
		return msg->n_fds == 0;
	case FDS_ONE:
		return msg->n_fds == 1;
	case FDS_UP_TO_ONE:
		return msg->n_fds <= 1;
	case FDS_VRING:
		return msg->n_fds == (msg->payload.u64 & VHOST_USER_VRING_NOFD ? 0 : 1);
	case FDS_TABLE:
		return msg->n_fds == msg->payload.table.num_regions;
	}
	return false;
}

static bool ring_is_right(const struct shape *shape, const struct msg *msg, unsigned n_rings)
{
	switch (shape->ring) {
	case RING_NONE:
		return true;
	case RING_U32:
		return msg->payload.state.index < n_rings;
	case RING_U64_LOW:
		return (msg->payload.u64 & VHOST_USER_VRING_IDX_MASK) < n_rings;
	}
	return false;
}

int msg_check(const struct msg *msg, unsigned n_rings)
{
	const struct shape *shape = shape_of(msg->hdr.request);

	if (!shape || !shape->served)
		return MSG_E_UNKNOWN;
	if (!size_is_right(shape, msg))
		return MSG_E_SIZE;
	if (!fds_are_right(shape, msg))
		return MSG_E_FDS;
	if (!ring_is_right(shape, msg, n_rings))
		return MSG_E_RING;
	return 0;
}

void msg_reader_init(struct msg_reader *reader)
{
	memset(reader, 0, sizeof *reader);
	for (unsigned i = 0; i < MSG_FDS_MAX; i++)
		reader->msg.fds[i] = -1;
}

void msg_reader_next(struct msg_reader *reader)
{
	for (unsigned i = 0; i < MSG_FDS_MAX; i++)
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
	return i < MSG_FDS_MAX ? fd_take(&msg->fds[i]) : -1;
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
			if (msg->n_fds < MSG_FDS_MAX)
				msg->fds[msg->n_fds] = fd_take(&fds[i]);
			closer_close(&fds[i]);
			msg->n_fds++;
		}
	}
	if (mh->msg_flags & MSG_CTRUNC)
		msg->n_fds += CONTROL_FDS;	/* some were lost: never the right number */
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
		return errno == EAGAIN ? MSG_E_AGAIN : error_last();
	collect_fds(&reader->msg, &mh);
	if (n == 0)
		return MSG_E_EOF;
	reader->got += (size_t)n;
	return 0;
}

/* Drops some of the @left bytes of a payload that nobody wants. */
static int skip(struct msg_reader *reader, int sock, size_t left)
{
	uint8_t dropped[MSG_SKIP_CHUNK];
	size_t want = left < sizeof dropped ? left : sizeof dropped, before = reader->got;
	int r = receive(reader, sock, dropped, want);

	return r || reader->got - before == left ? r : MSG_E_MORE;
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
	    hdr->flags & VHOST_USER_F_REPLY || hdr->size > MSG_SKIP_MAX)
		return MSG_E_GARBAGE;
	while (reader->got < sizeof *hdr + hdr->size) {
		size_t at = reader->got - sizeof *hdr, left = hdr->size - at;

		if (hdr->size > MSG_PAYLOAD_MAX)
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

	/* A few bytes on a socket that the front-end empties before it asks on;
	 * one that does not is not worth a buffer. */
	do
		n = sendmsg(sock, &mh, MSG_DONTWAIT | MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return error_last();
	return n == (ssize_t)(sizeof hdr + len) ? 0 : -EAGAIN;
}
