/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Another engine is to take over (SIGUSR2), and something goes wrong: the old one goes on
 * and nobody notices. If that one is gone, it is as after any other crash.
 */
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "e2e/flow.h"
#include "e2e/upgrade.h"
#include "protocol/journal.h"

enum { TRIES = 12, SOON_MS = 5000 };

/* One that talks all the time, so that each byte that is lost shows. */
static struct pair there, back;

static void connect_both(void)
{
	there = e2e_guest_connects(&vm, vhd.uds);
	back = e2e_host_connects(&vm, vhd.uds);
	/* What the supervisor is to keep is on its way until then. */
	ck_assert(daemon_wait_asleep(&vhd, DEADLINE_MS));
}

static void setup(void)
{
	e2e_setup_vm();
	connect_both();
}

static void check_all_goes_on(void)
{
	e2e_check_talks(there);
	e2e_check_talks(back);
	e2e_check_alive();
	ck_assert_uint_eq(vm.n_strangers, 0);
}

static void ask(void)
{
	must(kill(vhd.pid, SIGUSR2) == 0);
}

/* @us after it has appeared; it may have taken over by then. */
static void kill_after(pid_t pid, int us)
{
	int64_t until = now_us() + us;

	while (now_us() < until)
		;
	kill(pid, SIGKILL);
	must(daemon_wait_gone(pid, DEADLINE_MS));
}

/* Did the connections end, as in a crash? */
static bool have_ended(void)
{
	return there.guest->state == SOCK_RESET || sock_wait_reset(there.guest, 0);
}

static void renew(void)
{
	ck_assert(sock_wait_reset(there.guest, SOON_MS));
	ck_assert(sock_wait_reset(back.guest, SOON_MS));
	ck_assert(host_is_closed(there.host, SOON_MS));
	ck_assert(host_is_closed(back.host, SOON_MS));
	sock_free(there.guest);
	sock_free(back.guest);
	close(there.host);
	close(back.host);
	connect_both();
}

/* ---- the successor ---- */

/* At any point of its life: while it still makes itself ready nobody notices; once it is the
 * engine it is a crash. */
START_TEST(successor_killed)
{
	int n_kept = 0;

	for (int i = 0; i < TRIES; i++) {
		pid_t engine = daemon_engine(&vhd), next;

		next = upgrade_begin(engine);
		kill_after(next, i * 2000);
		daemon_engine(&vhd);
		if (daemon_find_other_engine(&vhd, 0) == engine) {
			check_all_goes_on();
			n_kept++;
			continue;
		}
		driver_is_quiet(&vm, QUIET_MS);
		if (have_ended())
			renew();
		check_all_goes_on();
	}
	ck_assert_int_gt(n_kept, 0);
	upgrade();
	check_all_goes_on();
}
END_TEST

/* True: it was stopped before it was the engine; else that was a crash. */
static bool stop_successor(pid_t engine)
{
	pid_t next = upgrade_begin(engine);

	must(kill(next, SIGSTOP) == 0);
	if (!daemon_wait_gone(next, DEADLINE_MS))
		die("it is still there");
	daemon_engine(&vhd);
	if (daemon_find_other_engine(&vhd, 0) == engine)
		return true;
	driver_is_quiet(&vm, QUIET_MS);
	if (have_ended())
		renew();
	return false;
}

/* Stopped while the old one still serves, or while that one waits for it. */
START_TEST(successor_stopped)
{
	pid_t engine = daemon_engine(&vhd);

	for (int i = 1; !stop_successor(engine); i++) {
		ck_assert_int_lt(i, TRIES);
		engine = daemon_engine(&vhd);
	}
	ck_assert(daemon_wait_log(&vhd, "the present one goes on"));
	ck_assert_int_eq(daemon_engine(&vhd), engine);
	check_all_goes_on();
	upgrade();
	check_all_goes_on();
}
END_TEST

/* What it inherits from the supervisor, which needs no more of it itself. */
static void limit(int resource, rlim_t n)
{
	struct rlimit limit;

	must(prlimit(vhd.pid, (enum __rlimit_resource)resource, NULL, &limit) == 0);
	limit.rlim_cur = n < limit.rlim_max ? n : limit.rlim_max;
	must(prlimit(vhd.pid, (enum __rlimit_resource)resource, &limit, NULL) == 0);
}

