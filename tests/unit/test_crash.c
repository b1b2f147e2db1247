/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A whole session against a device that crashes, at each of its steps: the front-end sees no
 * more of it than that an answer takes longer. Each request has one answer, each buffer of a
 * ring comes back once and in order, a ring stops where its buffers end, and no wait is in
 * vain. CRASH=all: all steps; otherwise some of them.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>
#include <linux/sockios.h>

#include <linux/sockios.h>

#include "crash.h"
#include "support/deadline.h"
#include "support/must.h"
#include "support/scratch.h"
#include "support/vmm.h"
#include "unit.h"
#include "util/log.h"

enum {
	RINGS = VSOCK_NUM_QUEUES, NUM = 32, RX_BUF = 256,
	SHARES = 16,				/* of all steps: one test each */
	STRIDE = 7,				/* one of so many; odd: beginnings and ends */
	BEGINNING = 90,				/* steps in which a front-end becomes known */
	N_PACKETS = 20, FIRST_PORT = 1000,
};

static char path[96];
static struct crash crash;
static struct vmm f;
static struct guest guest;
static struct guest_ring rings[RINGS];
static uint64_t buffers;			/* gpa */
static unsigned n_resets[N_PACKETS];		/* RSTs that each port has got */

static void on_must(const char *file, int line, const char *text)
{
	ck_abort_msg("%s:%d: %s", file, line, text);
}

static void setup(void)
{
	must_hook = on_must;
	log_level = LEVEL_ERR;
	snprintf(path, sizeof path, "%s/%d.sock", scratch_path(), (int)getpid());
}

static void begin(unsigned first, unsigned later, bool has_event_idx)
{
	crash_begin(&crash, path, &(struct crash_plan){ .first = first, .later = later });
	guest_init(&guest);
	guest_add_region(&guest, 0, 1 << 20, 4096);
	guest_add_region(&guest, 1 << 24, 1 << 16, 0);
	for (unsigned i = 0; i < RINGS; i++) {
		guest_ring_init(&rings[i], &guest, 0, NUM, (uint16_t)(65530 + i));
		rings[i].event_idx = has_event_idx;
		rings[i].in_order = true;
	}
	buffers = guest_alloc(&guest, 0, 2 * NUM * RX_BUF, 4096);
	memset(n_resets, 0, sizeof n_resets);
}

static void end(void)
{
	vmm_close(&f);
	for (unsigned i = 0; i < RINGS; i++)
		guest_ring_deinit(&rings[i]);
	guest_deinit(&guest);
	crash_end(&crash);
	unlink(path);
}

/* ---- the front-end ---- */

static void expect_config(uint32_t offset, uint32_t size)
{
	uint8_t all[16] = { CRASH_CID }, data[16];

	ck_assert_int_eq(vmm_get_config(&f, offset, size, data), 0);
	ck_assert_mem_eq(data, all + offset, size);
}

static void negotiate(bool acks)
{
	uint64_t features, n, without = UINT64_C(1) << VIRTIO_F_NOTIFY_ON_EMPTY;

	ck_assert(vmm_connect(&f, path));
	ck_assert_int_eq(vmm_get_features(&f, &features), 0);
	ck_assert_int_eq(vmm_get_protocol_features(&f, &n), 0);
	ck_assert_int_eq(vmm_set_protocol_features(&f, n), 0);
	f.ack_all = acks;
	ck_assert_int_eq(vmm_set_owner(&f), 0);
	ck_assert_int_eq(vmm_get_queue_num(&f, &n), 0);
	ck_assert_uint_eq(n, RINGS);
	ck_assert_int_eq(vmm_get_max_mem_slots(&f, &n), 0);
	ck_assert_uint_eq(n, 32);
	if (!rings[0].event_idx)
		without |= UINT64_C(1) << VIRTIO_F_EVENT_IDX;
	ck_assert_int_eq(vmm_set_features(&f, features & ~without), 0);
	expect_config(0, 8);
	expect_config(3, 5);
}

