/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Front-ends and their memory: who is let in, what is shared and refused, how
 * often one may come back.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "e2e/e2e.h"

static struct vmm fe = { .sock = -1 };

static void connect_fe(void)
{
	ck_assert(vmm_connect(&fe, vhd.socket));
}

/* The session may be over; a new front-end finds the daemon well. */
static void check_next_front_end(void)
{
	vmm_close(&fe);
	driver_deinit(&vm);
	driver_up(&vm, vhd.socket, NULL);
	e2e_check_alive();
}

START_TEST(second_front_end_refused_without_harm)
{
	struct pair p;

	driver_up(&vm, vhd.socket, NULL);
	p = e2e_guest_connects(&vm, vhd.uds);
	for (int i = 0; i < 10; i++) {
		uint32_t hdr[3] = { VHOST_USER_GET_FEATURES, 1, 0 };

		if (!vmm_connect(&fe, vhd.socket))
			continue;
		vmm_send_bytes(&fe, hdr, sizeof hdr, NULL, 0);
		ck_assert(vmm_is_closed(&fe, DEADLINE_MS));
		vmm_close(&fe);
		e2e_check_talks(p);
	}
}
END_TEST

START_TEST(probes_do_not_count)
{
	struct pair p;

	for (int i = 0; i < 50; i++) {
		connect_fe();
		vmm_close(&fe);
	}
	driver_up(&vm, vhd.socket, NULL);
	p = e2e_guest_connects(&vm, vhd.uds);
	for (int i = 0; i < 50; i++)
		if (vmm_connect(&fe, vhd.socket))
			vmm_close(&fe);
	e2e_check_talks(p);
}
END_TEST

START_TEST(silent_probe_makes_room)
{
	connect_fe();				/* and says nothing */
	driver_up(&vm, vhd.socket, NULL);
	e2e_check_alive();
}
END_TEST

/* A VMM that connects before it has anything to say, and connects once. */
START_TEST(probes_leave_a_silent_one_its_place)
{
	struct vmm early;
	uint64_t features;

	connect_fe();
	early = fe;
	for (int i = 0; i < 10; i++) {
		connect_fe();
		shutdown(fe.sock, SHUT_WR);
		ck_assert(vmm_is_closed(&fe, DEADLINE_MS));
		vmm_close(&fe);
	}
	fe = early;
	ck_assert_int_eq(vmm_get_features(&fe, &features), 0);
}
END_TEST

START_TEST(memory_of_509_slots)
{
	unsigned fds;

	driver_init(&vm, NULL);
	while (vm.guest.n_regions < 509)
		guest_add_region(&vm.guest, UINT64_C(0x300000000) +
				 vm.guest.n_regions * 0x4000, 0x2000, 0);
	fds = daemon_usage(&vhd).fds;
	ck_assert_int_eq(driver_attach(&vm, vhd.socket), 0);
	e2e_check_alive();
	guest_add_region(&vm.guest, UINT64_C(0x400000000), 0x1000, 0);
	ck_assert_int_ne(vmm_add_mem_reg(&vm.fe, &vm.guest.regions[509]), 0);
	driver_detach(&vm);
	ck_assert(daemon_wait_fds(&vhd, fds, DEADLINE_MS));
}
END_TEST

START_TEST(overlapping_region_refused)
{
	struct guest_region r;

	driver_up(&vm, vhd.socket, NULL);
	r = vm.guest.regions[1];
	r.gpa += 0x1000;
	ck_assert_int_ne(vmm_add_mem_reg(&vm.fe, &r), 0);
	check_next_front_end();
}
END_TEST

START_TEST(unknown_region_not_removed)
{
	struct guest_region r;

	driver_up(&vm, vhd.socket, NULL);
	r = vm.guest.regions[1];
	r.gpa += 0x1000;
	ck_assert_int_ne(vmm_rem_mem_reg(&vm.fe, &r), 0);
	check_next_front_end();
}
END_TEST

