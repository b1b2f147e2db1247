/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Sequences of messages against a whole session, with real descriptors and
 * real rings.
 *
 * Input: messages: request, flags of the header, how many descriptors of which
 * family, of which kinds (two bits each), bytes of payload (two bytes), then the
 * payload. A request from GUEST_WRITES on is no message: the guest writes the
 * payload to its memory, the first kind of the first family, at an offset that the
 * two bytes before the size give. The device works on running rings after each.
 *
 * Asserted: one answer where one is due and none else, whole and well-formed;
 * a stopped ring does not run; iovecs of running rings lie in memory that is
 * mapped; no descriptor stays open.
 */
#include <assert.h>
#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "input.h"
#include "util/error.h"
#include "util/fd.h"
#include "util/log.h"
#include "vhost/request.h"
#include "vhost/session.h"

enum { MESSAGES_MAX = 100, FDS_MAX = 12, RINGS = 3, IOVS = 1100 };

/* Descriptors to send, in families of four. */
enum { FAMILIES = 3, KINDS = 4 };
static int kinds[FAMILIES][KINDS];

enum { MEMORY = 65536, GUEST_WRITES = 0xf0 };
static uint8_t *memory;
static struct session *session;
static uint8_t sum;

static int memory_of(off_t size)
{
	int fd = memfd_create("fuzz", MFD_CLOEXEC);

	if (fd < 0 || ftruncate(fd, size) < 0)
		abort();
	return fd;
}

static void init_once(void)
{
	int pipe_fds[2];

	if (kinds[0][0])
		return;
	log_level = LEVEL_ERR;
	if (pipe2(pipe_fds, O_CLOEXEC | O_NONBLOCK) < 0)
		abort();
	memcpy(kinds, (int[FAMILIES][KINDS]){
		{ memory_of(MEMORY), memory_of(5000), eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
		  open("/dev/null", O_RDWR | O_CLOEXEC) },
		{ memory_of(0), memory_of(1), memory_of(4095), memory_of(4097) },
		{ memory_of(12345), open("/dev/zero", O_RDONLY | O_CLOEXEC), pipe_fds[0],
		  pipe_fds[1] },
	}, sizeof kinds);
	for (int i = 0; i < FAMILIES * KINDS; i++)
		assert(kinds[i / KINDS][i % KINDS] >= 0);
	memory = mmap(NULL, MEMORY, PROT_READ | PROT_WRITE, MAP_SHARED, kinds[0][0], 0);
	if (memory == MAP_FAILED)
		abort();
}

/* Works on a ring as a device does, and reads what its chains offer. */
static void use_ring(unsigned ring)
{
	static struct iovec iov[IOVS];
	struct virtq_iovs iovs = { .iov = iov, .max = IOVS };
	struct virtq *q = session_running(session, ring);
	struct vring *v = session_vring(session, ring);
	struct virtq_chain c;
	int r;

	assert(!q || (v->started && !v->failed));
	if (!q)
		return;
	for (int i = 0; i < 4 && (r = virtq_pop(q, &iovs, &c)) != VIRTQ_E_EMPTY; i++) {
		if (r == VIRTQ_E_FULL)
			break;
		if (r == VIRTQ_E_BROKEN) {
			vring_fail(session_vring(session, ring));
			assert(!session_running(session, ring));
			return;
		}
		for (size_t k = 0; k < c.n_out + c.n_in; k++) {
			sum += *(uint8_t *)c.iov[k].iov_base;
			sum += ((uint8_t *)c.iov[k].iov_base)[c.iov[k].iov_len - 1];
		}
		virtq_push(q, &c, 0);
	}
	virtq_publish(q);
	virtq_enable_notify(q);
}

static void on_ring_changed(void *ctx, unsigned ring, int kick_fd)
{
	(void)ctx;
	assert(ring < RINGS && kick_fd == session_vring(session, ring)->kick_fd);
}

static void on_ring_stopped(void *ctx, unsigned ring)
{
	(void)ctx;
	assert(!session_running(session, ring));
}

static void on_guest_reset(void *ctx)
{
	(void)ctx;
}

static void on_read_config(void *ctx, uint32_t offset, void *out, size_t len)
{
	(void)ctx;
	memset(out, (int)offset, len);
}

static const struct session_ops ops = {
	.ring_changed = on_ring_changed, .ring_stopped = on_ring_stopped,
	.guest_reset = on_guest_reset, .read_config = on_read_config,
};

static void send_msg(int sock, struct vhost_user_hdr *hdr, void *payload, unsigned n_fds,
		     unsigned family, unsigned which)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(FDS_MAX * sizeof(int))];
	} control = { .bytes = "" };
	struct iovec iov[2] = { { hdr, sizeof *hdr }, { payload, hdr->size } };
	struct msghdr mh = { .msg_iov = iov, .msg_iovlen = 2 };
	int fds[FDS_MAX];

	for (unsigned i = 0; i < n_fds; i++)
		fds[i] = kinds[family % FAMILIES][which >> (2 * i % 8) & 3];
	if (n_fds) {
		struct cmsghdr *c = &control.align;

		*c = (struct cmsghdr){ .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS,
			.cmsg_len = CMSG_LEN(n_fds * sizeof(int)) };
		memcpy(CMSG_DATA(c), fds, n_fds * sizeof(int));
		mh.msg_control = &control;
		mh.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
	}
	if (sendmsg(sock, &mh, MSG_DONTWAIT | MSG_NOSIGNAL) !=
	    (ssize_t)(sizeof *hdr + hdr->size))
		abort();
}

