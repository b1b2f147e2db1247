/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What launchers leave behind: signals ignored or blocked, standard streams
 * closed, a working directory that is gone, limits.
 */
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "e2e/e2e.h"

#define COUNT(array) ((int)(sizeof (array) / sizeof *(array)))

static const int ends[] = { SIGHUP, SIGINT, SIGTERM };

/* Which of the table, bit by bit; set before the child is made. */
static unsigned which;

/* ---- signals ---- */

static void ignore_signals(void)
{
	for (int i = 0; i < COUNT(ends); i++)
		if (which & 1u << i)
			signal(ends[i], SIG_IGN);
}

/* _i: those that nohup, a shell's background job or a supervisor ignores. */
START_TEST(ignored_signals_stay_ignored)
{
	which = (unsigned)_i;
	vhd.prepare = ignore_signals;
	e2e_start(NULL, NULL);
	for (int i = 0; i < COUNT(ends); i++)
		if (which & 1u << i)
			must(kill(vhd.pid, ends[i]) == 0);
	ck_assert(!deadline_poll(vhd.pidfd, POLLIN, deadline_in(QUIET_MS)));
	e2e_check_alive();
	for (int i = 0; i < COUNT(ends); i++)
		if (!(which & 1u << i))
			must(kill(vhd.pid, ends[i]) == 0);
	ck_assert_int_eq(daemon_wait_exit(&vhd, DEADLINE_MS), 0);
	ck_assert_int_ne(access(vhd.socket, F_OK), 0);
}
END_TEST

static void block_all_signals(void)
{
	sigset_t all;

	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
}

static void check_lost_memory_is_survived(void)
{
	must(ftruncate(vm.guest.regions[0].fd, 0) == 0);
	guest_ring_kick(&vm.vq[VSOCK_TXQ]);
	ck_assert(daemon_wait_log(&vhd, "guest memory vanished"));
	driver_deinit(&vm);
	driver_up(&vm, vhd.socket, NULL);
	e2e_check_alive();
}

/* Some launchers leak their mask. A lost page is still the loss of one device. */
START_TEST(blocked_signals_are_unblocked)
{
	vhd.prepare = block_all_signals;
	e2e_start(NULL, NULL);
	check_lost_memory_is_survived();
}
END_TEST

/* ... and what ends an ordinary process ends this one. */
START_TEST(blocked_signals_do_what_they_do)
{
	vhd.prepare = block_all_signals;
	daemon_start(&vhd, NULL);
	must(kill(vhd.pid, SIGUSR1) == 0);
	ck_assert_int_eq(daemon_wait_exit(&vhd, DEADLINE_MS), -SIGUSR1);
}
END_TEST

static void limit_signals(void)
{
	const struct rlimit none = { 0 };

	must(setrlimit(RLIMIT_SIGPENDING, &none) == 0);
}

/* ulimit -i, which other processes of the user may have used up: no timer is to be had. */
START_TEST(no_pending_signals)
{
	vhd.prepare = limit_signals;
	e2e_start(NULL, NULL);
	e2e_check_alive();
	must(kill(vhd.pid, SIGTERM) == 0);
	ck_assert_int_eq(daemon_wait_exit(&vhd, DEADLINE_MS), 0);
}
END_TEST

/* That whose handler it is. */
static const char *const alone[] = { "--supervise=off", NULL };

/* SIGBUS by kill(2): not ours to survive, nor to be disarmed by. */
START_TEST(foreign_sigbus_ends_the_process)
{
	e2e_start(alone, NULL);
	e2e_check_alive();
	must(kill(vhd.pid, SIGBUS) == 0);
	ck_assert_int_eq(daemon_wait_exit(&vhd, DEADLINE_MS), -SIGBUS);
}
END_TEST

/* Process 1 of a container is spared what has no handler: ours must be there still. */
START_TEST(foreign_sigbus_as_process_1)
{
	if (!e2e_leave_pids())
		return;
	e2e_start(alone, NULL);
	e2e_return_to_pids();
	must(kill(vhd.pid, SIGBUS) == 0);
	check_lost_memory_is_survived();
	must(kill(vhd.pid, SIGBUS) == 0);
	check_lost_memory_is_survived();
}
END_TEST

