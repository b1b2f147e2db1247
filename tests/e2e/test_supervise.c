/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The two processes: how each of them ends, what becomes of the other then, and that one of
 * them is replaced. What a guest sees of that is test_crash.c's.
 */
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "e2e/e2e.h"

enum {
	GONE_MS = 100,				/* an engine whose supervisor is killed */
	TRIES = 5,
	SUPERVISOR_KIB = 1024,			/* of memory of its own */
	RESTARTS = 20,				/* without a pause; see supervisor_engine.c */
	PAUSES = 4, PAUSES_MS = 100 + 200 + 400 + 800,
};

static const char *const both[] = { "--supervise=on", "--log-level=info", NULL };

static void start(const char *const *extra)
{
	e2e_start(extra ? extra : both, NULL);
	ck_assert(vhd.is_supervised);
	ck_assert(daemon_wait_log(&vhd, "serving 1 of 1 VM"));
}

static void new_front_end(void)
{
	driver_deinit(&vm);
	driver_up(&vm, vhd.socket, NULL);
	e2e_check_alive();
}

static void read_proc(pid_t pid, const char *what, char *text, size_t size)
{
	char path[64];
	ssize_t n;
	int fd;

	snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, what);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	must(fd >= 0);
	n = read(fd, text, size - 1);
	close(fd);
	must(n >= 0);
	text[n] = '\0';
	text[strcspn(text, "\n")] = '\0';
}

static unsigned count_logged(const char *text)
{
	char *log = daemon_log(&vhd);
	unsigned n = 0;

	for (const char *at = log; (at = strstr(at, text)); at++)
		n++;
	free(log);
	return n;
}

/* ---- what others see ---- */

/* ps and top tell which is which. */
START_TEST(names)
{
	const char *program = strrchr(getenv("VHOST_DEVICE_VSOCK"), '/') + 1;
	char text[256], comm[16];

	start(NULL);
	snprintf(comm, sizeof comm, "%s", program);
	read_proc(vhd.pid, "comm", text, sizeof text);
	ck_assert_str_eq(text, comm);
	read_proc(vhd.pid, "cmdline", text, sizeof text);	/* as it was started */
	ck_assert_str_eq(text, getenv("VHOST_DEVICE_VSOCK"));
	read_proc(daemon_engine(&vhd), "comm", text, sizeof text);
	ck_assert_str_eq(text, "vsock-engine");
	read_proc(daemon_engine(&vhd), "cmdline", text, sizeof text);
	ck_assert_str_eq(text, "vhost-device-vsock: engine");
}
END_TEST

static unsigned long anon_kib(pid_t pid)
{
	char text[4096], path[64], *at;
	FILE *f;

	snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
	f = fopen(path, "re");
	must(f);
	text[fread(text, 1, sizeof text - 1, f)] = '\0';
	fclose(f);
	at = strstr(text, "RssAnon:");
	must(at);
	return strtoul(at + 8, NULL, 10);
}

START_TEST(supervisor_is_small)
{
	start(NULL);
	e2e_check_alive();
	if (!IS_SANITIZED)
		ck_assert_uint_le(anon_kib(vhd.pid), SUPERVISOR_KIB);
	ck_assert_uint_eq(daemon_usage(&vhd).threads, 2);	/* one VM needs one worker */
}
END_TEST

/* ---- the engine's end ---- */

/* Whether there was a front-end or not, the sockets are where they were. */
START_TEST(killed_engine_is_replaced)
{
	for (int i = 0; i < TRIES; i++) {
		pid_t engine;

		if (i == 0)
			start(NULL);
		if (i % 2)
			driver_deinit(&vm);
		engine = daemon_engine(&vhd);
		must(kill(engine, SIGKILL) == 0);
		ck_assert(daemon_wait_gone(engine, DEADLINE_MS));
		ck_assert_int_ne(daemon_engine(&vhd), engine);
		new_front_end();
	}
	ck_assert(daemon_wait_log(&vhd, ") was ended by signal 9 (Killed); another takes over"));
	ck_assert_uint_eq(count_logged("another takes over"), TRIES);
}
END_TEST

static void wait_until_stopped(pid_t pid)
{
	int64_t deadline = deadline_in(DEADLINE_MS);

	while (!daemon_is_stopped(pid)) {
		ck_assert(deadline_left(deadline));
		poll(NULL, 0, 1);
	}
}

