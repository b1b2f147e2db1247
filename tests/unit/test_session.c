/* SPDX-License-Identifier: BSD-3-Clause */
/* A front-end and a session: what is answered, when rings run, what a reset is. */
#include "vhost/session.h"

#include <fcntl.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "queue.h"
#include "support/vmm.h"
#include "unit.h"
#include "util/fd.h"
#include "util/log.h"

#define BIT(n) (UINT64_C(1) << (n))
#define FEATURES (BIT(VIRTIO_F_VERSION_1) | BIT(VIRTIO_F_EVENT_IDX))
#define PROTOCOL BIT(VHOST_USER_F_PROTOCOL_FEATURES)
#define REGIONS(n) \
	(offsetof(struct vhost_user_mem_table, regions) + (n) * sizeof(struct vhost_user_mem_region))
#define ACKS BIT(VHOST_USER_PROTOCOL_F_REPLY_ACK)

enum { NUM = 8, ACK = VHOST_USER_F_NEED_REPLY, MEMORY_MAX = QUEUE_SIZE };

static struct vmm f;
static struct queue g;
static struct session *s;
static int fds_before, n_resets, n_stops, n_changes, last_kick_fd;
static bool runs_nothing;			/* no ring may run when one has changed */

static void on_ring_changed(void *ctx, unsigned ring, int kick_fd)
{
	ck_assert_ptr_eq(ctx, &f);
	ck_assert_uint_lt(ring, 3);
	ck_assert_int_eq(kick_fd, session_vring(s, ring)->kick_fd);
	for (unsigned i = 0; runs_nothing && i < 3; i++)
		ck_assert_ptr_null(session_running(s, i));
	last_kick_fd = kick_fd;
	n_changes++;
}

static void on_ring_stopped(void *ctx, unsigned ring)
{
	ck_assert_ptr_eq(ctx, &f);
	ck_assert_ptr_null(session_running(s, ring));
	n_stops++;
}

static void on_guest_reset(void *ctx)
{
	ck_assert_ptr_eq(ctx, &f);
	n_resets++;
}

/* A configuration space of 8 bytes: 1, 2, ... */
static void on_read_config(void *ctx, uint32_t offset, void *out, size_t len)
{
	uint8_t *to = out;

	ck_assert_ptr_eq(ctx, &f);
	for (size_t i = 0; i < len; i++)
		to[i] = offset + i < 8 ? (uint8_t)(offset + i + 1) : 0;
}

static const struct session_ops ops = {
	.ring_changed = on_ring_changed, .ring_stopped = on_ring_stopped,
	.guest_reset = on_guest_reset, .read_config = on_read_config,
};

static void setup(void)
{
	struct session_config config = {
		.ops = &ops, .ctx = &f, .tag = "test", .features = FEATURES, .n_rings = 3,
		.queue_size = 256,
		.memory = { .max_memory = MEMORY_MAX, .mem_slots = VHOST_USER_MEM_SLOTS_MAX },
	};

	log_level = LEVEL_ERR;
	fds_before = unit_count_fds();
	n_resets = n_stops = n_changes = 0;
	runs_nothing = false;
	queue_init(&g, NUM, 0);
	ck_assert_int_eq(session_new(&s, &config, vmm_pair(&f)), 0);
}

static void teardown(void)
{
	session_free(s);
	queue_deinit(&g);
	vmm_close(&f);
	ck_assert_int_eq(unit_count_fds(), fds_before);
}

static void say(uint32_t request, uint32_t flags, const void *payload, size_t len, int fd)
{
	ck_assert(vmm_send(&f, request, flags, payload, len, &fd, fd >= 0));
	ck_assert_int_eq(session_input(s), SESSION_E_AGAIN);
}

static void say_u64(uint32_t request, uint64_t v)
{
	say(request, 0, &v, sizeof v, -1);
}

static void say_state(uint32_t request, uint32_t index, uint32_t num)
{
	say(request, 0, &(struct vhost_user_vring_state){ index, num }, 8, -1);
}

static void expect_silence(void)
{
	struct vmm_msg a;

	ck_assert(vmm_recv(&f, &a) == VMM_SILENT);
}

