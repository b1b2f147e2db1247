/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Two VMs on one daemon: whatever one of them does or suffers, the other's bytes
 * arrive.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "e2e/e2e.h"
#include "e2e/flow.h"

enum { MIB = 1 << 20, BEHIND = 20 };		/* connections: more than end in a turn */

static struct driver other;			/* CID 4; vm is CID 3 */
static char other_socket[128], other_uds[128];

static void setup_with(const char *option, const char *other_option)
{
	const struct driver_options four = { .cid = 4 };
	char one[256], two[512];
	const char *args[] = { "--vm", one, "--vm", two, option, other_option, NULL };

	e2e_setup_bare();
	snprintf(other_socket, sizeof other_socket, "%s/vhost4.sock", vhd.dir);
	snprintf(other_uds, sizeof other_uds, "%s/vm4.sock", vhd.dir);
	snprintf(one, sizeof one, "guest-cid=3,socket=%s,uds-path=%s", vhd.socket,
		 vhd.uds);
	snprintf(two, sizeof two, "guest-cid=4,socket=%s,uds-path=%s", other_socket,
		 other_uds);
	daemon_spawn(&vhd, args);
	must(daemon_wait_listening(&vhd, vhd.socket));
	must(daemon_wait_listening(&vhd, vhd.uds));
	must(daemon_wait_listening(&vhd, other_socket));
	must(daemon_wait_listening(&vhd, other_uds));
	driver_up(&vm, vhd.socket, NULL);
	driver_up(&other, other_socket, &four);
}

static void setup(void)
{
	setup_with(NULL, NULL);
}

static void setup_one_thread(void)
{
	setup_with("--threads=1", "--supervise=off");	/* whose end is seen */
}

static void teardown(void)
{
	driver_deinit(&other);
	e2e_teardown();
}

static void *run_flow(void *arg)
{
	flow_run(&vm, arg, 1);
	return NULL;
}

/* VM 3 moves bytes both ways, in threads of its own, while @harm is done. */
static void check_undisturbed(void (*harm)(void))
{
	struct pair p = e2e_guest_connects(&vm, vhd.uds);
	struct host_job j = { .fd = p.host, .to_write = 48 * MIB, .to_read = 48 * MIB,
			      .write_seed = 1, .read_seed = 2 };
	struct flow f = { .sock = p.guest, .to_send = 48 * MIB, .to_recv = 48 * MIB,
			  .send_seed = 2, .recv_seed = 1 };
	pthread_t thread;

	host_job_start(&j);
	ck_assert_int_eq(pthread_create(&thread, NULL, run_flow, &f), 0);
	harm();
	ck_assert_int_eq(pthread_join(thread, NULL), 0);
	ck_assert_msg(host_job_finish(&j), "%s", j.error);
	e2e_check_alive();
}

static void do_nothing(void)
{
}

START_TEST(two_vms_talk_at_once)
{
	struct pair a = e2e_host_connects(&other, other_uds);

	e2e_check_talks(a);
	check_undisturbed(do_nothing);
	e2e_check_talks(a);
}
END_TEST

START_TEST(cids_are_kept_apart)
{
	uint8_t config[8];

	ck_assert_int_eq(vmm_get_config(&vm.fe, 0, 8, config), 0);
	ck_assert_uint_eq(config[0], 3);
	ck_assert_int_eq(vmm_get_config(&other.fe, 0, 8, config), 0);
	ck_assert_uint_eq(config[0], 4);
}
END_TEST

static void kill_other(void)
{
	struct pair a = e2e_guest_connects(&other, other_uds);

	e2e_check_talks(a);
	driver_detach(&other);
	ck_assert(host_is_closed(a.host, DEADLINE_MS));
}

START_TEST(one_dies_the_other_goes_on)
{
	check_undisturbed(kill_other);
}
END_TEST

static void reboot_other(void)
{
	for (int i = 0; i < 10; i++) {
		struct pair a = e2e_host_connects(&other, other_uds);

		driver_reboot(&other);
		ck_assert(host_is_closed(a.host, DEADLINE_MS));
		close(a.host);
	}
}

START_TEST(one_reboots_the_other_goes_on)
{
	check_undisturbed(reboot_other);
}
END_TEST

