/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Life and death: sockets at start and exit, front-ends that vanish, guests that
 * reboot or pause, and what a daemon costs while nothing happens.
 */
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "e2e/e2e.h"

static mode_t mode_of(const char *path)
{
	struct stat st;

	return lstat(path, &st) < 0 ? 0 : st.st_mode;
}

/* A socket file that nobody listens on. */
static void make_stale(const char *path)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	strcpy(addr.sun_path, path);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&addr, sizeof addr), 0);
	close(fd);
}

static void spawn(void)
{
	const char *args[] = {
		"--guest-cid", "3", "--socket", vhd.socket, "--uds-path", vhd.uds, NULL,
	};

	daemon_spawn(&vhd, args);
}

START_TEST(sigterm_and_sigint_end_it_at_once_and_remove_sockets)
{
	e2e_check_alive();
	kill(vhd.pid, _i ? SIGINT : SIGTERM);
	ck_assert_int_eq(daemon_wait_exit(&vhd, END_MS), 0);
	ck_assert_uint_eq(mode_of(vhd.socket), 0);
	ck_assert_uint_eq(mode_of(vhd.uds), 0);
}
END_TEST

START_TEST(sigterm_with_busy_connections)
{
	struct pair p = e2e_guest_connects(&vm, vhd.uds);
	static const uint8_t bytes[65536];

	while (sock_send_some(p.guest, bytes, sizeof bytes) ||
	       driver_wait(&vm, deadline_in(QUIET_MS / 4), true))
		;
	host_dial(vhd.uds, 99);
	host_connect(vhd.uds);
	ck_assert_int_eq(daemon_stop(&vhd, END_MS), 0);
	ck_assert(host_read(p.host, (uint8_t[1]){ 0 }, 1) == 1);
}
END_TEST

START_TEST(sockets_are_private)
{
	e2e_start(NULL, NULL);
	ck_assert_uint_eq(mode_of(vhd.socket), S_IFSOCK | 0600);
	ck_assert_uint_eq(mode_of(vhd.uds), S_IFSOCK | 0600);
}
END_TEST

START_TEST(socket_mode_option)
{
	static const char *const mode[] = { "--socket-mode", "660", NULL };

	e2e_start(mode, NULL);
	ck_assert_uint_eq(mode_of(vhd.socket), S_IFSOCK | 0660);
	ck_assert_uint_eq(mode_of(vhd.uds), S_IFSOCK | 0660);
}
END_TEST

static gid_t group_of(const char *path)
{
	struct stat st;

	return lstat(path, &st) < 0 ? (gid_t)-1 : st.st_gid;
}

/* The VMM's user and the users of what runs in the guest are not the same. */
START_TEST(mode_and_group_of_each_socket)
{
	gid_t vmm = getegid(), users = geteuid() == 0 ? 54321 : getegid();
	char words[512];
	const char *const args[] = { "--socket-mode", "0640", "--vm", words, NULL };

	snprintf(words, sizeof words, "socket=%s,uds-path=%s,uds-mode=0662,uds-group=%u,"
		 "socket-group=%u", vhd.socket, vhd.uds, users, vmm);
	daemon_spawn(&vhd, args);
	ck_assert(daemon_wait_listening(&vhd, vhd.uds));
	ck_assert_uint_eq(mode_of(vhd.socket), S_IFSOCK | 0640);
	ck_assert_uint_eq(group_of(vhd.socket), vmm);
	ck_assert_uint_eq(mode_of(vhd.uds), S_IFSOCK | 0662);
	ck_assert_uint_eq(group_of(vhd.uds), users);
	driver_up(&vm, vhd.socket, NULL);
	e2e_check_alive();
}
END_TEST

START_TEST(stale_sockets_are_replaced)
{
	make_stale(vhd.socket);
	make_stale(vhd.uds);
	e2e_start(NULL, NULL);
	e2e_check_alive();
}
END_TEST

START_TEST(live_socket_is_never_replaced)
{
	const char *path = _i ? vhd.uds : vhd.socket;
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	strcpy(addr.sun_path, path);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&addr, sizeof addr), 0);
	ck_assert_int_eq(listen(fd, 5), 0);
	spawn();
	ck_assert_int_eq(daemon_wait_exit(&vhd, DEADLINE_MS), 1);
	close(host_connect(path));
	close(host_accept(fd));			/* still ours */
	ck_assert_uint_eq(mode_of(_i ? vhd.socket : vhd.uds), 0);
	close(fd);
}
END_TEST

START_TEST(regular_file_is_never_removed)
{
	const char *path = _i ? vhd.uds : vhd.socket;
	FILE *f = fopen(path, "w");
	char got[16] = "";

	fputs("precious", f);
	fclose(f);
	spawn();
	ck_assert_int_eq(daemon_wait_exit(&vhd, DEADLINE_MS), 1);
	f = fopen(path, "r");
	ck_assert_ptr_nonnull(f);
	ck_assert_ptr_nonnull(fgets(got, sizeof got, f));
	ck_assert_str_eq(got, "precious");
	fclose(f);
}
END_TEST