/* An engine that somebody stops is one that hangs. */
START_TEST(stopped_engine_is_replaced)
{
	static const char *const patience[] = {
		"--supervise=on", "--watchdog=1", "--log-level=info", NULL,
	};
	int64_t began = now_ms();
	pid_t engine;

	start(patience);
	engine = daemon_engine(&vhd);
	must(kill(engine, SIGSTOP) == 0);
	ck_assert(daemon_wait_gone(engine, DEADLINE_MS));
	ck_assert_int_ge(now_ms() - began, 1000);
	ck_assert(daemon_wait_log(&vhd, "the engine was stopped, and does not go on: it is ended"));
	ck_assert_int_ne(daemon_engine(&vhd), engine);
	new_front_end();
}
END_TEST

/* ... but not before its time: _i 0, it goes on before; 1, nobody watches. */
START_TEST(stopped_engine_goes_on)
{
	const char *const patience[] = {
		"--supervise=on", _i ? "--watchdog=0" : "--watchdog=1", "--log-level=info", NULL,
	};
	pid_t engine;

	start(patience);
	engine = daemon_engine(&vhd);
	must(kill(engine, SIGSTOP) == 0);
	wait_until_stopped(engine);
	if (_i)
		ck_assert(!deadline_poll(vhd.pidfd, POLLIN, deadline_in(1500)));
	must(kill(engine, SIGCONT) == 0);
	ck_assert(!deadline_poll(vhd.pidfd, POLLIN, deadline_in(1500)));
	ck_assert_int_eq(daemon_engine(&vhd), engine);
	e2e_check_alive();
}
END_TEST

/* One after the other: the first ones follow at once, as they do where a guest does that once
 * in a while, then they take their time. Nobody's VM is left out for it. */
START_TEST(engines_that_die_are_replaced_more_slowly)
{
	int64_t slow = 0;

	start(NULL);
	for (int i = 0; i < RESTARTS + PAUSES; i++) {
		pid_t engine = daemon_engine(&vhd);

		if (i == RESTARTS)
			slow = now_ms();
		must(kill(engine, SIGKILL) == 0);
		ck_assert(daemon_wait_gone(engine, DEADLINE_MS));
	}
	daemon_engine(&vhd);
	ck_assert_int_ge(now_ms() - slow, PAUSES_MS);
	ck_assert_uint_eq(count_logged("another takes over"), RESTARTS + PAUSES);
	new_front_end();
}
END_TEST

static rlim_t n_files;

static void limit_files(void)
{
	const struct rlimit limit = { n_files, n_files };

	must(setrlimit(RLIMIT_NOFILE, &limit) == 0);
}

/* A front-end may get as far as the engine's descriptors go: the supervisor has more. */
static void use_up_descriptors(void)
{
	uint64_t features;

	driver_init(&vm, NULL);
	if (!vmm_connect(&vm.fe, vhd.socket))
		return;
	vm.fe.reply_ms = QUIET_MS;		/* it may not even be accepted */
	if (vmm_get_features(&vm.fe, &features) == 0)
		vmm_set_mem_table(&vm.fe, &vm.guest);
	ck_assert(daemon_wait_asleep(&vhd, DEADLINE_MS));
	ck_assert(daemon_is_running(&vhd));
	ck_assert_uint_eq(count_logged("another takes over"), 0);
}

/* Too few descriptors for it: that is said, once, and it is the end. _i: how many. */
START_TEST(first_engine_that_cannot_begin_is_the_end)
{
	const char *const args[] = {
		"--supervise=on", "--socket", vhd.socket, "--uds-path", vhd.uds, "--log-level=info",
		NULL,
	};
	int64_t deadline = deadline_in(DEADLINE_MS);

	n_files = (rlim_t)_i;
	vhd.prepare = limit_files;
	daemon_spawn(&vhd, args);
	while (daemon_is_running(&vhd) && !daemon_has_logged(&vhd, "serving 1 of 1 VM")) {
		ck_assert(deadline_left(deadline));
		poll(NULL, 0, 5);
	}
	ck_assert_uint_eq(count_logged("another takes over"), 0);
	if (daemon_is_running(&vhd)) {		/* enough; e2e_teardown() ends it */
		use_up_descriptors();
		return;
	}
	ck_assert_int_eq(daemon_wait_exit(&vhd, DEADLINE_MS), 1);
	ck_assert_uint_ge(count_logged(" error "), 1);
	ck_assert_uint_le(count_logged("cannot start: "), 1);
	ck_assert_int_ne(access(vhd.socket, F_OK), 0);
	ck_assert_int_ne(access(vhd.uds, F_OK), 0);
}
END_TEST

