/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The test support itself: patterns, guest memory, the driver's side of a ring
 * with the device's side played by hand, messages over a socket pair, the clock that
 * others do not move, and what is left of a program that is killed.
 */
#include <check.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/daemon.h"
#include "support/deadline.h"
#include "support/vmm.h"
#include "support/must.h"
#include "support/pattern.h"
#include "support/scratch.h"
#include "support/guest_ring.h"

START_TEST(pattern_names_the_first_wrong_byte)
{
	uint8_t bytes[1000];

	pattern_fill(bytes, sizeof bytes, 12345, 7);
	ck_assert_uint_eq(pattern_check(bytes, sizeof bytes, 12345, 7), sizeof bytes);
	ck_assert_uint_eq(pattern_check(bytes + 13, 500, 12358, 7), 500);
	ck_assert_uint_lt(pattern_check(bytes, sizeof bytes, 12346, 7), 8);
	ck_assert_uint_lt(pattern_check(bytes, sizeof bytes, 12345, 8), 8);
	bytes[777] ^= 1;
	ck_assert_uint_eq(pattern_check(bytes, sizeof bytes, 12345, 7), 777);
}
END_TEST

START_TEST(guest_copies_cross_regions)
{
	uint8_t out[300], in[300];
	struct guest g;

	guest_init(&g);
	guest_add_region(&g, 0x10000, 0x1000, 0x230);
	guest_add_region(&g, 0x11000, 0x1000, 0);
	pattern_fill(out, sizeof out, 0, 1);
	guest_write(&g, 0x11000 - 100, out, sizeof out);
	guest_read(&g, 0x11000 - 100, in, sizeof in);
	ck_assert_mem_eq(in, out, sizeof in);
	ck_assert_mem_eq(guest_ptr(&g, 0x11000, 200), out + 100, 200);
	ck_assert_uint_eq(guest_alloc(&g, 0, 10, 1), 0x10000);
	ck_assert_uint_eq(guest_alloc(&g, 0, 16, 16), 0x10010);
	guest_deinit(&g);
}
END_TEST

/* What a device does with the next chain. */
static void device_uses(struct guest_ring *r, uint32_t len)
{
	uint16_t used = guest_ring_used_idx(r);

	r->used->ring[used % r->num] = (struct wire_virtq_used_elem){
		le32_of(le16_get(r->avail->ring[used % r->num])), le32_of(len),
	};
	r->used->idx = le16_of((uint16_t)(used + 1));
}

START_TEST(vring_wraps_its_index)
{
	struct guest_ring_buf b[3] = {{ 0x8000, 1, false }, { 0x8001, 2, true },
				 { 0x8003, 3, true }};
	struct guest g;
	struct guest_ring r;
	uint64_t token;
	uint32_t len;

	guest_init(&g);
	guest_add_region(&g, 0, 0x10000, 0);
	guest_ring_init(&r, &g, 0, 8, 65533);
	r.in_order = true;
	for (uint32_t i = 0; i < 50; i++) {
		ck_assert(guest_ring_add(&r, b, 3, i));
		ck_assert(guest_ring_add(&r, b, 3, i + 1000));
		ck_assert(!guest_ring_add(&r, b, 3, 0));
		ck_assert(!guest_ring_pop(&r, &token, &len));
		guest_ring_publish(&r);
		device_uses(&r, i);
		device_uses(&r, i + 1);
		ck_assert(guest_ring_pop(&r, &token, &len));
		ck_assert_uint_eq(token, i);
		ck_assert_uint_eq(len, i);
		ck_assert(guest_ring_pop(&r, &token, &len));
		ck_assert_uint_eq(token, i + 1000);
		ck_assert_uint_eq(guest_ring_in_flight(&r), 0);
	}
	ck_assert_uint_eq(r.n_kicks, 50);
	guest_ring_deinit(&r);
	guest_deinit(&g);
}
END_TEST

START_TEST(vring_kicks_only_when_the_event_is_passed)
{
	struct guest_ring_buf b = { 0x8000, 1, false };
	struct guest g;
	struct guest_ring r;

	guest_init(&g);
	guest_add_region(&g, 0, 0x10000, 0);
	guest_ring_init(&r, &g, 0, 8, 0);
	r.event_idx = true;
	r.used->ring[8].id = le32_of(2);	/* avail_event */
	for (unsigned i = 0; i < 5; i++) {
		ck_assert(guest_ring_add(&r, &b, 1, 0));
		guest_ring_publish(&r);
		ck_assert_uint_eq(r.n_kicks, i >= 2 ? 1 : 0);
	}
	guest_ring_deinit(&r);
	guest_deinit(&g);
}
END_TEST