static struct vmm_msg expect_answer(uint32_t request, size_t len)
{
	struct vmm_msg a;

	ck_assert(vmm_recv(&f, &a) == 0);
	ck_assert_uint_eq(a.hdr.request, request);
	ck_assert_uint_eq(a.hdr.flags, VHOST_USER_VERSION | VHOST_USER_F_REPLY);
	ck_assert_uint_eq(a.hdr.size, len);
	expect_silence();
	return a;
}

static uint64_t expect_u64(uint32_t request)
{
	struct vmm_msg a = expect_answer(request, sizeof(uint64_t));
	uint64_t v;

	memcpy(&v, a.body, sizeof v);
	return v;
}

static uint64_t ask_u64(uint32_t request)
{
	say(request, 0, NULL, 0, -1);
	return expect_u64(request);
}

static void say_memory(uint64_t size)
{
	struct vhost_user_mem_table m = {
		.num_regions = 1, .regions = { { QUEUE_GPA, size, QUEUE_UADDR, 0 } },
	};

	say(VHOST_USER_SET_MEM_TABLE, 0, &m, REGIONS(1), g.mem.regions[0].fd);
}

static void say_kick(uint32_t ring, bool with_fd)
{
	int fd = with_fd ? eventfd(0, EFD_CLOEXEC) : -1;
	uint64_t v = ring | (with_fd ? 0 : VHOST_USER_VRING_NOFD);

	say(VHOST_USER_SET_VRING_KICK, 0, &v, sizeof v, fd);
	fd_close(&fd);
}

static void say_addr(uint32_t ring)
{
	struct virtq_config c = queue_config(&g);

	say(VHOST_USER_SET_VRING_ADDR, 0, &(struct vhost_user_vring_addr){
		.index = ring, .desc = c.desc_uaddr, .avail = c.avail_uaddr,
		.used = c.used_uaddr }, sizeof(struct vhost_user_vring_addr), -1);
}

/* As QEMU does, up to a ring that runs. */
static void start(uint32_t ring, uint64_t features)
{
	say_u64(VHOST_USER_SET_FEATURES, features);
	say_memory(QUEUE_SIZE);
	say_state(VHOST_USER_SET_VRING_NUM, ring, NUM);
	say_state(VHOST_USER_SET_VRING_BASE, ring, 0);
	say_addr(ring);
	say_kick(ring, true);
	if (features & PROTOCOL)
		say_state(VHOST_USER_SET_VRING_ENABLE, ring, 1);
}

static uint32_t stop(uint32_t ring)
{
	struct vhost_user_vring_state state;
	struct vmm_msg a;

	say_state(VHOST_USER_GET_VRING_BASE, ring, 0);
	a = expect_answer(VHOST_USER_GET_VRING_BASE, sizeof state);
	memcpy(&state, a.body, sizeof state);
	ck_assert_uint_eq(state.index, ring);
	return state.num;
}

START_TEST(negotiation)
{
	uint64_t protocol;

	ck_assert_uint_eq(ask_u64(VHOST_USER_GET_FEATURES), FEATURES | PROTOCOL);
	protocol = ask_u64(VHOST_USER_GET_PROTOCOL_FEATURES);
	ck_assert_uint_eq(protocol & ~(BIT(0) | BIT(3) | BIT(9) | BIT(13) | BIT(15)), 0);
	say_u64(VHOST_USER_SET_PROTOCOL_FEATURES, protocol);
	say(VHOST_USER_SET_OWNER, 0, NULL, 0, -1);
	say_u64(VHOST_USER_SET_FEATURES, FEATURES | PROTOCOL);
	expect_silence();
	ck_assert_uint_eq(ask_u64(VHOST_USER_GET_QUEUE_NUM), 3);
	ck_assert_uint_eq(ask_u64(VHOST_USER_GET_MAX_MEM_SLOTS), 509);
}
END_TEST

struct ack_case {
	const char *name;
	uint32_t request;
	uint64_t words[5];
	size_t len;
	bool with_fd, good;
};