static const struct bad_region {
	const char *name;
	uint64_t gpa, size, offset;
} bad_regions[] = {
	{ "size 0", UINT64_C(0x300000000), 0, 0 },
	{ "gpa wraps", UINT64_MAX - 0xfff, 0x2000, 0 },
	{ "offset wraps", UINT64_C(0x300000000), 0x1000, UINT64_MAX - 0xfff },
	{ "size huge", UINT64_C(0x300000000), UINT64_MAX, 0 },
	{ "beyond the file", UINT64_C(0x300000000), 0x1000, UINT64_C(1) << 40 },
};

START_TEST(bad_region_refused)
{
	const struct bad_region *b = &bad_regions[_i];
	struct guest_region r;

	driver_up(&vm, vhd.socket, NULL);
	r = vm.guest.regions[1];
	r.gpa = b->gpa;
	r.uaddr = 0x1000;
	r.size = b->size;
	r.mmap_offset = b->offset;
	ck_assert_msg(vmm_add_mem_reg(&vm.fe, &r) != 0, "%s", b->name);
	check_next_front_end();
}
END_TEST

START_TEST(ring_outside_memory_is_not_run)
{
	struct guest_ring wrong;

	driver_up(&vm, vhd.socket, NULL);
	ck_assert(vmm_stop(&vm.fe, vm.vq, 3));
	wrong = vm.vq[VSOCK_TXQ];		/* its end is beyond the region */
	wrong.used_gpa = vm.guest.regions[0].size - 64;
	vmm_start_ring(&vm.fe, VSOCK_TXQ, &wrong);
	guest_ring_kick(&vm.vq[VSOCK_TXQ]);
	ck_assert(driver_is_quiet(&vm, QUIET_MS));
	check_next_front_end();
}
END_TEST

START_TEST(reset_device_then_set_up_again)
{
	driver_up(&vm, vhd.socket, NULL);
	e2e_check_alive();
	ck_assert_int_eq(vmm_reset_device(&vm.fe), 0);
	driver_rewind(&vm, 0);
	ck_assert_int_eq(vmm_set_features(&vm.fe, vm.fe.features), 0);
	ck_assert_int_eq(driver_program(&vm), 0);
	e2e_check_alive();
}
END_TEST

START_TEST(reset_owner_never_harms)
{
	driver_up(&vm, vhd.socket, NULL);
	vmm_reset_owner(&vm.fe);
	check_next_front_end();
}
END_TEST

START_TEST(get_vring_base_before_set_up)
{
	uint32_t base = 99;

	connect_fe();
	for (uint32_t q = 0; q < 3; q++) {
		ck_assert_int_eq(vmm_get_vring_base(&fe, q, &base), 0);
		ck_assert_uint_eq(base, 0);
	}
}
END_TEST

START_TEST(hundred_reconnects_without_growth)
{
	static const struct e2e_growth allowed = { .rss_bytes = 1 << 20 };
	struct daemon_usage before;

	for (int i = 0; i < 110; i++) {
		if (i == 10)
			before = daemon_usage(&vhd);
		driver_up(&vm, vhd.socket, NULL);
		if (i % 10 == 0)
			e2e_check_alive();
		driver_deinit(&vm);
	}
	e2e_check_growth(daemon_usage, &before, &allowed);
}
END_TEST

static void add_tests(TCase *tc)
{
	tcase_add_test(tc, second_front_end_refused_without_harm);
	tcase_add_test(tc, probes_do_not_count);
	tcase_add_test(tc, silent_probe_makes_room);
	tcase_add_test(tc, probes_leave_a_silent_one_its_place);
	tcase_add_test(tc, memory_of_509_slots);
	tcase_add_test(tc, overlapping_region_refused);
	tcase_add_test(tc, unknown_region_not_removed);
	tcase_add_loop_test(tc, bad_region_refused, 0, (int)(sizeof bad_regions / sizeof bad_regions[0]));
	tcase_add_test(tc, ring_outside_memory_is_not_run);
	tcase_add_test(tc, reset_device_then_set_up_again);
	tcase_add_test(tc, reset_owner_never_harms);
	tcase_add_test(tc, get_vring_base_before_set_up);
	tcase_add_test(tc, hundred_reconnects_without_growth);
}

int main(void)
{
	Suite *s = suite_create("session");

	add_tests(e2e_case(s, "sessions", e2e_setup_daemon, 60));
	return e2e_run(s);
}