START_TEST(killed_front_end_ends_connections_and_a_new_one_works)
{
	struct pair a, b;

	for (int i = 0; i < 10; i++) {
		driver_up(&vm, vhd.socket, NULL);
		a = e2e_guest_connects(&vm, vhd.uds);
		b = e2e_host_connects(&vm, vhd.uds);
		e2e_check_talks(a);
		driver_detach(&vm);
		ck_assert(host_is_closed(a.host, DEADLINE_MS));
		ck_assert(host_is_closed(b.host, DEADLINE_MS));
		close(a.host);
		close(b.host);
		driver_deinit(&vm);
	}
	driver_up(&vm, vhd.socket, NULL);
	e2e_check_alive();
}
END_TEST

START_TEST(guest_reset_ends_connections)
{
	struct pair p = e2e_host_connects(&vm, vhd.uds);
	int64_t start = daemon_clock_ms(&vhd);

	e2e_check_talks(p);
	driver_reboot(&vm);
	ck_assert(host_is_closed(p.host, DEADLINE_MS));
	ck_assert_int_lt(daemon_clock_ms(&vhd) - start, 2500);
	e2e_check_alive();
}
END_TEST

/* libkrun: ENABLE 0, then the ring that never stopped, anew from 0. */
START_TEST(guest_reset_as_libkrun_ends_connections)
{
	struct driver_options opt = { .habits = &START_LIBKRUN };
	struct pair p;

	driver_up(&vm, vhd.socket, &opt);
	p = e2e_host_connects(&vm, vhd.uds);
	e2e_check_talks(p);
	for (uint32_t q = 0; q < 3; q++)
		ck_assert_int_eq(vmm_set_vring_enable(&vm.fe, q, false), 0);
	driver_rewind(&vm, 0);
	ck_assert_int_eq(driver_program(&vm), 0);
	ck_assert(host_is_closed(p.host, DEADLINE_MS));
	e2e_check_alive();
}
END_TEST

START_TEST(host_connects_during_reboot_harmless)
{
	for (int i = 0; i < 20; i++) {
		int fd = host_dial(vhd.uds, 99);

		ck_assert(vmm_stop(&vm.fe, vm.vq, 3));
		host_dial(vhd.uds, 99);
		driver_rewind(&vm, 0);
		ck_assert_int_eq(driver_program(&vm), 0);
		ck_assert(host_is_closed(fd, DEADLINE_MS));
	}
	e2e_check_alive();
}
END_TEST

START_TEST(stop_and_resume_at_the_same_base_keeps_connections)
{
	struct pair a = e2e_host_connects(&vm, vhd.uds);
	struct pair b = e2e_guest_connects(&vm, vhd.uds);

	for (int i = 0; i < 5; i++) {
		e2e_check_talks(a);
		e2e_check_talks(b);
		ck_assert(driver_flush(&vm));
		ck_assert(vmm_stop(&vm.fe, vm.vq, 3));
		ck_assert(host_write(a.host, "meanwhile", 9));
		for (uint32_t q = 0; q < 3; q++) {
			ck_assert_int_eq(vmm_start_ring(&vm.fe, q, &vm.vq[q]), 0);
			guest_ring_kick(&vm.vq[q]);
		}
		{
			char got[10] = "";

			ck_assert_uint_eq(sock_recv_full(a.guest, got, 9), 9);
			ck_assert_str_eq(got, "meanwhile");
		}
	}
	e2e_check_talks(a);
	e2e_check_talks(b);
}
END_TEST

START_TEST(stopped_for_long_ends_connections)
{
	static const char *const grace[] = { "--pause-grace", "0.5", NULL };
	struct pair p;
	int64_t start;

	e2e_start(grace, NULL);
	p = e2e_host_connects(&vm, vhd.uds);
	ck_assert(driver_flush(&vm));
	start = now_ms();
	ck_assert(vmm_stop(&vm.fe, vm.vq, 3));
	ck_assert(host_is_closed(p.host, DEADLINE_MS));
	ck_assert_int_ge(now_ms() - start, 400);
	driver_rewind(&vm, 0);
	ck_assert_int_eq(driver_program(&vm), 0);
	e2e_check_alive();
}
END_TEST

/* A VMM comes back to a guest that ran on (cloud-hypervisor): rings continue
 * where they were, connections do not, and the guest is told. */