static const struct ack_case ack_cases[] = {
	{ "features", VHOST_USER_SET_FEATURES, { FEATURES }, 8, false, true },
	{ "features not offered", VHOST_USER_SET_FEATURES, { BIT(50) }, 8, false, false },
	{ "protocol features not offered", VHOST_USER_SET_PROTOCOL_FEATURES, { ACKS | BIT(1) }, 8,
	  false, false },
	{ "wrong size", VHOST_USER_SET_FEATURES, { 0 }, 7, false, false },
	{ "unwanted descriptor", VHOST_USER_SET_FEATURES, { 0 }, 8, true, false },
	{ "no such ring", VHOST_USER_SET_VRING_NUM, { 3 | BIT(35) }, 8, false, false },
	{ "ring size", VHOST_USER_SET_VRING_NUM, { UINT64_C(256) << 32 }, 8, false, true },
	{ "ring size 1", VHOST_USER_SET_VRING_NUM, { BIT(32) }, 8, false, true },
	{ "ring size 0", VHOST_USER_SET_VRING_NUM, { 0 }, 8, false, false },
	{ "ring size too large", VHOST_USER_SET_VRING_NUM, { UINT64_C(512) << 32 }, 8, false, false },
	{ "ring size no power of two", VHOST_USER_SET_VRING_NUM, { UINT64_C(6) << 32 }, 8, false,
	  false },
	{ "base too large", VHOST_USER_SET_VRING_BASE, { BIT(48) }, 8, false, false },
	{ "enable", VHOST_USER_SET_VRING_ENABLE, { BIT(32) }, 8, false, true },
	{ "enable 2", VHOST_USER_SET_VRING_ENABLE, { BIT(33) }, 8, false, false },
	{ "dirty log", VHOST_USER_SET_VRING_ADDR, { BIT(32) }, 40, false, false },
	{ "no memory", VHOST_USER_SET_MEM_TABLE, { 0 }, 8, false, true },
	{ "memory beyond the file", VHOST_USER_SET_MEM_TABLE, { 1, 0, QUEUE_SIZE + 1, 0, 0 }, 40,
	  true, false },
	{ "memory without descriptor", VHOST_USER_SET_MEM_TABLE, { 1, 0, 4096, 0, 0 }, 40, false,
	  false },
	{ "slot", VHOST_USER_ADD_MEM_REG, { 0, 0, 4096, 0, 0 }, 40, true, true },
	{ "empty slot", VHOST_USER_ADD_MEM_REG, { 0, 0, 0, 0, 0 }, 40, true, false },
	{ "no such slot", VHOST_USER_REM_MEM_REG, { 0, 0, 4096, 0, 0 }, 40, false, false },
	{ "set config", VHOST_USER_SET_CONFIG, { 0, 0 }, 12, false, false },
	{ "set config, of another size", VHOST_USER_SET_CONFIG, { 0, 0 }, 13, false, false },
	{ "not served", VHOST_USER_SET_STATUS, { 0 }, 8, false, false },
	{ "unknown request", 99, { 0 }, 8, false, false },
	{ "kick that is no eventfd", VHOST_USER_SET_VRING_KICK, { 1 }, 8, true, false },
	{ "call that is no eventfd", VHOST_USER_SET_VRING_CALL, { 1 }, 8, true, false },
	{ "no kick", VHOST_USER_SET_VRING_KICK, { 0x101 }, 8, false, true },
	{ "kick missing", VHOST_USER_SET_VRING_KICK, { 1 }, 8, false, false },
};

static const uint32_t event_fds[] = {
	VHOST_USER_SET_VRING_KICK, VHOST_USER_SET_VRING_CALL, VHOST_USER_SET_VRING_ERR,
};

/* An eventfd, of either kind; it stays as it was made. */
START_TEST(eventfds_are_kept_as_they_are)
{
	int flags = _i % 2 ? EFD_NONBLOCK : 0, fd = eventfd(7, EFD_CLOEXEC | flags);
	uint64_t ring = 1, count;

	say_u64(VHOST_USER_SET_PROTOCOL_FEATURES, ACKS);
	say(event_fds[_i / 2], ACK, &ring, sizeof ring, fd);
	ck_assert_uint_eq(expect_u64(event_fds[_i / 2]), 0);
	ck_assert_int_eq(fcntl(fd, F_GETFL) & O_NONBLOCK, flags ? O_NONBLOCK : 0);
	ck_assert_int_eq(read(fd, &count, sizeof count), sizeof count);
	ck_assert_uint_eq(count, 7);
	fd_close(&fd);
}
END_TEST

