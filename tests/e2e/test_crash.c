/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The engine dies under a guest: its front-end notices nothing, its connections end at once
 * on both sides, and new ones work.
 */
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "e2e/e2e.h"

enum {
	CRASHES = 10,
	SOON_MS = 2000,				/* on a busy machine; the guest's own timers take longer */
};

/* Returns when another one is there, serving or about to. */
static void crash(int sig)
{
	pid_t engine = daemon_engine(&vhd);

	must(kill(engine, sig) == 0);
	must(daemon_wait_gone(engine, DEADLINE_MS));
	ck_assert_int_ne(daemon_engine(&vhd), engine);
	ck_assert(daemon_is_running(&vhd));
}

/* The guest hears of it, and so does the host program. */
static void check_ended(struct pair p)
{
	ck_assert(sock_wait_reset(p.guest, SOON_MS));
	ck_assert(host_is_closed(p.host, SOON_MS));
	sock_free(p.guest);
	close(p.host);
}

START_TEST(connections_end_and_new_ones_work)
{
	struct pair there, back;

	for (int i = 0; i < CRASHES; i++) {
		there = e2e_guest_connects(&vm, vhd.uds);
		back = e2e_host_connects(&vm, vhd.uds);
		e2e_check_talks(there);
		e2e_check_talks(back);
		crash(SIGKILL);
		check_ended(there);
		check_ended(back);
		e2e_check_alive();
	}
	ck_assert_uint_eq(vm.n_strangers, 0);
	ck_assert_uint_eq(daemon_counts(&vhd).crashes, CRASHES);
	ck_assert_uint_eq(daemon_counts(&vhd).upgrades, 0);
}
END_TEST

START_TEST(any_signal_is_survived)
{
	static const int signals[] = { SIGSEGV, SIGABRT, SIGSYS, SIGBUS };
	struct pair p = e2e_guest_connects(&vm, vhd.uds);

	crash(signals[_i]);
	check_ended(p);
	e2e_check_alive();
}
END_TEST

/* What the guest had sent and nobody had read yet is lost with the connection, but nothing
 * of it turns up anywhere else. */
START_TEST(in_the_middle_of_transfers)
{
	for (int i = 0; i < CRASHES; i++) {
		struct host_job job = { .to_write = 1 << 30, .write_seed = 1 };
		struct pair out = e2e_guest_connects(&vm, vhd.uds);
		struct pair in = e2e_host_connects(&vm, vhd.uds);
		static uint8_t bytes[64 * 1024];

		job.fd = in.host;
		host_job_start(&job);
		while (sock_send_some(out.guest, bytes, sizeof bytes))
			driver_turn(&vm);
		sock_recv_full(in.guest, bytes, sizeof bytes);
		crash(SIGKILL);
		ck_assert(sock_wait_reset(out.guest, SOON_MS));
		ck_assert(sock_wait_reset(in.guest, SOON_MS));
		ck_assert(!host_job_finish(&job));
		sock_free(in.guest);
		sock_free(out.guest);
		close(in.host);
		close(out.host);
		e2e_check_alive();
	}
}
END_TEST

/* One that was not open yet would wait for an answer until the guest's own timer. */
START_TEST(a_connect_on_its_way_ends)
{
	int listener = host_listen(vhd.uds, PORT, 0);
	struct sock *first = sock_connect(&vm, PORT), *waits = NULL;

	while (!waits) {			/* the backlog is full at some point */
		struct sock *s = sock_dial(&vm, PORT);

		driver_flush(&vm);
		if (driver_is_quiet(&vm, 50))
			waits = s;
	}
	crash(SIGKILL);
	ck_assert(sock_wait_reset(waits, SOON_MS));
	ck_assert(sock_wait_reset(first, SOON_MS));
	host_unlisten(listener, vhd.uds, PORT);
	e2e_check_alive();
}
END_TEST

/* Its threads stop one after the other, each when it is scheduled. */
static void stop(pid_t pid)
{
	int64_t deadline = deadline_in(DEADLINE_MS);

	must(kill(pid, SIGSTOP) == 0);
	while (!daemon_is_stopped(pid)) {
		must(deadline_left(deadline));
		poll(NULL, 0, 1);
	}
}