static void share_memory(void)
{
	ck_assert_int_eq(vmm_set_mem_table(&f, &guest), 0);
	ck_assert_int_eq(vmm_rem_mem_reg(&f, &guest.regions[1]), 0);
	ck_assert_int_eq(vmm_add_mem_reg(&f, &guest.regions[1]), 0);
	if (f.ack_all)				/* refused, and that once */
		ck_assert_int_gt(vmm_add_mem_reg(&f, &guest.regions[1]), 0);
}

static void start_rings(void)
{
	for (uint32_t i = 0; i < RINGS; i++) {
		ck_assert_int_eq(vmm_set_vring_num(&f, i, NUM), 0);
		ck_assert_int_eq(vmm_set_vring_base(&f, i, rings[i].avail_idx), 0);
		ck_assert_int_eq(vmm_set_vring_addr(&f, i, &rings[i]), 0);
		ck_assert_int_eq(vmm_set_vring_call(&f, i, rings[i].call_fd), 0);
		ck_assert_int_eq(vmm_set_vring_err(&f, i, rings[i].err_fd), 0);
		ck_assert_int_eq(vmm_set_vring_kick(&f, i, rings[i].kick_fd), 0);
		ck_assert_int_eq(vmm_set_vring_enable(&f, i, true), 0);
	}
}

/* All that was used is ours again: the ring stops there, and nowhere else. */
static void stop_rings(void)
{
	for (uint32_t i = 0; i < RINGS; i++) {
		uint32_t base;

		ck_assert_int_eq(vmm_get_vring_base(&f, i, &base), 0);
		ck_assert_uint_eq(base, guest_ring_used_idx(&rings[i]));
	}
	ck_assert(!guest_ring_has_used(&rings[VSOCK_TXQ]));
	ck_assert_uint_eq(guest_ring_in_flight(&rings[VSOCK_TXQ]), 0);
}

/* The device has taken all that was sent, if not yet made anything of it. */
static void wait_until_read(void)
{
	int64_t deadline = deadline_in(DEADLINE_MS);
	int unread = 1;

	while (unread) {
		ck_assert(deadline_left(deadline));
		ck_assert_int_eq(ioctl(f.sock, SIOCOUTQ, &unread), 0);
	}
}

/* The header first, then the payload with a descriptor; then the same cut in the payload,
 * and three requests at once. */
static void send_pieces(void)
{
	struct vmm_msg m = { .hdr = { VHOST_USER_SET_VRING_CALL, VHOST_USER_VERSION, 8 },
		.body = { VSOCK_TXQ } };
	struct {
		struct vhost_user_hdr hdr;
		struct vhost_user_config config;
		uint8_t data[4];
	} ask[3];
	int fd = rings[VSOCK_TXQ].call_fd;

	for (size_t cut = sizeof m.hdr; cut < sizeof m.hdr + 8; cut += 5) {
		ck_assert(vmm_send_bytes(&f, &m, cut, &fd, cut != sizeof m.hdr));
		wait_until_read();
		ck_assert(vmm_send_bytes(&f, (char *)&m + cut, sizeof m.hdr + 8 - cut, &fd,
					 cut == sizeof m.hdr));
		wait_until_read();
	}
	memset(ask, 0, sizeof ask);
	for (uint32_t i = 0; i < 3; i++) {
		ask[i].hdr = (struct vhost_user_hdr){ VHOST_USER_GET_CONFIG, VHOST_USER_VERSION,
			sizeof ask[i].config + i };
		ask[i].config = (struct vhost_user_config){ .offset = i, .size = i };
	}
	for (uint32_t i = 0; i < 3; i++)
		ck_assert(vmm_send_bytes(&f, &ask[i], sizeof ask[i].hdr + ask[i].hdr.size, NULL, 0));
	for (uint32_t i = 0; i < 3; i++) {
		ck_assert_int_eq(vmm_recv(&f, &m), 0);
		ck_assert_uint_eq(m.hdr.size, ask[i].hdr.size);
	}
}

