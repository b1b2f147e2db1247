/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What real front-ends and host programs do, message by message, where that is not what
 * one would think: QEMU's device_del and device_add, its pauses and resets from version
 * 10 on, clients that come before the guest.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "e2e/e2e.h"
#include "e2e/flow.h"

enum { QEMU_RINGS = 2 };			/* it keeps the event ring to itself */

/*
 * What QEMU 10 says when a vhost-user-vsock device is made: at its start with the
 * connection just made, and again, on the same one, at device_add.
 */
static void qemu_init(struct driver *d)
{
	struct vmm *f = &d->fe;
	uint64_t features, protocol, n;

	ck_assert_int_eq(vmm_get_features(f, &features), 0);
	ck_assert_int_eq(vmm_get_protocol_features(f, &protocol), 0);
	ck_assert_int_eq(vmm_set_protocol_features(f, protocol & START_QEMU.protocol_features), 0);
	f->ack_all = true;
	ck_assert_int_eq(vmm_get_queue_num(f, &n), 0);
	ck_assert_int_eq(vmm_get_max_mem_slots(f, &n), 0);
	ck_assert_int_eq(vmm_set_owner(f), 0);
	ck_assert_int_eq(vmm_get_features(f, &features), 0);
	for (uint32_t q = 0; q < QEMU_RINGS; q++)
		ck_assert_int_eq(vmm_set_vring_call(f, q, d->vq[q].call_fd), 0);
}

/* What it says when the guest's driver is there, before the rings. */
static void qemu_share(struct driver *d, bool adds_regions)
{
	struct vmm *f = &d->fe;
	uint64_t features;

	ck_assert_int_eq(vmm_get_features(f, &features), 0);
	ck_assert_int_eq(vmm_set_features(f, features), 0);
	for (unsigned i = 0; adds_regions && i < d->guest.n_regions; i++)
		ck_assert_int_eq(vmm_add_mem_reg(f, &d->guest.regions[i]), 0);
	for (int q = 0; q < QEMU_RINGS; q++) {
		d->vq[q].event_idx = true;
		d->vq[q].in_order = true;
	}
}

/* Each virtio reset, the one before the first start among them. */
static void qemu_reset(struct driver *d)
{
	ck_assert_int_eq(vmm_reset_device(&d->fe), 0);
}

static void qemu_up(struct driver *d)
{
	static const struct driver_options opt = { .habits = &START_QEMU };

	driver_init(d, &opt);
	ck_assert(vmm_connect(&d->fe, vhd.socket));
	qemu_init(d);
	qemu_reset(d);
	qemu_share(d, true);
	ck_assert_int_eq(driver_program(d), 0);
}

/* `cont`, after vmm_stop(). */
static void qemu_resume(struct driver *d)
{
	for (uint32_t q = 0; q < QEMU_RINGS; q++) {
		ck_assert_int_eq(vmm_start_ring(&d->fe, q, &d->vq[q]), 0);
		guest_ring_kick(&d->vq[q]);
	}
}

/* device_del keeps socket and memory; device_add says all of it again. */
START_TEST(device_removed_and_added)
{
	struct daemon_usage before, after;
	struct pair p;

	qemu_up(&vm);
	for (int i = 0; i < 20; i++) {
		p = e2e_host_connects(&vm, vhd.uds);
		e2e_check_talks(p);
		ck_assert(driver_flush(&vm));
		if (i == 1)
			before = daemon_usage(&vhd);
		ck_assert(vmm_stop(&vm.fe, vm.vq, QEMU_RINGS));
		driver_rewind(&vm, 0);
		qemu_init(&vm);
		ck_assert(host_is_closed(p.host, DEADLINE_MS));
		close(p.host);
		qemu_reset(&vm);
		qemu_share(&vm, true);
		ck_assert_int_eq(driver_program(&vm), 0);
		e2e_check_alive();
	}
	after = daemon_usage(&vhd);
	ck_assert_uint_le(after.fds, before.fds);
}
END_TEST

/* The guest is reset in the middle: RESET_DEVICE, and the rings from 0. */
START_TEST(guest_reset_with_reset_device)
{
	struct pair p;

	qemu_up(&vm);
	p = e2e_host_connects(&vm, vhd.uds);
	e2e_check_talks(p);
	ck_assert(vmm_stop(&vm.fe, vm.vq, QEMU_RINGS));
	qemu_reset(&vm);
	ck_assert(host_is_closed(p.host, DEADLINE_MS));
	driver_rewind(&vm, 0);
	qemu_share(&vm, false);
	ck_assert_int_eq(driver_program(&vm), 0);
	e2e_check_alive();
}
END_TEST

/* Not the pause grace, which is for front-ends that do not say RESET_DEVICE. */
START_TEST(pause_longer_than_the_grace)
{
	static const char *const grace[] = { "--pause-grace", "0.2", NULL };
	struct pair a, b;
	char got[10] = "";

	daemon_start(&vhd, grace);
	qemu_up(&vm);
	a = e2e_host_connects(&vm, vhd.uds);
	b = e2e_guest_connects(&vm, vhd.uds);
	e2e_check_talks(a);
	ck_assert(driver_flush(&vm));
	ck_assert(vmm_stop(&vm.fe, vm.vq, QEMU_RINGS));
	ck_assert(host_write(a.host, "meanwhile", 9));
	ck_assert(host_is_quiet(a.host, 1000));
	ck_assert(host_is_quiet(b.host, 0));
	qemu_resume(&vm);
	ck_assert_uint_eq(sock_recv_full(a.guest, got, 9), 9);
	ck_assert_str_eq(got, "meanwhile");
	e2e_check_talks(a);
	e2e_check_talks(b);
}
END_TEST

