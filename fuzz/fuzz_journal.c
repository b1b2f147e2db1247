/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A device that takes the place of another: what that has left was written by a process that
 * an attacker may have taken over.
 *
 * Input: one byte: bit 0: the next 64 are the journal's head, else it is a good one; bit 1:
 * what the facts announce is done. How many descriptors there are besides the journal, from
 * slot 1 on, and of which kind each is (enum kind). Bytes that wait in the front-end's socket
 * and in the pipe of replies, how many each (one byte), and then these. Names of connections:
 * how many bytes (two), and then these. The rest is the first copy, from its first byte.
 *
 * Asserted: nothing is dropped that is not kept; either there is a session afterwards, and
 * then it answers once, or another front-end gets one; the end leaves no descriptor.
 */
#include <assert.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "device/device.h"
#include "input.h"
#include "protocol/journal.h"
#include "util/fd.h"
#include "util/log.h"

enum { CID = 3, SLOTS_MAX = 24, MEMORY = 65536, BATCHES = 12, CONNECTIONS = 8 };

enum kind {
	KIND_NONE, KIND_FRONT_END, KIND_QUEUE_OUT, KIND_QUEUE_IN, KIND_MEMORY, KIND_EVENT,
	KIND_EVENT_BLOCKING, KIND_NULL, KIND_CANDIDATE, KIND_SMALL_MEMORY,
	N_KINDS,
};

static bool is_kept[JOURNAL_SLOTS_MAX];
static unsigned n_came, n_gone;
static int front_end, candidate, queue[2];	/* ours, and the pipe */

static int keep(void *ctx, uint32_t slot, int fd)
{
	(void)ctx;
	assert(slot < JOURNAL_SLOTS_MAX && fcntl(fd, F_GETFD) >= 0);
	is_kept[slot] = true;
	return 0;
}

/* The journal's own may not be there: nobody looks. */
static void drop(void *ctx, uint32_t slot)
{
	(void)ctx;
	assert(slot == JOURNAL_SLOT || (slot < JOURNAL_SLOTS_MAX && is_kept[slot]));
	is_kept[slot] = false;
}

static void on_came(uint64_t cid)
{
	assert(cid == CID);
	n_came++;
}

static void on_gone(uint64_t cid)
{
	assert(cid == CID);
	if (!n_came)				/* before the device began, maybe */
		return;
	n_gone++;
	assert(n_gone <= n_came + 1);		/* one that had come to another process */
}

static void on_over(uint64_t cid)
{
	(void)cid;
	abort();				/* it listens */
}

static int memory_of(off_t size)
{
	int fd = memfd_create("fuzz", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (fd < 0 || ftruncate(fd, size) < 0)
		abort();
	return fd;
}

/* One end of a pair, the other is kept; a second one is none. */
static int pair_end(int *ours)
{
	int socks[2];

	if (*ours >= 0)
		return -1;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, socks) < 0)
		abort();
	*ours = socks[0];
	return socks[1];
}

static int make(enum kind kind)
{
	switch (kind) {
	case KIND_FRONT_END:
		return pair_end(&front_end);
	case KIND_CANDIDATE:
		return pair_end(&candidate);
	case KIND_QUEUE_OUT:
		return dup(queue[0]);
	case KIND_QUEUE_IN:
		return dup(queue[1]);
	case KIND_MEMORY:
		return memory_of(MEMORY);
	case KIND_SMALL_MEMORY:
		return memory_of(100);
	case KIND_EVENT:
		return eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	case KIND_EVENT_BLOCKING:
		return eventfd(0, EFD_CLOEXEC);
	case KIND_NULL:
		return open("/dev/null", O_RDWR | O_CLOEXEC);
	case KIND_NONE:
	case N_KINDS:
		break;
	}
	return -1;
}

static size_t make_kept(struct input *in, struct journal_kept *kept)
{
	size_t n = input_u8(in) % SLOTS_MAX, made = 0;

	for (uint32_t slot = 1; slot <= n; slot++) {
		int fd = make(input_u8(in) % N_KINDS);

		if (fd < 0)
			continue;
		kept[made++] = (struct journal_kept){ slot, fd };
		is_kept[slot] = true;
	}
	return made;
}

static void send_some(struct input *in, int fd)
{
	uint8_t bytes[256];
	size_t n = input_u8(in);

	input_take(in, bytes, n);
	if (n && fd >= 0 && write(fd, bytes, n) != (ssize_t)n)
		abort();
}