/* ---- files ---- */

enum { FILE_LIMIT = 4096 };

static void limit_files(void)
{
	struct rlimit limit;

	must(getrlimit(RLIMIT_FSIZE, &limit) == 0);
	limit.rlim_cur = FILE_LIMIT;
	must(setrlimit(RLIMIT_FSIZE, &limit) == 0);
}

static bool file_has(const char *path, const char *text)
{
	static char content[1 << 16];
	FILE *f = fopen(path, "re");

	must(f);
	content[fread(content, 1, sizeof content - 1, f)] = '\0';
	fclose(f);
	return strstr(content, text);
}

static off_t size_of(const char *path)
{
	struct stat st;

	must(stat(path, &st) == 0);
	return st.st_size;
}

/* ulimit -f: lines are lost, and counted once there is room again; no VM is. */
START_TEST(file_size_limit_loses_lines)
{
	struct rlimit limit;
	pid_t engine;
	char path[128];
	const char *const options[] = { "--log-file", path, "--log-level=trace", NULL };
	int64_t deadline = deadline_in(DEADLINE_MS);

	snprintf(path, sizeof path, "%s/limited", vhd.dir);
	vhd.prepare = limit_files;
	e2e_start(options, NULL);
	while (size_of(path) < FILE_LIMIT && deadline_left(deadline))
		e2e_check_alive();
	e2e_check_alive();
	ck_assert_int_eq(size_of(path), FILE_LIMIT);

	engine = daemon_engine(&vhd);
	must(prlimit(engine, RLIMIT_FSIZE, NULL, &limit) == 0);
	limit.rlim_cur = RLIM_INFINITY;
	must(prlimit(engine, RLIMIT_FSIZE, &limit, NULL) == 0);
	while (!file_has(path, "lines could not be written") && deadline_left(deadline))
		e2e_check_alive();
	ck_assert(file_has(path, "lines could not be written"));
}
END_TEST

static void close_streams(void)
{
	for (int fd = 0; fd <= 2; fd++)
		if (which & 1u << fd)
			close(fd);
}

/* Else a guest's socket would be what the log is written to. */
START_TEST(closed_streams_become_the_null_device)
{
	/* Whose descriptors are in the sandbox, only root may see. */
	static const char *const loud[] = { "--log-level=trace", "--sandbox=off", NULL };
	char link[64], to[64];

	which = (unsigned)_i;
	vhd.prepare = close_streams;
	e2e_start(loud, NULL);
	for (int fd = 0; fd <= 2; fd++) {
		ssize_t n;

		if (!(which & 1u << fd))
			continue;
		snprintf(link, sizeof link, "/proc/%d/fd/%d", (int)vhd.pid, fd);
		n = readlink(link, to, sizeof to - 1);
		must(n > 0);
		to[n] = '\0';
		ck_assert_str_eq(to, "/dev/null");
	}
	e2e_check_alive();
}
END_TEST

/* What nobody could read was not said. */
START_TEST(closed_output_fails_help)
{
	static const char *const help[] = { "--help", NULL };

	which = 2;
	vhd.prepare = close_streams;
	daemon_spawn(&vhd, help);
	ck_assert_int_eq(daemon_wait_exit(&vhd, DEADLINE_MS), 1);
}
END_TEST

static void leave_the_folder(void)
{
	must(mkdir("gone", 0700) == 0 && chdir("gone") == 0 && rmdir("../gone") == 0);
}

static void enter_own_folder(void)
{
	must(chdir(vhd.dir) == 0);
	leave_the_folder();
}

/* It may do with less where the kernel grants no more; but a folder that is gone is none. */
static bool sandbox_lacks_a_file(void)
{
	char *log = daemon_log(&vhd), *rest = log, *line;
	bool lacks = false;

	while ((line = strsep(&rest, "\n")))
		lacks |= strstr(line, "sandbox: ") && strstr(line, strerror(ENOENT));
	free(log);
	return lacks;
}