START_TEST(front_end_comes_back_to_a_running_guest)
{
	struct pair p = e2e_host_connects(&vm, vhd.uds);

	e2e_check_talks(p);
	ck_assert(driver_flush(&vm));
	driver_detach(&vm);
	ck_assert(host_is_closed(p.host, DEADLINE_MS));
	for (int q = 0; q < 3; q++)
		vm.vq[q].base = guest_ring_used_idx(&vm.vq[q]);
	ck_assert_int_eq(driver_attach(&vm, vhd.socket), 0);
	guest_ring_kick(&vm.vq[VSOCK_EVENTQ]);
	ck_assert(driver_is_quiet(&vm, QUIET_MS));
	ck_assert_uint_eq(vm.n_events, 1);
	ck_assert_uint_eq(vm.last_event, VSOCK_EVENT_TRANSPORT_RESET);
	sock_forget_all(&vm);			/* what the event means */
	e2e_check_alive();
}
END_TEST

/* The event is not late because the first buffers are too small for it. */
START_TEST(event_after_buffers_that_are_too_small)
{
	struct guest_ring *events = &vm.vq[VSOCK_EVENTQ];
	struct guest_ring_buf b = { vm.event_gpa, 1, true };
	int64_t deadline = deadline_in(DEADLINE_MS);
	uint64_t token;
	uint32_t len;

	e2e_check_alive();
	ck_assert(driver_flush(&vm));
	driver_detach(&vm);
	for (int q = 0; q < 2; q++)
		vm.vq[q].base = guest_ring_used_idx(&vm.vq[q]);
	guest_ring_rewind(events, 0);
	for (uint64_t i = 0; i < 3; i++)
		ck_assert(guest_ring_add(events, &b, 1, i));
	b.len = sizeof(struct wire_vsock_event);
	ck_assert(guest_ring_add(events, &b, 1, 3));
	guest_ring_publish(events);
	ck_assert_int_eq(driver_attach(&vm, vhd.socket), 0);
	while (guest_ring_used_idx(events) != 4 && deadline_left(deadline))
		deadline_poll(events->call_fd, POLLIN, deadline_in(10));
	for (uint64_t i = 0; i < 4; i++) {
		ck_assert(guest_ring_pop(events, &token, &len));
		ck_assert_uint_eq(token, i);
		ck_assert_uint_eq(len, i < 3 ? 0 : sizeof(struct wire_vsock_event));
	}
}
END_TEST

START_TEST(pause_by_enable_keeps_connections)
{
	struct pair p = e2e_host_connects(&vm, vhd.uds);

	e2e_check_talks(p);
	for (uint32_t q = 0; q < 3; q++)
		ck_assert_int_eq(vmm_set_vring_enable(&vm.fe, q, false), 0);
	ck_assert(host_is_quiet(p.host, 1500));
	for (uint32_t q = 0; q < 3; q++)
		ck_assert_int_eq(vmm_set_vring_enable(&vm.fe, q, true), 0);
	e2e_check_talks(p);
}
END_TEST

static void pass_second(void)
{
	driver_is_quiet(&vm, 1000);
}

/* Nothing can move. */
static void check_no_spin(void)
{
	ck_assert(daemon_rests(&vhd, daemon_usage_both, pass_second, 50, 20 + E2E_WAKEUPS(1)));
}

START_TEST(zero_credit_no_spin)
{
	struct pair p = e2e_host_connects(&vm, vhd.uds);
	static uint8_t bytes[262144], sink[65536];
	uint64_t sent = 0;
	ssize_t n;

	while ((n = send(p.host, bytes, sizeof bytes, MSG_DONTWAIT | MSG_NOSIGNAL)) > 0 ||
	       driver_wait(&vm, deadline_in(QUIET_MS), false))
		sent += n > 0 ? (uint64_t)n : 0;
	ck_assert_uint_eq(p.guest->n_queue, vm.opt.buf_alloc);
	ck_assert_uint_le(p.guest->n_credit_requests, 2);
	check_no_spin();
	ck_assert_uint_le(p.guest->n_credit_requests, 2);
	shutdown(p.host, SHUT_WR);		/* and all of it arrives */
	while (sock_recv(p.guest, sink, sizeof sink, DEADLINE_MS) > 0)
		;
	ck_assert_uint_eq(p.guest->arrived, sent);
	ck_assert_uint_eq(p.guest->peer_shutdown, VSOCK_SHUTDOWN_SEND);
}
END_TEST

START_TEST(full_host_socket_no_spin)
{
	struct pair p = e2e_guest_connects(&vm, vhd.uds);
	static const uint8_t bytes[65536];

	while (sock_send_some(p.guest, bytes, sizeof bytes) ||
	       driver_wait(&vm, deadline_in(QUIET_MS), true))
		;
	check_no_spin();
}
END_TEST