/* With an acknowledgement asked for: 0, or 1 and the session goes on. */
START_TEST(acknowledged)
{
	const struct ack_case *c = &ack_cases[_i];

	say_u64(VHOST_USER_SET_PROTOCOL_FEATURES, ACKS);
	say(c->request, ACK, c->words, c->len, c->with_fd ? g.mem.regions[0].fd : -1);
	ck_assert_msg(expect_u64(c->request) == !c->good, "%s", c->name);
	ck_assert_uint_eq(ask_u64(VHOST_USER_GET_QUEUE_NUM), 3);
}
END_TEST

/* Without: silence, and the end if refused, but for what we just do not know, or what is no
 * fault of the front-end's. */
START_TEST(not_acknowledged)
{
	const struct ack_case *c = &ack_cases[_i];
	bool is_ignored = c->request == 99 || c->request == VHOST_USER_SET_STATUS ||
		(c->request == VHOST_USER_SET_CONFIG && c->len == 12);
	int fd = g.mem.regions[0].fd;

	ck_assert(vmm_send(&f, c->request, ACK, c->words, c->len, &fd, c->with_fd));
	ck_assert_msg(session_input(s) ==
		      (c->good || is_ignored ? SESSION_E_AGAIN : SESSION_E_END), "%s", c->name);
	expect_silence();
}
END_TEST

/* Requests with a reply get one, also when refused and whatever is asked. */
START_TEST(refused_replies)
{
	static const uint32_t requests[] = {
		VHOST_USER_GET_INFLIGHT_FD, VHOST_USER_GET_STATUS, VHOST_USER_POSTCOPY_ADVISE,
		VHOST_USER_SET_LOG_BASE, VHOST_USER_GET_SHARED_OBJECT,
	};

	for (int i = 0; i < COUNT(requests); i++) {
		say(requests[i], 0, NULL, 0, -1);
		expect_answer(requests[i], 0);
	}
}
END_TEST

struct config_case {
	uint32_t offset, size;
};

static const struct config_case config_cases[] = {
	{ 0, 8 }, { 0, 0 }, { 4, 4 }, { 0, 256 }, { 8, 8 }, { 7, 3 }, { 0, 4096 },
	{ UINT32_MAX, 16 },
};

/* Exactly as long as asked for, zeroes beyond the end. */
START_TEST(config_space)
{
	const struct config_case *c = &config_cases[_i];
	struct vhost_user_config ask = { .offset = c->offset, .size = c->size };
	struct vmm_msg a;
	const uint8_t *data = a.body + sizeof ask;

	say(VHOST_USER_GET_CONFIG, 0, &ask, sizeof ask, -1);
	a = expect_answer(VHOST_USER_GET_CONFIG, sizeof ask + c->size);
	ck_assert_mem_eq(a.body, &ask, sizeof ask);
	for (uint64_t i = 0; i < c->size; i++)
		ck_assert_uint_eq(data[i], c->offset + i < 8 ? c->offset + i + 1 : 0);
}
END_TEST

/* _i: PROTOCOL_FEATURES negotiated; without it rings start enabled. */
START_TEST(ring_states)
{
	start(1, _i ? PROTOCOL : 0);
	ck_assert_ptr_nonnull(session_running(s, 1));
	ck_assert_ptr_null(session_running(s, 0));
	say_state(VHOST_USER_SET_VRING_ENABLE, 1, 0);
	ck_assert_int_eq(session_running(s, 1) != NULL, !_i);
	say_state(VHOST_USER_SET_VRING_ENABLE, 1, 1);
	ck_assert_ptr_nonnull(session_running(s, 1));
	ck_assert_uint_eq(stop(1), 0);
	ck_assert_int_eq(n_stops, 1);
	ck_assert_ptr_null(session_running(s, 1));
	say_kick(1, false);
	ck_assert_ptr_nonnull(session_running(s, 1));
	ck_assert_int_eq(last_kick_fd, -1);
	ck_assert_int_eq(session_vring(s, 1)->kick_fd, -1);
}
END_TEST