/* The kicks of a guest that was told nothing: while there is no engine, and before. */
START_TEST(packets_sent_meanwhile_are_seen)
{
	int listener = host_listen(vhd.uds, PORT, 8), host;
	pid_t engine = daemon_engine(&vhd);
	struct sock *s;

	stop(engine);
	s = sock_dial(&vm, PORT);
	must(kill(engine, SIGKILL) == 0);
	ck_assert(sock_wait_open(s));
	host = host_accept(listener);
	e2e_check_talks((struct pair){ s, host });
	host_unlisten(listener, vhd.uds, PORT);
}
END_TEST

/* A host program that has come meanwhile finds the guest that was there before. */
START_TEST(host_connects_meanwhile_are_seen)
{
	pid_t engine = daemon_engine(&vhd);
	struct pair p;

	sock_listen(&vm, PORT);
	stop(engine);
	p.host = host_dial(vhd.uds, PORT);
	must(kill(engine, SIGKILL) == 0);
	p.guest = sock_accept(&vm, PORT);
	ck_assert_uint_eq(host_read_ok(p.host), PORT);
	e2e_check_talks(p);
}
END_TEST

static void start_two(char *socket, size_t size)
{
	char words[2][512];
	const char *const args[] = {		/* one thread: it turns to them one by one */
		"--threads=1", "--vm", words[0], "--vm", words[1], NULL,
	};

	snprintf(socket, size, "%s/4.vhost", vhd.dir);
	snprintf(words[0], sizeof words[0], "socket=%s,uds-path=%s", vhd.socket, vhd.uds);
	snprintf(words[1], sizeof words[1], "guest-cid=4,socket=%s,uds-path=%s/4.sock", socket,
		 vhd.dir);
	daemon_spawn(&vhd, args);
	ck_assert(daemon_wait_listening(&vhd, vhd.uds));
	ck_assert(daemon_wait_listening(&vhd, socket));
	driver_up(&vm, vhd.socket, NULL);
}

static void wait_for_end(pid_t pid)
{
	int fd = (int)syscall(SYS_pidfd_open, pid, 0);

	must(fd >= 0 && deadline_poll(fd, POLLIN, deadline_in(DEADLINE_MS)));
	close(fd);
}

/* Before the supervisor gets to it, an engine asks it for one VM's front-end, has it keep another
 * memory of the other VM, and ends. It has nobody to answer, and no reason to hear no more. */
START_TEST(last_words_are_heard)
{
	struct vmm other;
	char socket[160];
	pid_t engine;

	start_two(socket, sizeof socket);
	engine = daemon_engine(&vhd);
	stop(vhd.pid);
	ck_assert(vmm_connect(&other, socket));
	ck_assert_int_eq(vmm_set_mem_table(&vm.fe, &vm.guest), 0);
	must(kill(engine, SIGKILL) == 0);
	wait_for_end(engine);
	must(kill(vhd.pid, SIGCONT) == 0);
	e2e_check_alive();
	ck_assert_int_eq(vmm_get_features(&other, &(uint64_t){ 0 }), 0);
	vmm_close(&other);
	ck_assert(!daemon_has_logged(&vhd, "front-end lost"));
}
END_TEST

START_TEST(thousands_of_connections_end)
{
	enum { N = 2000 };
	static struct pair pairs[N];
	int listener;

	if (!e2e_may_open(N + 100, "a crash under 2,000 connections"))
		return;
	listener = host_listen(vhd.uds, PORT, N);
	for (int i = 0; i < N; i++) {
		pairs[i].guest = sock_connect(&vm, PORT);
		pairs[i].host = host_accept(listener);
	}
	crash(SIGKILL);
	for (int i = 0; i < N; i++)
		check_ended(pairs[i]);
	host_unlisten(listener, vhd.uds, PORT);
	e2e_check_alive();
	ck_assert_uint_eq(vm.n_strangers, 0);
}
END_TEST

static void check_holds_at_most(unsigned fds)
{
	int64_t deadline = deadline_in(DEADLINE_MS);

	while (deadline_left(deadline) && daemon_usage_supervisor(&vhd).fds > fds)
		poll(NULL, 0, 1);		/* another thread closes them */
	ck_assert_uint_le(daemon_usage_supervisor(&vhd).fds, fds);
}

/* It is told what to keep, and may have to be waited for. */
static void check_holds_more_than(unsigned fds)
{
	int64_t deadline = deadline_in(DEADLINE_MS);

	while (deadline_left(deadline) && daemon_usage_supervisor(&vhd).fds <= fds)
		poll(NULL, 0, 1);
	ck_assert_uint_gt(daemon_usage_supervisor(&vhd).fds, fds);
}

