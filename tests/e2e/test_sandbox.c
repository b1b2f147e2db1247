/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The sandbox: what the kernel says about the daemon in it, and what becomes of it
 * where the kernel lacks a piece. Skipped where it lacks one already.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "e2e/confined.h"
#include "support/sanitized.h"

static const char *const off[] = { "--sandbox=off", NULL };
static const char *const strict[] = { "--sandbox=on,strict", NULL };

/* ---- what the kernel says ---- */

static void check_confined(const char *task)
{
	static const char *const sets[] = { "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb" };

	ck_assert_str_eq(confined_status(task, "NoNewPrivs"), "1");
	ck_assert_str_eq(confined_status(task, "Seccomp"), "2");
	for (size_t i = 0; i < COUNT(sets); i++)
		ck_assert_str_eq(confined_status(task, sets[i]), "0000000000000000");
}

/* No more than we are: a container has its own confinement. */
static void check_free(const char *task)
{
	ck_assert_int_eq(atoi(confined_status(task, "NoNewPrivs")),
			 prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0));
	ck_assert_int_eq(atoi(confined_status(task, "Seccomp")), prctl(PR_GET_SECCOMP));
}

START_TEST(is_on_by_default)
{
	ck_assert_uint_eq(confined_for_each_thread(check_confined), 2);
	ck_assert_str_eq(confined_status(NULL, "Umask"), "0077");
	if (confined_can_look()) {		/* test_intruder.c looks from inside */
		ck_assert(confined_sees(vhd.uds));
		ck_assert(!confined_sees("/etc"));
		ck_assert(IS_SANITIZED || !confined_sees("/proc"));
	}
	e2e_check_alive();
	confined_check_log_is_empty();
}
END_TEST

START_TEST(strict_finds_all_here)
{
	e2e_start(strict, NULL);
	confined_for_each_thread(check_confined);
	e2e_check_alive();
}
END_TEST

START_TEST(can_be_off)
{
	e2e_start(off, NULL);
	confined_for_each_thread(check_free);
	ck_assert(confined_sees("/etc"));
	e2e_check_alive();
	confined_check_log_is_empty();
}
END_TEST

/* Sockets as the user spells them: relative, by a link, in several folders. */
START_TEST(folders_as_they_are_spelled)
{
	char real[96], by_link[96], cwd[128];
	const char *args[] = { "--socket", "inner/../vhost.sock", "--uds-path", by_link, NULL };

	must(getcwd(cwd, sizeof cwd));
	snprintf(real, sizeof real, "%s/inner", vhd.dir);
	must(mkdir(real, 0700) == 0 && chdir(vhd.dir) == 0 && symlink("inner", "link") == 0);
	snprintf(by_link, sizeof by_link, "%s//link/vm.sock", vhd.dir);
	daemon_spawn(&vhd, args);
	snprintf(vhd.uds, sizeof vhd.uds, "%.64s/inner/vm.sock", vhd.dir);
	must(daemon_wait_listening(&vhd, vhd.socket) && daemon_wait_listening(&vhd, vhd.uds));
	driver_up(&vm, vhd.socket, NULL);
	e2e_check_alive();
	confined_check_log_is_empty();
	ck_assert_int_eq(daemon_stop(&vhd, DEADLINE_MS), 0);
	ck_assert_int_ne(access(vhd.socket, F_OK), 0);
	ck_assert_int_ne(access(vhd.uds, F_OK), 0);
	must(chdir(cwd) == 0);
}
END_TEST

/* ---- kernels that lack something ---- */