struct place_case {
	const char *name;
	uint64_t desc, avail, used;		/* offsets from where they are right */
	bool good;
};

static const struct place_case place_cases[] = {
	{ "right", 0, 0, 0, true },
	{ "descriptors before the memory", -(QUEUE_UADDR + 4096), 0, 0, false },
	{ "available ring after the memory", 0, QUEUE_SIZE, 0, false },
	{ "used ring not all within", 0, 0, QUEUE_SIZE, false },
	{ "not aligned", 4, 0, 0, false },
	{ "wraps around", 0, UINT64_MAX - QUEUE_UADDR, 0, false },
};

/* Where the memory is known, a ring outside of it is refused; else it may come yet. */
START_TEST(ring_places)
{
	const struct place_case *c = &place_cases[_i / 2];
	struct virtq_config config = queue_config(&g);
	struct vhost_user_vring_addr addr = {
		.index = 1, .desc = config.desc_uaddr + c->desc,
		.avail = config.avail_uaddr + c->avail, .used = config.used_uaddr + c->used,
	};
	bool has_memory = _i % 2;

	say_u64(VHOST_USER_SET_PROTOCOL_FEATURES, ACKS);
	say_state(VHOST_USER_SET_VRING_NUM, 1, NUM);
	if (has_memory)
		say_memory(QUEUE_SIZE);
	say(VHOST_USER_SET_VRING_ADDR, ACK, &addr, sizeof addr, -1);
	ck_assert_msg(expect_u64(VHOST_USER_SET_VRING_ADDR) ==
		      (has_memory && !c->good), "%s", c->name);
}
END_TEST

/* A size that would take a running ring out of its memory. */
START_TEST(ring_grows_out_of_memory)
{
	struct virtq_config config = queue_config(&g);
	struct vhost_user_vring_addr addr = {
		.index = 1, .desc = QUEUE_UADDR + QUEUE_SIZE - NUM * 16,
		.avail = config.avail_uaddr, .used = config.used_uaddr,
	};

	start(1, PROTOCOL);
	say_u64(VHOST_USER_SET_PROTOCOL_FEATURES, ACKS);
	say(VHOST_USER_SET_VRING_ADDR, 0, &addr, sizeof addr, -1);
	ck_assert_ptr_nonnull(session_running(s, 1));
	say(VHOST_USER_SET_VRING_NUM, ACK, &(struct vhost_user_vring_state){ 1, 2 * NUM }, 8, -1);
	ck_assert_uint_eq(expect_u64(VHOST_USER_SET_VRING_NUM), 1);
	ck_assert_ptr_nonnull(session_running(s, 1));
}
END_TEST

/* The order in which a ring is set up does not matter. */
START_TEST(any_order)
{
	say_kick(1, true);
	ck_assert_ptr_null(session_running(s, 1));
	ck_assert(!session_vring(s, 1)->failed);	/* not set up is not broken */
	say_addr(1);
	ck_assert_ptr_null(session_running(s, 1));
	say_state(VHOST_USER_SET_VRING_NUM, 1, NUM);
	ck_assert_ptr_null(session_running(s, 1));
	say_memory(QUEUE_SIZE);
	ck_assert_ptr_nonnull(session_running(s, 1));
	say_memory(4096);
	ck_assert_ptr_nonnull(session_running(s, 1));
	say_memory(64);
	ck_assert_ptr_null(session_running(s, 1));
	ck_assert(session_vring(s, 1)->failed);
}
END_TEST

/* Whoever is told of one ring sees all of them in the new memory, which has room for none. */
START_TEST(memory_changes_for_all_rings)
{
	start(1, PROTOCOL);
	ck_assert_ptr_nonnull(session_running(s, 1));
	runs_nothing = true;
	say_memory(64);
	runs_nothing = false;
	say_memory(QUEUE_SIZE);
	ck_assert_ptr_nonnull(session_running(s, 1));
}
END_TEST

static void take_one(void)
{
	struct iovec iov[VIRTQ_CHAIN_MAX];
	struct virtq_iovs iovs = { .iov = iov, .max = VIRTQ_CHAIN_MAX };
	struct virtq *q = session_running(s, 1);
	struct virtq_chain chain;

	queue_set_desc(&g, 0, QUEUE_BUFS, 8, 0, 0);
	guest_ring_raw_post(&g.ring, 0);
	ck_assert_int_eq(virtq_pop(q, &iovs, &chain), 0);
	virtq_push(q, &chain, 0);
	virtq_publish(q);
}