/* The supervisor holds what the device needs, and no more, however often it has to. */
START_TEST(nothing_is_left_over)
{
	unsigned fds = 0;

	for (int i = 0; i < CRASHES; i++) {
		unsigned now;

		crash(SIGKILL);
		e2e_check_alive();
		now = daemon_usage_supervisor(&vhd).fds;
		if (i == 0)
			fds = now;
		ck_assert_uint_eq(now, fds);
	}
	driver_deinit(&vm);
	driver_up(&vm, vhd.socket, NULL);
	e2e_check_alive();
	check_holds_at_most(fds);
}
END_TEST

/* What has had a front-end is held no more than what has had none: not even one that went. */
START_TEST(a_vm_without_a_front_end_costs_nothing)
{
	const char *const args[] = {
		"--guest-cid", "3", "--socket", vhd.socket, "--uds-path", vhd.uds,
		"--log-level=info", NULL,
	};
	unsigned fds;

	daemon_spawn(&vhd, args);
	ck_assert(daemon_wait_log(&vhd, " main: serving "));
	fds = daemon_usage_supervisor(&vhd).fds;
	for (int i = 0; i < 2; i++) {
		driver_up(&vm, vhd.socket, NULL);
		e2e_check_alive();
		check_holds_more_than(fds);
		driver_deinit(&vm);
		check_holds_at_most(fds);
	}
}
END_TEST

/* A front-end that has said half of a request when there is nobody to read it. */
START_TEST(half_a_request_is_answered_once)
{
	const struct vhost_user_hdr hdr = { VHOST_USER_GET_FEATURES, VHOST_USER_VERSION, 0 };
	struct vmm_msg answer;
	struct vmm fe;

	for (size_t cut = 0; cut <= sizeof hdr; cut++) {
		ck_assert(vmm_connect(&fe, vhd.socket));
		fe.reply_ms = DEADLINE_MS;
		ck_assert(vmm_send_bytes(&fe, &hdr, cut, NULL, 0));
		crash(SIGKILL);
		ck_assert(vmm_send_bytes(&fe, (const char *)&hdr + cut, sizeof hdr - cut, NULL, 0));
		ck_assert_int_eq(vmm_recv(&fe, &answer), 0);
		ck_assert_uint_eq(answer.hdr.request, VHOST_USER_GET_FEATURES);
		fe.reply_ms = 50;
		ck_assert_int_eq(vmm_recv(&fe, &answer), VMM_SILENT);
		vmm_close(&fe);
	}
}
END_TEST

/* The guest is reset, stopped, goes on: all as if there had been no crash. */
START_TEST(the_front_end_goes_on)
{
	crash(SIGKILL);
	driver_reboot(&vm);
	e2e_check_alive();
	crash(SIGKILL);
	driver_detach(&vm);
	driver_deinit(&vm);
	driver_up(&vm, vhd.socket, NULL);
	e2e_check_alive();
	crash(SIGKILL);
	e2e_check_alive();
}
END_TEST

int main(void)
{
	Suite *s = suite_create("crash");
	TCase *tc = e2e_case(s, "vm", e2e_setup_vm, 60);

	setenv("TEST_SUPERVISE", "on", 1);	/* it is what all of this is about */
	tcase_add_test(tc, connections_end_and_new_ones_work);
	tcase_add_loop_test(tc, any_signal_is_survived, 0, 4);
	tcase_add_test(tc, in_the_middle_of_transfers);
	tcase_add_test(tc, a_connect_on_its_way_ends);
	tcase_add_test(tc, packets_sent_meanwhile_are_seen);
	tcase_add_test(tc, host_connects_meanwhile_are_seen);
	tcase_add_test(tc, thousands_of_connections_end);
	tcase_add_test(tc, nothing_is_left_over);
	tcase_add_test(tc, the_front_end_goes_on);
	tc = e2e_case(s, "daemon", e2e_setup_daemon, 60);
	tcase_add_test(tc, half_a_request_is_answered_once);
	tc = e2e_case(s, "costs", e2e_setup_bare, 60);
	tcase_add_test(tc, a_vm_without_a_front_end_costs_nothing);
	tc = e2e_case(s, "two", e2e_setup_bare, 60);
	tcase_add_test(tc, last_words_are_heard);
	return e2e_run(s);
}