START_TEST(no_descriptors)
{
	pid_t engine = daemon_engine(&vhd);

	limit(RLIMIT_NOFILE, 8);
	ask();
	ck_assert(daemon_wait_log(&vhd, "goes on"));
	ck_assert_int_eq(daemon_engine(&vhd), engine);
	check_all_goes_on();
	limit(RLIMIT_NOFILE, RLIM_INFINITY);
	upgrade();
	check_all_goes_on();
}
END_TEST

static int count_failures(void)
{
	return upgrade_count_logged("the present one goes on");
}

/* True: it has taken over from @engine; false: it has failed, for the @n-th time. */
static bool has_worked(pid_t engine, int n)
{
	int64_t deadline = deadline_in(DEADLINE_MS);

	while (count_failures() < n) {
		if (daemon_wait_gone(engine, 5))
			return true;
		must(deadline_left(deadline));
	}
	return false;
}

/* There is memory for some of what it needs: the more, the further it comes. */
START_TEST(little_memory)
{
	enum { STEP = 512 << 10 };
	rlim_t n = STEP;
	int n_failures = 0;
	pid_t engine = daemon_engine(&vhd);

	for (;; n += STEP) {
		limit(RLIMIT_AS, n);
		ask();
		if (has_worked(engine, n_failures + 1))
			break;
		n_failures++;
		ck_assert_int_eq(daemon_engine(&vhd), engine);
		e2e_check_talks(there);
		e2e_check_talks(back);
	}
	printf("# takes over with %llu KiB\n", (unsigned long long)n >> 10);
	ck_assert_int_gt(n_failures, 0);
	e2e_check_talks(there);
	e2e_check_talks(back);
	limit(RLIMIT_AS, RLIM_INFINITY);
	upgrade();
	check_all_goes_on();
}
END_TEST

/* In the middle of a transfer, again and again. */
START_TEST(under_load)
{
	struct host_job job = { .fd = there.host, .to_write = 64 << 20, .to_read = 64 << 20,
				.write_seed = 1, .read_seed = 2 };
	struct flow flow = { .sock = there.guest, .send_seed = 2, .recv_seed = 1,
			     .to_recv = 64 << 20 };
	pid_t engine = daemon_engine(&vhd);

	limit(RLIMIT_AS, 1 << 20);
	flow_attach(&flow);
	host_job_start(&job);
	for (int i = 0; i < TRIES; i++) {
		ask();
		while (count_failures() <= i)
			driver_wait(&vm, deadline_in(5), false);
		ck_assert_int_eq(daemon_engine(&vhd), engine);
	}
	flow.to_send = job.to_read;
	flow_run(&vm, &flow, 1);
	ck_assert_msg(host_job_finish(&job), "%s", job.error);
	there.guest->sink = NULL;
	limit(RLIMIT_AS, RLIM_INFINITY);
	upgrade();
	check_all_goes_on();
}
END_TEST

/* The journal of the VM, of which the supervisor has a descriptor. */
static int open_journal(pid_t supervisor)
{
	char folder[64], path[320], target[64];
	struct dirent *e;
	int found = -1;
	DIR *dir;

	snprintf(folder, sizeof folder, "/proc/%d/fd", (int)supervisor);
	dir = opendir(folder);
	while (dir && found < 0 && (e = readdir(dir))) {
		ssize_t n;

		snprintf(path, sizeof path, "%s/%s", folder, e->d_name);
		n = readlink(path, target, sizeof target - 1);
		target[n > 0 ? n : 0] = '\0';
		if (strncmp(target, "/memfd:journal", 14) == 0)
			found = open(path, O_RDWR | O_CLOEXEC);
	}
	if (dir)
		closedir(dir);
	return found;
}