struct reset_case {
	const char *name;
	uint32_t base;				/* after two chains, stopped at 2 */
	int resets;
};

static const struct reset_case reset_cases[] = {
	{ "paused and resumed", 2, 0 }, { "from the beginning", 0, 1 }, { "elsewhere", 1, 1 },
};

/* _i: case, and whether the ring was stopped before (libkrun does not). */
START_TEST(guest_resets)
{
	const struct reset_case *c = &reset_cases[_i / 2];

	start(1, PROTOCOL);
	take_one();
	take_one();
	if (_i % 2)
		ck_assert_uint_eq(stop(1), 2);
	else
		say_state(VHOST_USER_SET_VRING_ENABLE, 1, 0);
	say_state(VHOST_USER_SET_VRING_BASE, 1, c->base);
	ck_assert_msg(n_resets == c->resets, "%s", c->name);
	say_state(VHOST_USER_SET_VRING_BASE, 1, c->base);
	ck_assert_int_eq(n_resets, c->resets);
	say_kick(1, true);
	say_state(VHOST_USER_SET_VRING_ENABLE, 1, 1);
	ck_assert_uint_eq(session_running(s, 1)->last_avail, c->base);
	if (!c->resets)
		ck_assert(!session_vring(s, 1)->adopted);
}
END_TEST

/* In the middle of a turn no kick is wanted. Another back-end that takes the ring over may wait for
 * one before it looks. _i: EVENT_IDX negotiated. */
START_TEST(stopped_ring_wants_kicks)
{
	start(1, PROTOCOL | (_i ? BIT(VIRTIO_F_EVENT_IDX) : 0));
	take_one();
	virtq_suppress_notify(session_running(s, 1));
	if (_i)
		ck_assert_uint_ne(guest_ring_avail_event(&g.ring), 1);
	else
		ck_assert_uint_eq(guest_ring_used_flags(&g.ring), VIRTQ_USED_F_NO_NOTIFY);
	ck_assert_uint_eq(stop(1), 1);
	ck_assert_uint_eq(guest_ring_avail_event(&g.ring), (uint16_t)_i);
	ck_assert_uint_eq(guest_ring_used_flags(&g.ring), 0);
}
END_TEST

/* Resumed, and reset before anybody looked at the ring. */
START_TEST(guest_resets_at_once)
{
	start(1, PROTOCOL);
	take_one();
	ck_assert_uint_eq(stop(1), 1);
	say_state(VHOST_USER_SET_VRING_BASE, 1, 1);
	say_kick(1, true);
	ck_assert_uint_eq(stop(1), 1);
	say_state(VHOST_USER_SET_VRING_BASE, 1, 0);
	ck_assert_int_eq(n_resets, 1);
}
END_TEST

START_TEST(adopted_from_another_backend)
{
	guest_ring_raw_avail_idx(&g.ring, 5);
	start(1, PROTOCOL);
	ck_assert(!session_vring(s, 1)->adopted);
	ck_assert_uint_eq(stop(1), 0);
	say_state(VHOST_USER_SET_VRING_BASE, 2, 5);
	ck_assert(session_vring(s, 2)->adopted);
	ck_assert_int_eq(n_resets, 0);
}
END_TEST

START_TEST(reset_device)
{
	start(1, PROTOCOL);
	say(VHOST_USER_RESET_DEVICE, 0, NULL, 0, -1);
	ck_assert_int_eq(n_resets, 1);
	ck_assert_int_eq(n_stops, 3);
	ck_assert_ptr_null(session_running(s, 1));
	ck_assert_int_eq(session_vring(s, 1)->kick_fd, -1);
	start(1, PROTOCOL);
	ck_assert_ptr_nonnull(session_running(s, 1));
}
END_TEST

/* A new session on the same socket: what the one before set up is gone, what was
 * negotiated is not. The first SET_OWNER, wherever it comes, begins no second session. */