/* Nothing is left to be said, on either side. */
static void expect_silence(void)
{
	uint64_t features;
	char byte;

	ck_assert_int_eq(vmm_get_features(&f, &features), 0);
	ck_assert_int_eq(recv(f.sock, &byte, 1, MSG_DONTWAIT), -1);
}

static void leave(void)
{
	int64_t deadline = deadline_in(DEADLINE_MS);

	vmm_close(&f);
	while (atomic_load(&crash.report->n_kept) > 1) {	/* the journal stays */
		ck_assert(deadline_left(deadline));
		poll(NULL, 0, 1);
	}
}

/* ---- the guest ---- */

static void wait_for_used(struct guest_ring *r)
{
	int64_t deadline = deadline_in(DEADLINE_MS);

	while (!guest_ring_want_call(r)) {
		ck_assert_msg(deadline_poll(r->call_fd, POLLIN, deadline), "not called");
		guest_ring_take_call(r);
	}
}

static void offer_rx(void)
{
	struct guest_ring *r = &rings[VSOCK_RXQ];

	while (guest_ring_in_flight(r) < NUM) {
		struct guest_ring_buf buf = { .len = RX_BUF, .writable = true };

		buf.gpa = buffers + r->avail_idx % NUM * RX_BUF;
		must(guest_ring_add(r, &buf, 1, buf.gpa));
	}
	guest_ring_publish(r);
}

static void take_rx(void)
{
	struct wire_vsock_hdr hdr;
	uint64_t gpa;
	uint32_t len, port;

	wait_for_used(&rings[VSOCK_RXQ]);
	while (guest_ring_pop(&rings[VSOCK_RXQ], &gpa, &len)) {
		ck_assert_uint_eq(len, sizeof hdr);
		guest_read(&guest, gpa, &hdr, sizeof hdr);
		port = le32_get(hdr.dst_port) - FIRST_PORT;
		ck_assert_uint_eq(le16_get(hdr.op), VSOCK_OP_RST);
		ck_assert_uint_lt(port, N_PACKETS);
		n_resets[port]++;
	}
	offer_rx();
}

static void send_packet_to(unsigned i, uint32_t port)
{
	struct guest_ring *r = &rings[VSOCK_TXQ];
	struct guest_ring_buf buf = { .len = sizeof(struct wire_vsock_hdr) };
	const struct wire_vsock_hdr hdr = {
		.src_cid = le64_of(CRASH_CID), .dst_cid = le64_of(VSOCK_CID_HOST),
		.src_port = le32_of(FIRST_PORT + i), .dst_port = le32_of(port),
		.type = le16_of(VSOCK_TYPE_STREAM), .op = le16_of(VSOCK_OP_REQUEST),
		.buf_alloc = le32_of(65536),
	};

	buf.gpa = buffers + (NUM + r->avail_idx % NUM) * RX_BUF;
	guest_write(&guest, buf.gpa, &hdr, sizeof hdr);
	must(guest_ring_add(r, &buf, 1, i));
	guest_ring_publish(r);
}

static void send_packet(unsigned i)
{
	send_packet_to(i, 80);
}

/* Nobody listens: each request is answered by an RST, or by more where it was made anew. */
static void exchange(unsigned from, unsigned n)
{
	uint64_t token;
	uint32_t len;

	offer_rx();
	for (unsigned i = from; i < from + n; i++)
		send_packet(i);
	for (unsigned i = from; i < from + n; i++) {
		wait_for_used(&rings[VSOCK_TXQ]);
		ck_assert(guest_ring_pop(&rings[VSOCK_TXQ], &token, &len));
		ck_assert_uint_eq(token, i);
	}
	for (unsigned i = from; i < from + n; i++)
		while (!n_resets[i])
			take_rx();
}