START_TEST(no_rx_buffers_no_spin)
{
	struct pair p = e2e_host_connects(&vm, vhd.uds);
	static const uint8_t bytes[262144];

	vm.holds_rx = true;
	while (send(p.host, bytes, sizeof bytes, MSG_DONTWAIT | MSG_NOSIGNAL) > 0 ||
	       driver_wait(&vm, deadline_in(QUIET_MS), false))
		;
	check_no_spin();
	driver_release_rx(&vm);
}
END_TEST

START_TEST(dead_peers_no_spin)
{
	struct pair p[3];

	for (int i = 0; i < 3; i++)
		p[i] = e2e_host_connects(&vm, vhd.uds);
	close(p[0].host);			/* the guest does not answer */
	vm.input = driver_keep;
	shutdown(p[1].host, SHUT_WR);
	shutdown(p[2].host, SHUT_RDWR);
	host_connect(vhd.uds);
	driver_is_quiet(&vm, QUIET_MS);
	driver_is_quiet(&vm, QUIET_MS);
	check_no_spin();
	vm.input = sock_input;
}
END_TEST

static void pass_idle(void)
{
	driver_is_quiet(&vm, 2500);
}

START_TEST(idle_no_wakeups)
{
	struct pair a = e2e_host_connects(&vm, vhd.uds);
	struct pair b = e2e_guest_connects(&vm, vhd.uds);

	e2e_check_talks(a);
	e2e_check_talks(b);
	ck_assert(daemon_rests(&vhd, daemon_usage_both, pass_idle, 50, E2E_WAKEUPS(3)));
	e2e_check_talks(a);
	e2e_check_talks(b);
}
END_TEST

START_TEST(out_of_descriptors_no_spin_and_recovers)
{
	struct pair p = e2e_guest_connects(&vm, vhd.uds);
	struct daemon_usage before;
	int fds[20], listener = host_listen(vhd.uds, PORT + 1, 16);
	int64_t deadline = deadline_in(DEADLINE_MS);
	struct sock *s;

	before = daemon_usage(&vhd);
	daemon_limit_fds(&vhd, before.fds + 3);
	for (int i = 0; i < 20; i++)
		fds[i] = host_connect(vhd.uds);
	do					/* until there is no descriptor for it */
		s = sock_dial(&vm, PORT + 1);
	while (sock_wait_open(s) && deadline_left(deadline));
	ck_assert_int_ne(s->state, SOCK_OPEN);
	e2e_check_talks(p);
	ck_assert(daemon_rests(&vhd, daemon_usage_both, pass_second, 100, UINT64_MAX));
	for (int i = 0; i < 20; i++)
		close(fds[i]);
	daemon_limit_fds(&vhd, 1000);
	e2e_check_alive();
	close(listener);
}
END_TEST

static void add_tests(TCase *vmcase, TCase *none, TCase *bare)
{
	tcase_add_loop_test(vmcase, sigterm_and_sigint_end_it_at_once_and_remove_sockets,
			    0, 2);
	tcase_add_test(vmcase, sigterm_with_busy_connections);
	tcase_add_test(bare, sockets_are_private);
	tcase_add_test(bare, socket_mode_option);
	tcase_add_test(bare, mode_and_group_of_each_socket);
	tcase_add_test(bare, stale_sockets_are_replaced);
	tcase_add_loop_test(bare, live_socket_is_never_replaced, 0, 2);
	tcase_add_loop_test(bare, regular_file_is_never_removed, 0, 2);
	tcase_add_test(none, killed_front_end_ends_connections_and_a_new_one_works);
	tcase_add_test(vmcase, guest_reset_ends_connections);
	tcase_add_test(none, guest_reset_as_libkrun_ends_connections);
	tcase_add_test(vmcase, host_connects_during_reboot_harmless);
	tcase_add_test(vmcase, stop_and_resume_at_the_same_base_keeps_connections);
	tcase_add_test(bare, stopped_for_long_ends_connections);
	tcase_add_test(vmcase, front_end_comes_back_to_a_running_guest);
	tcase_add_test(vmcase, event_after_buffers_that_are_too_small);
	tcase_add_test(vmcase, pause_by_enable_keeps_connections);
	tcase_add_test(vmcase, zero_credit_no_spin);
	tcase_add_test(vmcase, full_host_socket_no_spin);
	tcase_add_test(vmcase, no_rx_buffers_no_spin);
	tcase_add_test(vmcase, dead_peers_no_spin);
	tcase_add_test(vmcase, idle_no_wakeups);
	tcase_add_test(vmcase, out_of_descriptors_no_spin_and_recovers);
}

int main(void)
{
	Suite *s = suite_create("lifecycle");

	add_tests(e2e_case(s, "vm", e2e_setup_vm, 60),
		  e2e_case(s, "daemon", e2e_setup_daemon, 60),
		  e2e_case(s, "bare", e2e_setup_bare, 60));
	return e2e_run(s);
}