static const int pauses_s[] = { 5, 15 };

/* `stop` in mid-transfer, both ways, and `cont` long after. */
START_TEST(pause_under_traffic)
{
	enum { LEN = 8 << 20 };
	struct host_job job = { .to_write = LEN, .to_read = LEN, .write_seed = 1, .read_seed = 2 };
	struct flow f = { .to_send = LEN, .to_recv = LEN, .send_seed = 2, .recv_seed = 1 };
	struct pair p;

	qemu_up(&vm);
	p = e2e_host_connects(&vm, vhd.uds);
	job.fd = p.host;
	f.sock = p.guest;
	flow_attach(&f);
	host_job_start(&job);
	while (f.sent < LEN / 2 || f.received < LEN / 2) {
		uint8_t bytes[4096];

		pattern_fill(bytes, sizeof bytes, f.sent, f.send_seed);
		f.sent += sock_send_some(p.guest, bytes, sizeof bytes);
		driver_wait(&vm, deadline_in(10), false);
	}
	ck_assert(vmm_stop(&vm.fe, vm.vq, QEMU_RINGS));
	ck_assert(!deadline_poll(vm.vq[VSOCK_RXQ].call_fd, POLLHUP, deadline_in(pauses_s[_i] * 1000)));
	qemu_resume(&vm);
	flow_run(&vm, &f, 1);
	ck_assert(host_job_finish(&job));
	e2e_check_alive();
}
END_TEST

START_TEST(refused_features_are_named)
{
	struct vmm f = { .sock = -1 };
	uint64_t offered;

	ck_assert(vmm_connect(&f, vhd.socket));
	ck_assert_int_eq(vmm_get_features(&f, &offered), 0);
	ck_assert_int_eq(vmm_get_protocol_features(&f, &offered), 0);
	ck_assert_int_eq(vmm_set_protocol_features(&f, offered), 0);
	f.ack_all = true;
	ck_assert_int_ne(vmm_set_features(&f, UINT64_C(1) << 33 | UINT64_C(1) << 40), 0);
	ck_assert(daemon_wait_log(&vhd, "features that were not offered: bits 33, 40"));
	ck_assert_int_ne(vmm_set_features(&f, UINT64_C(1) << 33), 0);
	ck_assert(daemon_wait_log(&vhd, "features that were not offered: bit 33\n"));
	ck_assert_int_ne(vmm_set_protocol_features(&f, UINT64_C(1) << 17), 0);
	ck_assert(daemon_wait_log(&vhd, "protocol features that were not offered: bit 17"));
	vmm_close(&f);
}
END_TEST

/* A client that comes before the guest says its line, and reads an end: its write does
 * not fail, whenever it comes. */
START_TEST(client_before_the_guest)
{
	static const char line[] = "CONNECT 1234\nand what goes with it";
	char byte;

	for (int i = 0; i < 20; i++) {
		int fd = host_connect(vhd.uds);

		ck_assert(!host_is_closed(fd, i < 3 ? QUIET_MS : 0));
		ck_assert(send(fd, line, sizeof line - 1, MSG_NOSIGNAL) == sizeof line - 1);
		ck_assert(deadline_poll(fd, POLLIN, deadline_in(DEADLINE_MS)));
		ck_assert_int_eq(recv(fd, &byte, 1, 0), 0);
		close(fd);
	}
	driver_up(&vm, vhd.socket, NULL);
	e2e_check_alive();
}
END_TEST

/* An enclave talks to its parent, and to nobody else. */
START_TEST(host_calls_from_its_first_cid)
{
	static const char *const args[] = { "--host-cid", "7+9", NULL };
	struct pair p;

	e2e_start(args, NULL);
	p = e2e_host_connects(&vm, vhd.uds);
	ck_assert_uint_eq(p.guest->peer_cid, 7);
	e2e_check_talks(p);
	e2e_close(p);
	p = e2e_guest_connects(&vm, vhd.uds);	/* CID 2 is the host as ever */
	e2e_check_talks(p);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("clients");
	TCase *daemon = e2e_case(s, "daemon", e2e_setup_daemon, 60);
	TCase *bare = e2e_case(s, "bare", e2e_setup_bare, 60);

	tcase_add_test(daemon, device_removed_and_added);
	tcase_add_test(daemon, guest_reset_with_reset_device);
	tcase_add_test(bare, pause_longer_than_the_grace);
	tcase_add_loop_test(daemon, pause_under_traffic, 0,
			    (int)(sizeof pauses_s / sizeof *pauses_s));
	tcase_add_test(daemon, refused_features_are_named);
	tcase_add_test(daemon, client_before_the_guest);
	tcase_add_test(bare, host_calls_from_its_first_cid);
	return e2e_run(s);
}