static const struct lack {
	const char *name;
	int call, error;
	const char *warning;			/* NULL: there is another way */
} lacks[] = {
	{ "no landlock", SYS_landlock_create_ruleset, ENOSYS,
	  "files are not confined by landlock: Function not implemented" },
	{ "landlock is off", SYS_landlock_create_ruleset, EOPNOTSUPP,
	  "files are not confined by landlock: Operation not supported" },
	{ "no namespaces", SYS_unshare, EINVAL,
	  "connects are not confined to the folders of the sockets: Invalid argument" },
	{ "a container without namespaces", SYS_unshare, EPERM,
	  "connects are not confined to the folders of the sockets: Operation not permitted" },
	{ "old mount calls only", SYS_open_tree, ENOSYS,
	  "connects are not confined to the folders of the sockets: Function not implemented" },
	{ "half a file tree", SYS_move_mount, EPERM,
	  "connects are not confined to the folders of the sockets: Operation not permitted" },
	{ "initial ramfs as root", SYS_pivot_root, EINVAL, NULL },
	{ "no filters", SYS_seccomp, ENOSYS,
	  "system calls are not filtered: Function not implemented" },
	{ "filters are forbidden", SYS_seccomp, EPERM,
	  "system calls are not filtered: Operation not permitted" },
	{ "capset is forbidden", SYS_capset, EPERM,
	  "capabilities are kept: Operation not permitted" },
};

START_TEST(lack_is_one_warning)
{
	const struct lack *c = &lacks[_i];
	char line[256], *log, *end;

	confined_take_away(c->call, c->error);
	e2e_start(NULL, NULL);
	e2e_check_alive();
	if (!c->warning) {
		confined_check_log_is_empty();
		return;
	}
	snprintf(line, sizeof line, " warn sandbox: %s\n", c->warning);
	confined_check_log(line);
	log = confined_log();
	end = strchr(log, '\n');
	ck_assert_msg(end && !end[1], "more than one line: %s", log);
	free(log);
	ck_assert_int_eq(daemon_stop(&vhd, DEADLINE_MS), 0);
	ck_assert_int_ne(access(vhd.uds, F_OK), 0);	/* still found, and removed */
}
END_TEST

START_TEST(lack_is_an_error_if_strict)
{
	const char *args[] = {
		"--socket", vhd.socket, "--uds-path", vhd.uds, "--sandbox=on,strict", NULL,
	};
	const struct lack *c = &lacks[_i];
	char line[256];

	if (!c->warning)
		return;
	confined_take_away(c->call, c->error);
	daemon_spawn(&vhd, args);
	ck_assert_int_eq(daemon_wait_exit(&vhd, DEADLINE_MS), 1);
	snprintf(line, sizeof line, " error sandbox: %s (--sandbox=on,strict)\n", c->warning);
	confined_check_log(line);
	ck_assert_int_ne(access(vhd.socket, F_OK), 0);
}
END_TEST

/* What the kernel lacks is noticed before the tests are run that need it. */
START_TEST(lack_is_told)
{
	const struct lack *c = &lacks[_i];
	const char *lack;

	ck_assert_ptr_null(confined_lack());
	confined_take_away(c->call, c->error);
	lack = confined_lack();
	ck_assert_msg(!lack == !c->warning, "%s: %s", c->name, lack ? lack : "nothing lacks");
	ck_assert(!lack || strstr(lack, strerror(c->error)));
}
END_TEST

int main(void)
{
	Suite *s = suite_create("sandbox");
	TCase *vmcase = e2e_case(s, "vm", e2e_setup_vm, 60);
	TCase *bare = e2e_case(s, "bare", e2e_setup_bare, 60);

	confined_skip_without(confined_lack());
	setenv("TEST_SANDBOX", "", 1);		/* here it is what it is by default */
	tcase_add_test(vmcase, is_on_by_default);
	tcase_add_test(bare, strict_finds_all_here);
	tcase_add_test(bare, can_be_off);
	tcase_add_test(bare, folders_as_they_are_spelled);
	tcase_add_loop_test(bare, lack_is_one_warning, 0, COUNT(lacks));
	tcase_add_loop_test(bare, lack_is_an_error_if_strict, 0, COUNT(lacks));
	tcase_add_loop_test(bare, lack_is_told, 0, COUNT(lacks));
	return e2e_run(s);
}