START_TEST(owner_again)
{
	start(1, PROTOCOL);
	say(VHOST_USER_SET_OWNER, 0, NULL, 0, -1);
	ck_assert_ptr_nonnull(session_running(s, 1));
	ck_assert_int_eq(n_resets, 0);
	say(VHOST_USER_SET_OWNER, 0, NULL, 0, -1);
	ck_assert_int_eq(n_resets, 1);
	ck_assert_int_eq(n_stops, 3);
	ck_assert_ptr_null(session_running(s, 1));
	ck_assert_int_eq(session_vring(s, 1)->kick_fd, -1);
	start(1, PROTOCOL);			/* the same memory is no overlap */
	ck_assert_ptr_nonnull(session_running(s, 1));
}
END_TEST

START_TEST(says_reset)
{
	start(1, PROTOCOL);
	ck_assert(!session_says_reset(s));
	say(VHOST_USER_RESET_DEVICE, 0, NULL, 0, -1);
	ck_assert(session_says_reset(s));
}
END_TEST

/* It does not: no ring was started, or none is enabled, or there is memory. */
START_TEST(lacks_memory)
{
	ck_assert(!session_lacks_memory(s));
	say_u64(VHOST_USER_SET_FEATURES, PROTOCOL);
	say_kick(1, true);
	ck_assert(!session_lacks_memory(s));
	say_state(VHOST_USER_SET_VRING_ENABLE, 1, 1);
	ck_assert(session_lacks_memory(s));
	start(1, PROTOCOL);
	ck_assert(!session_lacks_memory(s));
}
END_TEST

/* Told once by the error descriptor; another chance when it is set up again. */
START_TEST(broken_ring)
{
	uint64_t v = 1, count = 0;
	int err = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

	start(1, PROTOCOL);
	say(VHOST_USER_SET_VRING_ERR, 0, &v, sizeof v, err);
	for (int i = 0; i < 3; i++)
		vring_fail(session_vring(s, 1));
	ck_assert_int_eq(read(err, &count, sizeof count), 8);
	ck_assert_uint_eq(count, 1);
	ck_assert_ptr_null(session_running(s, 1));
	say_addr(1);
	ck_assert_ptr_nonnull(session_running(s, 1));
	close(err);
}
END_TEST

START_TEST(refused_table_leaves_the_old_one)
{
	struct vhost_user_mem_table m = {
		.num_regions = 2, .regions = { { 0, 4096, 0, 0 }, { 0, 4096, 0, 0 } },
	};
	int fds[] = { g.mem.regions[0].fd, g.mem.regions[0].fd };

	say_u64(VHOST_USER_SET_PROTOCOL_FEATURES, ACKS);
	start(1, PROTOCOL);
	ck_assert(vmm_send(&f, VHOST_USER_SET_MEM_TABLE, ACK, &m, REGIONS(2), fds, 2));
	ck_assert_int_eq(session_input(s), SESSION_E_AGAIN);
	ck_assert_uint_eq(expect_u64(VHOST_USER_SET_MEM_TABLE), 1);
	ck_assert_ptr_nonnull(session_running(s, 1));
}
END_TEST

/* One front-end's memory is not to take the address space of another's. */
START_TEST(memory_has_a_limit)
{
	struct vhost_user_single_region slot = { .region = { QUEUE_GPA + MEMORY_MAX, 1, 0, 0 } };

	say_u64(VHOST_USER_SET_PROTOCOL_FEATURES, ACKS);
	start(1, PROTOCOL);			/* all that may be */
	say(VHOST_USER_ADD_MEM_REG, ACK, &slot, sizeof slot, g.mem.regions[0].fd);
	ck_assert_uint_eq(expect_u64(VHOST_USER_ADD_MEM_REG), 1);
	ck_assert_ptr_nonnull(session_running(s, 1));
	say_memory(MEMORY_MAX);			/* beside the old one, for a moment */
	expect_silence();
	ck_assert_ptr_nonnull(session_running(s, 1));
	ck_assert_uint_eq(ask_u64(VHOST_USER_GET_MAX_MEM_SLOTS), VHOST_USER_MEM_SLOTS_MAX);
}
END_TEST