/* Absolute paths do not begin there; a VM with a relative one cannot be had. */
START_TEST(gone_working_directory)
{
	char absolute[384];
	const char *const args[] = {
		"--vm", absolute, _i ? "--vm" : NULL, "guest-cid=4,socket=s4,uds-path=u4", NULL,
	};

	vhd.prepare = enter_own_folder;
	snprintf(absolute, sizeof absolute, "socket=%s,uds-path=%s", vhd.socket, vhd.uds);
	daemon_spawn(&vhd, args);
	ck_assert(daemon_wait_listening(&vhd, vhd.socket));
	driver_up(&vm, vhd.socket, NULL);
	e2e_check_alive();
	ck_assert_int_eq(daemon_has_logged(&vhd, "vm 4 is left out"), _i);
	ck_assert(!sandbox_lacks_a_file());
	ck_assert_int_eq(daemon_stop(&vhd, DEADLINE_MS), 0);
	ck_assert_int_ne(access(vhd.uds, F_OK), 0);
}
END_TEST

/* ---- the umask ---- */

static const struct {
	mode_t umask;
	const char *option, *value;
	mode_t socket, uds;
} umask_cases[] = {
	{ 0022, NULL, NULL, 0600, 0600 },
	{ 0002, NULL, NULL, 0660, 0660 },
	{ 0000, NULL, NULL, 0666, 0666 },
	{ 0000, "--socket-mode", "0600", 0600, 0600 },
	{ 0000, "--uds-mode", "0640", 0666, 0640 },
};

static void set_umask(void)
{
	umask(umask_cases[which].umask);
}

/* Who had opened the original's sockets by `umask 000` has opened these; and only
 * them: a log file is nobody else's. */
START_TEST(umask_opens_sockets)
{
	char path[128];
	const char *const options[] = {
		"--log-file", path, umask_cases[_i].option, umask_cases[_i].value, NULL,
	};
	struct stat st;

	which = (unsigned)_i;
	vhd.prepare = set_umask;
	snprintf(path, sizeof path, "%s/own.log", vhd.dir);
	e2e_start(options, NULL);
	ck_assert(stat(vhd.socket, &st) == 0);
	ck_assert_uint_eq(st.st_mode & 07777, umask_cases[_i].socket);
	ck_assert(stat(vhd.uds, &st) == 0);
	ck_assert_uint_eq(st.st_mode & 07777, umask_cases[_i].uds);
	ck_assert(stat(path, &st) == 0);
	ck_assert_uint_eq(st.st_mode & 07777, 0600);
	e2e_check_alive();
}
END_TEST

int main(void)
{
	Suite *s = suite_create("launch");
	TCase *tc = e2e_case(s, "signals", e2e_setup_bare, 60);

	tcase_add_loop_test(tc, ignored_signals_stay_ignored, 1, 7);
	tcase_add_test(tc, blocked_signals_are_unblocked);
	tcase_add_test(tc, blocked_signals_do_what_they_do);
	tcase_add_test(tc, no_pending_signals);
	tc = e2e_case(s, "SIGBUS", e2e_setup_bare, 60);
	tcase_add_test(tc, foreign_sigbus_ends_the_process);
	tc = e2e_case(s, "process 1", e2e_setup_bare, 60);
	tcase_add_test(tc, foreign_sigbus_as_process_1);
	tc = e2e_case(s, "files", e2e_setup_bare, 60);
	tcase_add_test(tc, file_size_limit_loses_lines);
	tcase_add_loop_test(tc, closed_streams_become_the_null_device, 1, 8);
	tcase_add_test(tc, closed_output_fails_help);
	tcase_add_loop_test(tc, gone_working_directory, 0, 2);
	tc = e2e_case(s, "umask", e2e_setup_bare, 60);
	tcase_add_loop_test(tc, umask_opens_sockets, 0, COUNT(umask_cases));
	return e2e_run(s);
}