/* ---- the supervisor's end ---- */

/* The engine does not outlive it, and the next start finds nothing in its way but names. */
START_TEST(killed_supervisor_takes_the_engine_with_it)
{
	int64_t best = INT64_MAX;

	for (int i = 0; i < TRIES; i++) {
		pid_t engine;
		int64_t began;

		start(NULL);
		e2e_check_alive();
		engine = daemon_engine(&vhd);
		began = now_ms();
		must(kill(vhd.pid, SIGKILL) == 0);
		ck_assert_int_eq(daemon_wait_exit(&vhd, DEADLINE_MS), -SIGKILL);
		ck_assert(daemon_wait_gone(engine, DEADLINE_MS));
		best = now_ms() - began < best ? now_ms() - began : best;
		driver_deinit(&vm);
	}
	if (!IS_SANITIZED)
		ck_assert_int_le(best, GONE_MS);
}
END_TEST

static const int ends[] = { SIGTERM, SIGINT, SIGHUP };

/* Both are gone, as are the names. */
START_TEST(signal_ends_both)
{
	pid_t engine;

	start(NULL);
	e2e_check_alive();
	engine = daemon_engine(&vhd);
	must(kill(vhd.pid, ends[_i]) == 0);
	ck_assert_int_eq(daemon_wait_exit(&vhd, END_MS), 0);
	ck_assert_int_eq(kill(engine, 0), -1);
	ck_assert_int_ne(access(vhd.socket, F_OK), 0);
	ck_assert_int_ne(access(vhd.uds, F_OK), 0);
}
END_TEST

static void lead_a_group(void)
{
	must(setpgid(0, 0) == 0);
}

/* Ctrl-C of a terminal, or kill of a whole group, reaches the engine, too: there is one end. */
START_TEST(signal_to_the_group_is_one_end)
{
	vhd.prepare = lead_a_group;
	start(NULL);
	e2e_check_alive();
	must(kill(-vhd.pid, ends[_i]) == 0);
	ck_assert_int_eq(daemon_wait_exit(&vhd, DEADLINE_MS), 0);
	ck_assert_uint_eq(count_logged("ends on signal"), 1);
	ck_assert_uint_eq(count_logged("another takes over"), 0);
	ck_assert_int_ne(access(vhd.uds, F_OK), 0);
}
END_TEST

/* An engine alone is not ended by them: whoever means the daemon asks the supervisor. */
START_TEST(signal_to_the_engine_is_none)
{
	pid_t engine;

	start(NULL);
	engine = daemon_engine(&vhd);
	must(kill(engine, ends[_i]) == 0);
	ck_assert(!deadline_poll(vhd.pidfd, POLLIN, deadline_in(QUIET_MS)));
	ck_assert_int_eq(daemon_engine(&vhd), engine);
	e2e_check_alive();
}
END_TEST

/* A supervisor that ends has an engine that does not. */
START_TEST(end_with_a_stopped_engine)
{
	pid_t engine;

	start(NULL);
	engine = daemon_engine(&vhd);
	must(kill(engine, SIGSTOP) == 0);
	wait_until_stopped(engine);
	ck_assert_int_eq(daemon_stop(&vhd, END_MS + 1000), 0);
	ck_assert(daemon_wait_gone(engine, DEADLINE_MS));
	ck_assert_int_ne(access(vhd.uds, F_OK), 0);
}
END_TEST

/* ... and where there is none at all, between two of them. */
START_TEST(end_without_an_engine)
{
	start(NULL);
	for (int i = 0; i < RESTARTS + PAUSES; i++) {
		pid_t engine = daemon_engine(&vhd);

		must(kill(engine, SIGKILL) == 0);
		ck_assert(daemon_wait_gone(engine, DEADLINE_MS));
	}
	ck_assert_int_eq(daemon_stop(&vhd, END_MS), 0);
	ck_assert_int_ne(access(vhd.uds, F_OK), 0);
}
END_TEST

/* ---- process 1 ---- */