static void break_rings(void)
{
	for (int q = 0; q < 2; q++) {
		guest_ring_raw_post(&other.vq[q], 0xffff);
		guest_ring_kick(&other.vq[q]);
	}
	ck_assert(deadline_poll(other.vq[VSOCK_TXQ].err_fd, POLLIN,
				deadline_in(DEADLINE_MS)));
}

START_TEST(one_breaks_its_rings_the_other_goes_on)
{
	check_undisturbed(break_rings);
}
END_TEST

static void flood(void)
{
	struct driver_pkt bad = driver_pkt(&other, VSOCK_OP_RW, 1, 2);

	driver_keep_packets(&other);
	for (int i = 0; i < 20000; i++) {
		bad.src_port = (uint32_t)i;
		ck_assert(driver_send(&other, &bad, NULL));
		driver_turn(&other);
		other.n_inbox = 0;
	}
}

START_TEST(one_floods_the_other_goes_on)
{
	check_undisturbed(flood);
}
END_TEST

/* Sends REQUESTs for nobody and takes none of the RSTs. */
static void flood_without_rx(void)
{
	struct driver_pkt request = driver_pkt(&other, VSOCK_OP_REQUEST, 1, 9999);

	other.holds_rx = true;
	for (uint32_t i = 0; i < 5000; i++) {
		request.src_port = 5000 + i;
		if (!driver_can_send(&other))
			break;
		ck_assert(driver_send(&other, &request, NULL));
	}
}

START_TEST(one_never_takes_its_packets_the_other_goes_on)
{
	struct daemon_usage before = daemon_usage(&vhd), after;

	driver_keep_packets(&other);
	check_undisturbed(flood_without_rx);
	after = daemon_usage(&vhd);
	ck_assert_uint_le(after.rss_bytes, before.rss_bytes + 8 * MIB +
			  SANITIZER_RSS_SLACK);
}
END_TEST

static void send_garbage(void)
{
	uint32_t garbage[3] = { 0xdeadbeef, 0xffffffff, 0xffffffff };

	ck_assert(vmm_send_bytes(&other.fe, garbage, sizeof garbage, NULL, 0));
	ck_assert(vmm_is_closed(&other.fe, DEADLINE_MS));
}

START_TEST(one_front_end_talks_nonsense_the_other_goes_on)
{
	check_undisturbed(send_garbage);
}
END_TEST

START_TEST(sigterm_removes_all_sockets)
{
	ck_assert_int_eq(daemon_stop(&vhd, END_MS), 0);
	ck_assert_int_ne(access(vhd.socket, F_OK), 0);
	ck_assert_int_ne(access(vhd.uds, F_OK), 0);
	ck_assert_int_ne(access(other_socket, F_OK), 0);
	ck_assert_int_ne(access(other_uds, F_OK), 0);
}
END_TEST

/* More than the host's socket takes, so that the daemon has some of it. */
static void leave_behind(struct driver *d, const char *uds)
{
	static const uint8_t bytes[4096];
	struct pair p = e2e_guest_connects(d, uds);

	while (sock_send_some(p.guest, bytes, sizeof bytes))
		ck_assert(driver_flush(d));
}

/* Both are of one worker, which frees one after the other. */
START_TEST(end_with_hosts_that_are_behind)
{
	for (int i = 0; i < BEHIND; i++) {
		leave_behind(&vm, vhd.uds);
		leave_behind(&other, other_uds);
	}
	ck_assert_int_eq(daemon_stop(&vhd, DEADLINE_MS), 0);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("multi");
	TCase *tc = e2e_case_with(s, "multi", setup, teardown, 60);

	tcase_add_test(tc, two_vms_talk_at_once);
	tcase_add_test(tc, cids_are_kept_apart);
	tcase_add_test(tc, one_dies_the_other_goes_on);
	tcase_add_test(tc, one_reboots_the_other_goes_on);
	tcase_add_test(tc, one_breaks_its_rings_the_other_goes_on);
	tcase_add_test(tc, one_floods_the_other_goes_on);
	tcase_add_test(tc, one_never_takes_its_packets_the_other_goes_on);
	tcase_add_test(tc, one_front_end_talks_nonsense_the_other_goes_on);
	tcase_add_test(tc, sigterm_removes_all_sockets);
	tc = e2e_case_with(s, "thread", setup_one_thread, teardown, 60);
	tcase_add_test(tc, end_with_hosts_that_are_behind);
	return e2e_run(s);
}