START_TEST(frontend_takes_only_a_proper_reply)
{
	struct vmm f = { .reply_ms = 1000 };
	struct __attribute__((packed)) { struct vhost_user_hdr h; uint64_t u; } reply = {
		{ VHOST_USER_GET_FEATURES, 5, 8 }, 42,
	};
	uint64_t features = 0;
	int pair[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	f.sock = pair[0];
	ck_assert_int_eq(write(pair[1], &reply, 20), 20);
	ck_assert_int_eq(vmm_get_features(&f, &features), 0);
	ck_assert_uint_eq(features, 42);
	reply.h.flags = 1;
	ck_assert_int_eq(write(pair[1], &reply, 20), 20);
	ck_assert_int_eq(vmm_get_features(&f, &features), VMM_ODD);
	f.reply_ms = 10;
	ck_assert_int_eq(vmm_get_features(&f, &features), VMM_SILENT);
	close(pair[1]);
	ck_assert_int_eq(vmm_get_features(&f, &features), VMM_GONE);
	vmm_close(&f);
}
END_TEST

/* Its folder has files, and it has a child that waits for ever. */
static _Noreturn void run_victim(int tell)
{
	char file[64];
	pid_t pid;

	scratch_begin();
	snprintf(file, sizeof file, "%s/file", scratch_path());
	must(open(file, O_CREAT | O_WRONLY | O_CLOEXEC, 0600) >= 0);
	pid = fork();
	must(pid >= 0);
	if (pid)
		dprintf(tell, "%s", scratch_path());
	for (;;)
		pause();
}

/* Nothing can catch SIGKILL: the leash is the kernel's, and who removes the folder has
 * been there from its start. Each of them has the pipe open while it lives. */
START_TEST(nothing_outlives_a_killed_program)
{
	char path[64] = "";
	int ends[2];
	pid_t pid;

	must(pipe2(ends, O_CLOEXEC) == 0);
	pid = fork();
	must(pid >= 0);
	if (pid == 0)
		run_victim(ends[1]);
	close(ends[1]);
	ck_assert_int_gt(read(ends[0], path, sizeof path - 1), 0);
	ck_assert_int_eq(access(path, F_OK), 0);
	ck_assert_int_eq(kill(pid, SIGKILL), 0);
	for (int64_t deadline = deadline_in(DEADLINE_MS); ; ) {
		char c[64];

		ck_assert(deadline_poll(ends[0], POLLIN, deadline));
		if (read(ends[0], c, sizeof c) == 0)
			break;
	}
	ck_assert_int_ne(access(path, F_OK), 0);
	close(ends[0]);
	must(waitpid(pid, NULL, 0) == pid);
}
END_TEST

/* Else it says 0 of all, also of how long the thread has had a CPU. */
static bool does_kernel_count_waits(void)
{
	FILE *f = fopen("/proc/thread-self/schedstat", "re");
	unsigned long long ran_ns = 0;

	if (!f)
		return false;
	if (fscanf(f, "%llu", &ran_ns) != 1)
		ran_ns = 0;
	fclose(f);
	return ran_ns;
}

/* Whoever competes takes half of the CPU, and the clock does not count that. */
START_TEST(clock_stands_still_without_a_cpu)
{
	const struct daemon none = { .pidfd = -1 };
	int64_t clock, began;
	cpu_set_t one;
	pid_t pid;

	clock = daemon_clock_ms(&none);
	began = now_ms();
	poll(NULL, 0, 200);
	ck_assert_int_ge(daemon_clock_ms(&none) - clock, 190);
	ck_assert_int_le(daemon_clock_ms(&none) - clock, now_ms() - began + 1);
	if (!does_kernel_count_waits()) {
		puts("# a kernel without CONFIG_SCHED_INFO: no clock stands still there");
		return;
	}

	CPU_ZERO(&one);
	CPU_SET((size_t)sched_getcpu(), &one);
	must(sched_setaffinity(0, sizeof one, &one) == 0);
	pid = fork();
	must(pid >= 0);
	while (pid == 0)
		;
	clock = daemon_clock_ms(&none);
	began = now_ms();
	while (now_ms() < began + 400)
		;
	ck_assert_int_le(daemon_clock_ms(&none) - clock, 350);
	must(kill(pid, SIGKILL) == 0 && waitpid(pid, NULL, 0) == pid);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("support");
	TCase *tc = tcase_create("support");
	SRunner *sr = srunner_create(s);
	int failed;

	suite_add_tcase(s, tc);
	tcase_add_test(tc, pattern_names_the_first_wrong_byte);
	tcase_add_test(tc, guest_copies_cross_regions);
	tcase_add_test(tc, vring_wraps_its_index);
	tcase_add_test(tc, vring_kicks_only_when_the_event_is_passed);
	tcase_add_test(tc, frontend_takes_only_a_proper_reply);
	tcase_add_test(tc, clock_stands_still_without_a_cpu);
	tcase_add_test(tc, nothing_outlives_a_killed_program);
	tcase_set_timeout(tc, 30);
	srunner_set_tap(sr, "-");
	srunner_run_all(sr, CK_SILENT);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