static void play(bool acks)
{
	negotiate(acks);
	share_memory();
	start_rings();
	exchange(0, 4);
	send_pieces();
	exchange(4, 4);
	stop_rings();
	for (uint32_t i = 0; i < RINGS; i++) {
		ck_assert_int_eq(vmm_set_vring_base(&f, i, guest_ring_used_idx(&rings[i])), 0);
		ck_assert_int_eq(vmm_set_vring_call(&f, i, rings[i].call_fd), 0);
		ck_assert_int_eq(vmm_set_vring_kick(&f, i, rings[i].kick_fd), 0);
	}
	exchange(8, N_PACKETS - 8);
	stop_rings();
	ck_assert_int_eq(vmm_reset_device(&f), 0);
	expect_silence();
	leave();
	ck_assert(!atomic_load(&crash.report->has_failed));
}

/* How many steps there are without a crash. */
static unsigned count_steps(bool acks)
{
	unsigned n;

	begin(0, 0, acks);
	play(acks);
	ck_assert_uint_eq(atomic_load(&crash.report->n_engines), 1);
	for (unsigned i = 0; i < N_PACKETS; i++)
		ck_assert_uint_eq(n_resets[i], 1);
	n = atomic_load(&crash.report->steps);
	end();
	return n;
}

START_TEST(at_each_step)
{
	const char *which = getenv("CRASH");
	unsigned stride = which && strcmp(which, "all") == 0 ? 1 : STRIDE;
	bool acks = _i & 1;
	unsigned n = count_steps(acks);

	for (unsigned last = 1 + (unsigned)_i / 2 * stride; last < n;
	     last += SHARES / 2 * stride) {
		begin(last, 0, acks);
		play(acks);
		end();
	}
}
END_TEST

/* Who connects has no part in what happens before it is known to anybody: at none of these
 * steps it is lost, or served twice. _i: at the other half of them, and the second engine dies
 * as well. */
START_TEST(connects_at_each_step)
{
	for (unsigned last = 1 + (unsigned)_i; last < BEGINNING; last += 2) {
		begin(last, _i ? 250 + last : 0, true);
		ck_assert(vmm_connect(&f, path));
		expect_silence();
		leave();
		end();
	}
}
END_TEST

/* It is told of one front-end twice, as when the answer to a question has come late: its slot is
 * dropped once, for by the second time it may be another's. */
START_TEST(accepted_twice)
{
	crash_begin(&crash, path, &(struct crash_plan){ .answers_twice = true });
	ck_assert(vmm_connect(&f, path));
	for (int i = 0; i < 2; i++)		/* with the second question all has been heard */
		expect_silence();
	ck_assert_uint_eq(atomic_load(&crash.report->n_dropped), 1);
	leave();
	ck_assert(!atomic_load(&crash.report->has_failed));
	crash_end(&crash);
	unlink(path);
}
END_TEST

/* _i: again and again, so that recoveries are cut short as well. */
START_TEST(again_and_again)
{
	begin(300 + 7 * (unsigned)_i, 250 + 13 * (unsigned)_i, _i & 1);
	play(_i & 1);
	ck_assert_uint_gt(atomic_load(&crash.report->n_engines), 2);
	end();
}
END_TEST

/* ---- one crash at a time ---- */

static void up(void)
{
	begin(0, 0, true);
	negotiate(true);
	share_memory();
	start_rings();
	exchange(0, 2);
}

static void wait_for_calls(void)
{
	int64_t deadline = deadline_in(DEADLINE_MS);

	for (unsigned i = 0; i < RINGS; i++) {
		ck_assert(deadline_poll(rings[i].call_fd, POLLIN, deadline));
		guest_ring_take_call(&rings[i]);
	}
}

/* Everything has been called for, and taken. */
static void drain_calls(void)
{
	for (unsigned i = 0; i < RINGS; i++) {
		while (deadline_poll(rings[i].call_fd, POLLIN, deadline_in(0)))
			guest_ring_take_call(&rings[i]);
		rings[i].n_calls = 0;
	}
}