/* What the old one has written is not what the new one can read: a front-end is not lost. */
START_TEST(journal_of_another_version)
{
	static const char *const extra[] = { "--sandbox=off", NULL };
	static const uint32_t another = JOURNAL_VERSION + 1, ours = JOURNAL_VERSION;
	const off_t at = offsetof(struct journal_head, version);
	int journal, client;
	pid_t engine;

	e2e_start(extra, NULL);
	connect_both();
	engine = daemon_engine(&vhd);
	journal = open_journal(vhd.pid);
	ck_assert_int_ge(journal, 0);
	must(pwrite(journal, &another, sizeof another, at) == sizeof another);
	client = host_connect(vhd.uds);
	ck_assert(host_write(client, "CONNECT 12", 10));
	ask();
	ck_assert(daemon_wait_log(&vhd, "the present one goes on"));
	ck_assert(daemon_wait_log(&vhd, "its front-end would be lost"));
	ck_assert_int_eq(daemon_engine(&vhd), engine);
	check_all_goes_on();
	ck_assert(host_write(client, "34\n", 3));
	sock_accept(&vm, PORT);
	ck_assert_uint_eq(host_read_ok(client), PORT);
	must(pwrite(journal, &ours, sizeof ours, at) == sizeof ours);
	close(journal);
	upgrade();
	check_all_goes_on();
}
END_TEST

/* ---- the old one ---- */

/* The connections end with it, unless it had handed them over. */
START_TEST(engine_killed)
{
	for (int i = 0; i < TRIES; i++) {
		pid_t engine = daemon_engine(&vhd);

		upgrade_begin(engine);
		kill_after(engine, i * 2000);
		ck_assert_int_ne(daemon_engine(&vhd), engine);
		driver_is_quiet(&vm, QUIET_MS);
		if (have_ended())
			renew();
		check_all_goes_on();
		ck_assert_int_eq(daemon_find_other_engine(&vhd, daemon_engine(&vhd)), 0);
	}
}
END_TEST

/* ---- signals to the supervisor in the middle ---- */

START_TEST(ended_in_the_middle)
{
	pid_t engine = daemon_engine(&vhd), next;

	next = upgrade_begin(engine);
	if (_i)
		poll(NULL, 0, _i);
	ck_assert_int_eq(daemon_stop(&vhd, DEADLINE_MS), 0);
	ck_assert(daemon_wait_gone(engine, DEADLINE_MS));
	ck_assert(daemon_wait_gone(next, DEADLINE_MS));
	ck_assert_int_ne(access(vhd.uds, F_OK), 0);
	ck_assert(host_is_closed(there.host, DEADLINE_MS));
}
END_TEST

START_TEST(killed_in_the_middle)
{
	pid_t engine = daemon_engine(&vhd), next;

	next = upgrade_begin(engine);
	if (_i)
		poll(NULL, 0, _i);
	daemon_kill(&vhd);
	ck_assert(daemon_wait_gone(engine, SOON_MS));
	ck_assert(daemon_wait_gone(next, SOON_MS));
}
END_TEST

/* Once more while it still goes on: one takes over, and no two. */
START_TEST(asked_again_and_again)
{
	for (int i = 0; i < TRIES; i++) {
		pid_t engine = daemon_engine(&vhd), next, other;

		ask();
		next = upgrade_begin(engine);
		ask();
		other = daemon_find_other_engine(&vhd, engine);
		/* Unless it has taken over already, and the last of us has been heard after that. */
		ck_assert(other == next || daemon_wait_gone(engine, 0));
		ck_assert(daemon_wait_gone(engine, DEADLINE_MS));
		check_all_goes_on();
	}
}
END_TEST

int main(void)
{
	Suite *s = suite_create("upgrade_failed");
	TCase *tc = e2e_case(s, "successor", setup, 60);

	tcase_add_test(tc, successor_killed);
	tcase_add_test(tc, successor_stopped);
	tcase_add_test(tc, no_descriptors);
	if (!IS_SANITIZED) {			/* which takes terabytes of addresses */
		tcase_add_test(tc, little_memory);
		tcase_add_test(tc, under_load);
	}
	tc = e2e_case(s, "journal", e2e_setup_bare, 60);
	tcase_add_test(tc, journal_of_another_version);
	tc = e2e_case(s, "engine", setup, 60);
	tcase_add_test(tc, engine_killed);
	tc = e2e_case_with(s, "signals", setup, e2e_teardown_ended, 60);
	tcase_add_loop_test(tc, ended_in_the_middle, 0, 10);
	tcase_add_loop_test(tc, killed_in_the_middle, 0, 10);
	tc = e2e_case(s, "again", setup, 60);
	tcase_add_test(tc, asked_again_and_again);
	return e2e_run(s);
}