/* In the daemon's namespace: leaves a child behind, which ends when @hold is closed. */
static void leave_orphan(int hold)
{
	char path[64], c;
	int ns;

	snprintf(path, sizeof path, "/proc/%d/ns/pid", (int)vhd.pid);
	ns = open(path, O_RDONLY | O_CLOEXEC);
	if (ns < 0 || setns(ns, CLONE_NEWPID) < 0)
		_exit(1);
	/* One whose parent has gone, there; which they survive, since they are on no leash. */
	if (syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0) == 0 &&
	    syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0) == 0)
		while (read(hold, &c, 1) > 0)
			;
	_exit(0);
}

/* A child of @parent that is not its engine; 0: none yet. */
static pid_t find_stranger(pid_t parent)
{
	pid_t engine = daemon_find_engine(&vhd);
	char path[64], text[4096], *list = text;
	FILE *f;

	snprintf(path, sizeof path, "/proc/%d/task/%d/children", (int)parent, (int)parent);
	f = fopen(path, "re");
	must(f);
	text[fread(text, 1, sizeof text - 1, f)] = '\0';
	fclose(f);
	for (;;) {
		pid_t pid = (pid_t)strtol(list, &list, 10);

		if (pid != engine || !pid)
			return pid;
	}
}

/* Whose parent has gone is process 1's, and waits to be reaped. */
START_TEST(process_1_reaps_strangers)
{
	int64_t deadline = deadline_in(DEADLINE_MS);
	pid_t helper, stranger;
	int hold[2], status;

	if (!e2e_leave_pids())
		return;
	start(NULL);
	e2e_return_to_pids();
	must(pipe2(hold, O_CLOEXEC) == 0);
	helper = fork();
	must(helper >= 0);
	if (helper == 0) {
		close(hold[1]);
		leave_orphan(hold[0]);
	}
	close(hold[0]);
	must(waitpid(helper, &status, 0) == helper && status == 0);
	while (!(stranger = find_stranger(vhd.pid))) {
		must(deadline_left(deadline));
		poll(NULL, 0, 1);
	}
	close(hold[1]);
	while (kill(stranger, 0) == 0) {
		ck_assert(deadline_left(deadline));
		poll(NULL, 0, 1);
	}
	e2e_check_alive();
	ck_assert_int_eq(daemon_stop(&vhd, DEADLINE_MS), 0);
}
END_TEST

/* What ends its engine does not end it, though it is spared signals by the kernel. */
START_TEST(process_1_replaces_an_engine)
{
	pid_t engine;

	if (!e2e_leave_pids())
		return;
	start(NULL);
	e2e_return_to_pids();
	engine = daemon_engine(&vhd);
	must(kill(engine, SIGSEGV) == 0);
	ck_assert(daemon_wait_gone(engine, DEADLINE_MS));
	new_front_end();
}
END_TEST

int main(void)
{
	Suite *s = suite_create("supervise");
	TCase *tc = e2e_case(s, "seen", e2e_setup_bare, 60);

	tcase_add_test(tc, names);
	tcase_add_test(tc, supervisor_is_small);
	tc = e2e_case(s, "engine", e2e_setup_bare, 60);
	tcase_add_test(tc, killed_engine_is_replaced);
	tcase_add_test(tc, stopped_engine_is_replaced);
	tcase_add_loop_test(tc, stopped_engine_goes_on, 0, 2);
	tcase_add_test(tc, engines_that_die_are_replaced_more_slowly);
	tcase_add_loop_test(tc, first_engine_that_cannot_begin_is_the_end, 6, 40);
	tc = e2e_case(s, "supervisor", e2e_setup_bare, 60);
	tcase_add_test(tc, killed_supervisor_takes_the_engine_with_it);
	tcase_add_loop_test(tc, signal_ends_both, 0, 3);
	tcase_add_loop_test(tc, signal_to_the_group_is_one_end, 0, 3);
	tcase_add_loop_test(tc, signal_to_the_engine_is_none, 0, 3);
	tcase_add_test(tc, end_with_a_stopped_engine);
	tcase_add_test(tc, end_without_an_engine);
	tc = e2e_case(s, "process 1", e2e_setup_bare, 60);
	tcase_add_test(tc, process_1_reaps_strangers);
	tcase_add_test(tc, process_1_replaces_an_engine);
	return e2e_run(s);
}