/* Reads the one answer, if there is one. */
static bool take_answer(int sock, const struct vhost_user_hdr *asked)
{
	static uint8_t payload[VU_MSG_PAYLOAD_MAX];
	struct vhost_user_hdr hdr;
	ssize_t n = recv(sock, &hdr, sizeof hdr, MSG_DONTWAIT);

	if (n <= 0)
		return false;
	assert(n == sizeof hdr && hdr.request == asked->request);
	assert(hdr.flags == (VHOST_USER_VERSION | VHOST_USER_F_REPLY));
	assert(hdr.size <= sizeof payload);
	if (hdr.size)
		assert(recv(sock, payload, hdr.size, MSG_DONTWAIT) == (ssize_t)hdr.size);
	assert(recv(sock, payload, 1, MSG_DONTWAIT) <= 0);
	return true;
}

/* The guest, whose memory it is. */
static void write_memory(size_t at, const void *bytes, size_t len)
{
	size_t room = MEMORY - at % MEMORY;

	memcpy(memory + at % MEMORY, bytes, len < room ? len : room);
}

/* Is an answer due to the request? Takes note where it changes whether one is. */
static bool answer_is_due(const struct vhost_user_hdr *hdr, const void *payload, unsigned n_fds,
			  bool *reply_ack)
{
	bool wants_ack = hdr->flags & VHOST_USER_F_NEED_REPLY;
	uint64_t features = 0;

	/* The request that turns acknowledgements on, or off, may ask for one itself. */
	if (hdr->request == VHOST_USER_SET_PROTOCOL_FEATURES && hdr->size == 8 && !n_fds) {
		memcpy(&features, payload, sizeof features);
		if (!(features & ~UINT64_C(0xa209)))
			*reply_ack = features >> VHOST_USER_PROTOCOL_F_REPLY_ACK & 1;
	}
	return request_has_reply(hdr->request) || (*reply_ack && wants_ack);
}

/* False: the session is over. */
static bool ask(int sock, struct vhost_user_hdr *hdr, void *payload, unsigned n_fds,
		unsigned which, bool *reply_ack)
{
	unsigned family = n_fds / (FDS_MAX + 1);
	bool answered;
	int r;

	n_fds %= FDS_MAX + 1;
	send_msg(sock, hdr, payload, n_fds, family, which);
	r = session_input(session);
	answered = take_answer(sock, hdr);
	if (r == SESSION_E_END)
		return false;
	assert(answered == answer_is_due(hdr, payload, n_fds, reply_ack));
	return true;
}

static bool play_message(struct input *in, int sock, bool *reply_ack)
{
	struct vhost_user_hdr hdr = { .request = input_u8(in) };
	unsigned n_fds, which;
	bool goes_on = true;
	void *payload;

	hdr.flags = input_u8(in);
	n_fds = input_u8(in);
	which = input_u8(in);
	hdr.size = input_u16(in) % 5000;
	payload = malloc(hdr.size + 1);
	if (!payload)
		abort();
	input_take(in, payload, hdr.size);
	if (hdr.request >= GUEST_WRITES)
		write_memory(n_fds | which << 8, payload, hdr.size);
	else
		goes_on = ask(sock, &hdr, payload, n_fds, which, reply_ack);
	free(payload);
	for (unsigned ring = 0; goes_on && ring < RINGS; ring++)
		use_ring(ring);
	return goes_on;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct session_config config = {
		.ops = &ops, .tag = "fuzz", .n_rings = RINGS, .queue_size = 256,
		.memory = { .max_memory = UINT64_MAX, .mem_slots = VHOST_USER_MEM_SLOTS_MAX },
		.features = UINT64_C(1) << VIRTIO_F_VERSION_1 |
			UINT64_C(1) << VIRTIO_F_EVENT_IDX | UINT64_C(1) << VIRTIO_F_INDIRECT_DESC,
	};
	struct input in = { data, size };
	bool reply_ack = false;
	int n_fds_before, socks[2];

	init_once();
	memset(memory, 0, MEMORY);
	n_fds_before = input_count_fds();
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, socks) < 0 ||
	    session_new(&session, &config, socks[1]))
		abort();
	for (int i = 0; i < MESSAGES_MAX && in.left; i++)
		if (!play_message(&in, socks[0], &reply_ack))
			break;
	fd_close(&socks[0]);
	while (session_input(session) == 0)
		;
	session_free(session);
	assert(input_count_fds() == n_fds_before);
	return 0;
}