/* Each ring that runs is called once: whatever the crash came between, the guest looks. */
START_TEST(calls_once)
{
	up();
	for (int n = 0; n < 3; n++) {
		expect_config(0, 8);
		drain_calls();
		crash_now(&crash);
		wait_for_calls();
		expect_config(0, 8);
		for (unsigned i = 0; i < RINGS; i++) {
			guest_ring_take_call(&rings[i]);
			ck_assert_uint_eq(rings[i].n_calls, 1);
		}
	}
	stop_rings();
	crash_now(&crash);
	expect_config(0, 8);
	drain_calls();
	crash_now(&crash);			/* and those that do not are not */
	expect_config(0, 8);
	for (unsigned i = 0; i < RINGS; i++)
		ck_assert(!deadline_poll(rings[i].call_fd, POLLIN, deadline_in(0)));
	leave();
	end();
}
END_TEST

/* A guest's connections are void, and it hears so at once, of each and once. */
START_TEST(connections_are_reset)
{
	uint64_t token;
	uint32_t len;

	up();
	for (unsigned i = 2; i < 6; i++)
		send_packet_to(i, CRASH_PENDING_PORT);
	for (unsigned i = 2; i < 6; i++) {
		wait_for_used(&rings[VSOCK_TXQ]);
		ck_assert(guest_ring_pop(&rings[VSOCK_TXQ], &token, &len));
	}
	expect_config(0, 8);
	ck_assert(!guest_ring_has_used(&rings[VSOCK_RXQ]));
	crash_now(&crash);
	for (unsigned i = 2; i < 6; i++)
		while (!n_resets[i])
			take_rx();
	crash_now(&crash);
	exchange(6, 3);				/* new ones are not confused with them */
	expect_config(0, 8);
	for (unsigned i = 0; i < 9; i++)
		ck_assert_uint_eq(n_resets[i], 1);
	end();
}
END_TEST

/* So many descriptors, and the facts that name them: the device waits again. */
static void wait_until_kept(unsigned n)
{
	int64_t deadline = deadline_in(DEADLINE_MS);

	while (atomic_load(&crash.report->n_kept) < n || !atomic_load(&crash.report->is_idle)) {
		ck_assert(deadline_left(deadline));
		poll(NULL, 0, 1);
	}
}

/* Whoever has connected and not said anything is kept, too, and is asked for its first byte
 * as if nothing had been. */
START_TEST(candidates_are_kept)
{
	struct vmm second;
	uint64_t features;

	begin(0, 0, true);
	ck_assert(vmm_connect(&f, path));
	wait_until_kept(2);
	ck_assert(vmm_connect(&second, path));
	wait_until_kept(3);
	crash_now(&crash);
	ck_assert_int_eq(vmm_get_features(&second, &features), 0);
	vmm_close(&second);
	crash_now(&crash);
	expect_config(0, 8);
	end();
}
END_TEST

/* What is no journal is none: the front-end sees the end, and another may come. */
START_TEST(journal_is_spoilt)
{
	up();
	atomic_store(&crash.report->is_spoilt, true);
	crash_now(&crash);
	ck_assert(vmm_is_closed(&f, DEADLINE_MS));
	leave();
	negotiate(true);
	end();
}
END_TEST

int main(void)
{
	Suite *s = suite_create("crash");
	TCase *tc = tcase_create("crash");
	int r;

	scratch_begin();
	tcase_add_checked_fixture(tc, setup, NULL);
	tcase_set_timeout(tc, 300);
	tcase_add_loop_test(tc, at_each_step, 0, SHARES);
	tcase_add_loop_test(tc, connects_at_each_step, 0, 2);
	tcase_add_test(tc, accepted_twice);
	tcase_add_loop_test(tc, again_and_again, 0, 16);
	tcase_add_test(tc, calls_once);
	tcase_add_test(tc, connections_are_reset);
	tcase_add_test(tc, candidates_are_kept);
	tcase_add_test(tc, journal_is_spoilt);
	suite_add_tcase(s, tc);
	r = unit_main(s);
	scratch_end();
	return r;
}