static int make_journal(struct input *in, unsigned how)
{
	size_t names = conn_names_size(CONNECTIONS), n;
	size_t size = JOURNAL_NAMES_AT + (names + 4095) / 4096 * 4096;
	int fd = memory_of((off_t)size);
	uint8_t *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	struct journal_head head = {
		.magic = JOURNAL_MAGIC, .version = JOURNAL_VERSION,
		.copy_bytes = JOURNAL_COPY_BYTES, .names_bytes = names,
		.state = JOURNAL_COMMIT | (how & 2 ? JOURNAL_SETTLED : 0),
	};

	if (at == MAP_FAILED || fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) < 0)
		abort();
	memcpy(at, &head, sizeof head);
	if (how & 1)
		input_take(in, at, 64);
	n = input_u16(in) % (names + 1);
	input_take(in, at + JOURNAL_NAMES_AT, n);
	input_take(in, at + JOURNAL_COPY_AT,
		   in->left < JOURNAL_COPY_BYTES ? in->left : JOURNAL_COPY_BYTES);
	munmap(at, size);
	return fd;
}

static int make_listening(struct sockaddr_un *addr, socklen_t *len)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	*addr = (struct sockaddr_un){ .sun_family = AF_UNIX };
	*len = sizeof *addr;
	if (fd < 0 || bind(fd, (struct sockaddr *)addr, sizeof addr->sun_family) < 0 ||
	    listen(fd, 1) < 0 || getsockname(fd, (struct sockaddr *)addr, len) < 0)
		abort();
	return fd;
}

static void run(struct loop *loop)
{
	for (int i = 0; i < BATCHES; i++)
		if (loop_step(loop, 0) < 0)
			abort();
}

/* What is there is dropped; how much was it? */
static size_t take_all(int fd)
{
	uint8_t bytes[8192];
	size_t n = 0;
	ssize_t got;

	while ((got = recv(fd, bytes, sizeof bytes, MSG_DONTWAIT)) > 0)
		n += (size_t)got;
	return n;
}

/* GET_FEATURES has one answer. */
static void ask(struct loop *loop, int fd)
{
	const struct vhost_user_hdr hdr = { VHOST_USER_GET_FEATURES, VHOST_USER_VERSION, 0 };

	if (send(fd, &hdr, sizeof hdr, MSG_NOSIGNAL) != sizeof hdr)
		abort();
	run(loop);
	assert(take_all(fd) == sizeof hdr + 8);
}

static void come_anew(struct loop *loop, const struct sockaddr_un *addr, socklen_t len)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || connect(fd, (const struct sockaddr *)addr, len) < 0)
		abort();
	ask(loop, fd);
	fd_close(&fd);
	run(loop);
	assert(n_gone == n_came);
}

static void go_on(struct loop *loop, const struct sockaddr_un *addr, socklen_t len)
{
	run(loop);
	if (front_end >= 0)
		take_all(front_end);		/* what was owed */
	fd_close(&front_end);
	fd_close(&candidate);
	run(loop);
	assert(n_gone == n_came);
	come_anew(loop, addr, len);
}

static void init_once(void)
{
	static bool is_done;

	if (is_done)
		return;
	is_done = true;
	log_adopt(LEVEL_ERR, open("/dev/null", O_WRONLY | O_CLOEXEC));
	signal(SIGPIPE, SIG_IGN);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct journal_keeper keeper = { .keep = keep, .drop = drop };
	static const struct device_hooks hooks = {
		.came = on_came, .gone = on_gone, .over = on_over,
	};
	static struct device_scratch scratch;
	struct journal_kept kept[SLOTS_MAX + 1];
	struct device_config config = {
		.address = { .fd = 0 }, .hooks = &hooks, .guest_cid = CID,
		.queue_size = 256, .pause_grace_ms = 60000,
		.limits = { .tx_buffer_size = 4096, .max_connections = CONNECTIONS,
			    .max_buffered = 65536, .linger_ms = 100 },
		.memory = { .max_memory = UINT64_MAX, .mem_slots = VHOST_USER_MEM_SLOTS_MAX },
		.scratch = &scratch, .keeper = &keeper, .kept = kept,
	};
	struct input in = { data, size };
	struct sockaddr_un addr;
	struct device *dev;
	socklen_t len;
	unsigned how;
	int n_fds_before;

	init_once();
	n_fds_before = input_count_fds();
	memset(is_kept, 0, sizeof is_kept);
	n_came = n_gone = 0;
	front_end = candidate = -1;
	if (pipe2(queue, O_CLOEXEC | O_NONBLOCK) < 0)
		abort();
	how = input_u8(&in);
	config.n_kept = make_kept(&in, kept);
	send_some(&in, front_end);
	send_some(&in, queue[1]);
	fd_close(&queue[0]);
	fd_close(&queue[1]);
	kept[config.n_kept++] = (struct journal_kept){ JOURNAL_SLOT, make_journal(&in, how) };
	config.address.fd = make_listening(&addr, &len);
	if (loop_new(&config.loop) < 0 || device_new(&dev, &config))
		abort();
	go_on(config.loop, &addr, len);
	device_free(dev);
	loop_free(config.loop);
	for (unsigned slot = 1; slot < JOURNAL_SLOTS_MAX; slot++)
		assert(!is_kept[slot]);
	assert(input_count_fds() == n_fds_before);
	return 0;
}
