/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * As whom the daemon runs: root that becomes somebody else, somebody else, and
 * nobody but root becomes another. Skipped unless run by root.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "e2e/confined.h"
#include "support/sanitized.h"

enum { NOBODY = 65534 };

/* A daemon that is not dumpable belongs to root in /proc. */
static uid_t owner_in_proc(void)
{
	char path[64];
	struct stat st;

	snprintf(path, sizeof path, "/proc/%d/environ", (int)daemon_engine(&vhd));
	must(stat(path, &st) == 0);
	return st.st_uid;
}

static const char *const as_nobody[] = { "--user", "65534", "--group", "65534", NULL };
static const char *const as_nobody_off[] = {
	"--user", "65534", "--group", "65534", "--sandbox=off", NULL,
};

/* What the test makes is for everybody, for the sake of whom the daemon becomes. */
static void share_folder(uid_t owner)
{
	umask(0);
	must(chmod(getenv("TMPDIR"), 0755) == 0);	/* e2e_run()'s, around it */
	must(chown(vhd.dir, owner, owner) == 0 && chmod(vhd.dir, 0755) == 0);
}

static void check_is_nobody(const char *task)
{
	ck_assert_str_eq(confined_status(task, "Uid"), "65534\t65534\t65534\t65534");
	ck_assert_str_eq(confined_status(task, "Gid"), "65534\t65534\t65534\t65534");
	ck_assert_str_eq(confined_status(task, "Groups"), "");
	ck_assert_str_eq(confined_status(task, "CapEff"), "0000000000000000");
}

/* _i: with the sandbox or not; the names of the sockets can be removed by whom it becomes, or
 * not: then by a supervisor only. */
START_TEST(user_option)
{
	bool may_remove = _i & 2;
	struct stat st;

	share_folder(may_remove ? NOBODY : 0);
	for (int i = 0; i < 2; i++) {		/* what stays behind is replaced */
		e2e_start(_i & 1 ? as_nobody : as_nobody_off, NULL);
		confined_for_each_thread(check_is_nobody);
		ck_assert(stat(vhd.uds, &st) == 0 && st.st_uid == NOBODY && st.st_gid == NOBODY);
		ck_assert(stat(vhd.socket, &st) == 0 && st.st_uid == NOBODY);
		e2e_check_alive();
		confined_check_log_is_empty();
		driver_deinit(&vm);
		ck_assert_int_eq(daemon_stop(&vhd, DEADLINE_MS), 0);
		ck_assert_int_eq(access(vhd.uds, F_OK), may_remove || vhd.is_supervised ? -1 : 0);
	}
}
END_TEST

/* The daemon as somebody who is not root. */
static void spawn_unprivileged(const char *const *args)
{
	share_folder(NOBODY);
	must(setresgid(NOBODY, NOBODY, 0) == 0 && setresuid(NOBODY, NOBODY, 0) == 0);
	daemon_spawn(&vhd, args);
	must(setresuid(0, 0, 0) == 0 && setresgid(0, 0, 0) == 0);
}

/* What @ask says about whom it is not asked by. */
static bool is_so_for_nobody(bool (*ask)(void))
{
	int status;
	pid_t pid = fork();

	must(pid >= 0);
	if (pid == 0)
		_exit(setresgid(NOBODY, NOBODY, NOBODY) < 0 ||
		      setresuid(NOBODY, NOBODY, NOBODY) < 0 || !ask());
	must(waitpid(pid, &status, 0) == pid);
	return status == 0;
}

static bool lacks_nothing(void)
{
	return !confined_lack();
}

static bool may_run_daemon(void)
{
	return access(getenv("VHOST_DEVICE_VSOCK"), X_OK) == 0;
}

/* Where su and sudo leave one who came from root's home. */
static void enter_closed_folder(void)
{
	char path[96];

	snprintf(path, sizeof path, "%s/closed", vhd.dir);
	must(mkdir(path, 0700) == 0 && chdir(path) == 0);
}

/* _i: also when it says who it is. */
START_TEST(works_for_others_than_root)
{
	const char *args[] = {
		"--socket", vhd.socket, "--uds-path", vhd.uds,
		_i ? "--user" : NULL, "65534", "--group", "65534", NULL,
	};

	enter_closed_folder();
	spawn_unprivileged(args);
	must(daemon_wait_listening(&vhd, vhd.uds));
	driver_up(&vm, vhd.socket, NULL);
	e2e_check_alive();
	ck_assert_str_eq(confined_status(NULL, "NoNewPrivs"), "1");
	ck_assert_str_eq(confined_status(NULL, "Seccomp"), "2");
	ck_assert_str_eq(confined_status(NULL, "Uid"), "65534\t65534\t65534\t65534");
	if (!_i && is_so_for_nobody(lacks_nothing)) {
		ck_assert(!confined_sees("/etc"));
		confined_check_log_is_empty();
	}
	if (!IS_SANITIZED)
		ck_assert_uint_eq(owner_in_proc(), 0);
	ck_assert_int_eq(daemon_stop(&vhd, DEADLINE_MS), 0);
	ck_assert_int_ne(access(vhd.uds, F_OK), 0);
}
END_TEST

START_TEST(only_root_becomes_another)
{
	const char *args[] = {
		"--socket", vhd.socket, "--uds-path", vhd.uds, "--user", "root",
		_i ? "--sandbox=off" : NULL, NULL,
	};

	spawn_unprivileged(args);
	ck_assert_int_eq(daemon_wait_exit(&vhd, DEADLINE_MS), 1);
	confined_check_log("error sandbox: --user and --group: only root may become somebody else\n");
	ck_assert_int_ne(access(vhd.uds, F_OK), 0);
}
END_TEST

/* NULL, or why none of this can be tried. */
static const char *obstacle(void)
{
	const char *lack = confined_lack();

	if (geteuid() != 0)
		return "only root can have the daemon run as others";
	if (!is_so_for_nobody(may_run_daemon))
		return "user 65534 cannot be had, or may not run the daemon here";
	return lack;
}

int main(void)
{
	Suite *s = suite_create("sandbox_users");
	TCase *tc = e2e_case(s, "users", e2e_setup_bare, 60);

	confined_skip_without(obstacle());
	setenv("TEST_SANDBOX", "", 1);		/* it is what it is by default */
	tcase_add_loop_test(tc, user_option, 0, 4);
	tcase_add_loop_test(tc, works_for_others_than_root, 0, 2);
	tcase_add_loop_test(tc, only_root_becomes_another, 0, 2);
	return e2e_run(s);
}