/* More than is heard in one turn, and nobody has to wait until all of it was. */
START_TEST(says_more_than_is_heard)
{
	enum { N = 200, PER_TURN = 32 };
	static struct vhost_user_hdr owner[N];
	int turns = 0, before = -1;		/* the first SET_OWNER resets nothing */

	for (int i = 0; i < N; i++)
		owner[i] = (struct vhost_user_hdr){ .request = VHOST_USER_SET_OWNER,
						    .flags = VHOST_USER_VERSION };
	ck_assert(vmm_send_bytes(&f, owner, sizeof owner, NULL, 0));
	for (; session_input(s) == 0; turns++) {
		ck_assert_int_le(n_resets - before, PER_TURN);
		before = n_resets;
	}
	ck_assert_int_le(n_resets - before, PER_TURN);
	ck_assert_int_eq(turns, N / PER_TURN);
	ck_assert_int_eq(n_resets, N - 1);
}
END_TEST

/* The pieces in which a payload is heard that nobody wants count as messages do. */
START_TEST(says_something_long)
{
	enum { SHORT = 26, PIECES = 8, LEN = PIECES * 16 * 1024 };
	static struct {
		struct vhost_user_hdr owner[SHORT], hdr;
		uint8_t junk[LEN];
	} m = { .hdr = { .request = 1000, .flags = VHOST_USER_VERSION, .size = LEN } };

	for (int i = 0; i < SHORT; i++)
		m.owner[i] = (struct vhost_user_hdr){ .request = VHOST_USER_SET_OWNER,
						      .flags = VHOST_USER_VERSION };
	ck_assert(vmm_send_bytes(&f, &m, sizeof m, NULL, 0));
	ck_assert_int_eq(session_input(s), 0);
	ck_assert_int_eq(session_input(s), SESSION_E_AGAIN);
	ck_assert_uint_eq(ask_u64(VHOST_USER_GET_QUEUE_NUM), 3);
}
END_TEST

/* _i: how the front-end leaves: at once, in a message, with garbage. */
START_TEST(leaves)
{
	static const uint8_t garbage[16] = { 1, 2, 3, 4, 5, 6, 7, 8 };
	const int fd = STDERR_FILENO;

	start(1, PROTOCOL);
	if (_i)
		ck_assert(vmm_send_bytes(&f, garbage, _i == 1 ? 3 : 16, &fd, 1));
	if (_i < 2)
		vmm_close(&f);
	ck_assert_int_eq(session_input(s), SESSION_E_END);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("session");
	TCase *tc = tcase_create("session");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, negotiation);
	tcase_add_loop_test(tc, acknowledged, 0, COUNT(ack_cases));
	tcase_add_loop_test(tc, not_acknowledged, 0, COUNT(ack_cases));
	tcase_add_test(tc, refused_replies);
	tcase_add_loop_test(tc, config_space, 0, COUNT(config_cases));
	tcase_add_loop_test(tc, eventfds_are_kept_as_they_are, 0, 2 * COUNT(event_fds));
	tcase_add_loop_test(tc, ring_places, 0, 2 * COUNT(place_cases));
	tcase_add_test(tc, ring_grows_out_of_memory);
	tcase_add_loop_test(tc, ring_states, 0, 2);
	tcase_add_test(tc, any_order);
	tcase_add_test(tc, memory_changes_for_all_rings);
	tcase_add_loop_test(tc, guest_resets, 0, COUNT(reset_cases) * 2);
	tcase_add_test(tc, guest_resets_at_once);
	tcase_add_loop_test(tc, stopped_ring_wants_kicks, 0, 2);
	tcase_add_test(tc, adopted_from_another_backend);
	tcase_add_test(tc, reset_device);
	tcase_add_test(tc, owner_again);
	tcase_add_test(tc, says_reset);
	tcase_add_test(tc, lacks_memory);
	tcase_add_test(tc, broken_ring);
	tcase_add_test(tc, refused_table_leaves_the_old_one);
	tcase_add_test(tc, memory_has_a_limit);
	tcase_add_test(tc, says_more_than_is_heard);
	tcase_add_test(tc, says_something_long);
	tcase_add_loop_test(tc, leaves, 0, 3);
	suite_add_tcase(suite, tc);
	return unit_main(suite);
}
