/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The sandbox: what the kernel says about the daemon in it, what becomes of it
 * where the kernel lacks a piece, and as whom the daemon runs.
 */
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "e2e/confined.h"
#include "support/sanitized.h"

enum { NOBODY = 65534 };

static const char *const off[] = { "--sandbox=off", NULL };
static const char *const strict[] = { "--sandbox=on,strict", NULL };

static bool is_root(void)
{
	return geteuid() == 0;
}

/* ---- what the kernel says ---- */

static void check_confined(const char *task)
{
	static const char *const sets[] = { "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb" };

	ck_assert_str_eq(confined_status(task, "NoNewPrivs"), "1");
	ck_assert_str_eq(confined_status(task, "Seccomp"), "2");
	for (size_t i = 0; i < COUNT(sets); i++)
		ck_assert_str_eq(confined_status(task, sets[i]), "0000000000000000");
}

static void check_free(const char *task)
{
	ck_assert_str_eq(confined_status(task, "NoNewPrivs"), "0");
	ck_assert_str_eq(confined_status(task, "Seccomp"), "0");
}

START_TEST(is_on_by_default)
{
	ck_assert_uint_eq(confined_for_each_thread(check_confined), 2);
	ck_assert_str_eq(confined_status(NULL, "Umask"), "0077");
	ck_assert(confined_sees(vhd.uds));
	ck_assert(!confined_sees("/etc"));
	ck_assert(IS_SANITIZED || !confined_sees("/proc"));
	e2e_check_alive();
	confined_check_log_is_empty();
}
END_TEST

static ino_t network_of(const char *pid)
{
	char path[64];
	struct stat st;

	snprintf(path, sizeof path, "/proc/%s/ns/net", pid);
	must(stat(path, &st) == 0);
	return st.st_ino;
}

/* What cuttlefish, ss and lsof look at: a listener by its path, as it was bound. */
static bool is_listed(const char *path)
{
	unsigned long flags = 0;
	char line[512], *name;
	bool found = false;
	FILE *f = fopen("/proc/net/unix", "re");

	must(f);
	while (!found && fgets(line, sizeof line, f)) {
		line[strcspn(line, "\n")] = '\0';
		name = strchr(line, '/');
		found = name && strncmp(name, path, strlen(path)) == 0 &&
			sscanf(line, "%*s %*s %*s %lx", &flags) == 1 && flags & 0x10000;
	}
	fclose(f);
	return found;
}

/* It has no network, and its sockets are where they were. */
START_TEST(network_of_its_own)
{
	char pid[16];

	snprintf(pid, sizeof pid, "%d", (int)vhd.pid);
	if (is_root())
		ck_assert_uint_ne(network_of(pid), network_of("self"));
	ck_assert(is_listed(vhd.socket));
	ck_assert(is_listed(vhd.uds));
	e2e_check_alive();
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
	/* Without a namespace of the network either, an old landlock lets more through. */
	int n_lines = c->call == SYS_unshare && confined_landlock_abi() < 6 ? 2 : 1;
	char line[256], *log;

	confined_take_away(c->call, c->error);
	e2e_start(NULL, NULL);
	e2e_check_alive();
	if (!c->warning) {
		confined_check_log_is_empty();
		return;
	}
	snprintf(line, sizeof line, " warn sandbox: %s\n", c->warning);
	confined_check_log(line);
	log = daemon_log(&vhd);
	for (const char *at = log; (at = strchr(at, '\n')); at++)
		n_lines--;
	ck_assert_msg(n_lines == 0, "another number of lines: %s", log);
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

/* ---- where it was started ---- */

static void leave_no_folder(void)
{
	must(chdir(vhd.dir) == 0 && mkdir("gone", 0700) == 0 && chdir("gone") == 0);
	must(rmdir("../gone") == 0);
}

/* Half a file tree is taken back, though there is no name to go back to. */
START_TEST(lack_without_a_working_directory)
{
	confined_take_away(SYS_move_mount, EPERM);
	vhd.prepare = leave_no_folder;
	e2e_start(NULL, NULL);
	e2e_check_alive();
	confined_check_log("connects are not confined to the folders of the sockets");
	ck_assert_int_eq(daemon_stop(&vhd, DEADLINE_MS), 0);
	ck_assert_int_ne(access(vhd.uds, F_OK), 0);
}
END_TEST

/* ---- users ---- */

/* A daemon that is not dumpable belongs to root in /proc. */
static uid_t owner_in_proc(void)
{
	char path[64];
	struct stat st;

	snprintf(path, sizeof path, "/proc/%d/environ", (int)vhd.pid);
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

/* _i: with the sandbox or not; the names of the sockets can be removed or not. */
START_TEST(user_option)
{
	bool may_remove = _i & 2;
	struct stat st;

	if (!is_root())
		return;
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
		ck_assert_int_eq(access(vhd.uds, F_OK), may_remove ? -1 : 0);
	}
}
END_TEST

/* The daemon as somebody who is not root. */
static bool spawn_unprivileged(const char *const *args)
{
	if (!is_root())
		return false;
	share_folder(NOBODY);
	must(setresgid(NOBODY, NOBODY, 0) == 0 && setresuid(NOBODY, NOBODY, 0) == 0);
	if (access(getenv("VHOST_DEVICE_VSOCK"), X_OK) == 0)
		daemon_spawn(&vhd, args);
	must(setresuid(0, 0, 0) == 0 && setresgid(0, 0, 0) == 0);
	return vhd.pid;
}

/* May anybody make a user namespace here? */
static bool has_user_namespaces(void)
{
	int status_of_child;
	pid_t pid = fork();

	must(pid >= 0);
	if (pid == 0)
		_exit(setresuid(NOBODY, NOBODY, NOBODY) < 0 || unshare(CLONE_NEWUSER | CLONE_NEWNS) < 0);
	must(waitpid(pid, &status_of_child, 0) == pid);
	return status_of_child == 0;
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
	if (!spawn_unprivileged(args))
		return;
	must(daemon_wait_listening(&vhd, vhd.uds));
	driver_up(&vm, vhd.socket, NULL);
	e2e_check_alive();
	ck_assert_str_eq(confined_status(NULL, "NoNewPrivs"), "1");
	ck_assert_str_eq(confined_status(NULL, "Seccomp"), "2");
	ck_assert_str_eq(confined_status(NULL, "Uid"), "65534\t65534\t65534\t65534");
	if (!_i && has_user_namespaces()) {
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

	if (!spawn_unprivileged(args))
		return;
	ck_assert_int_eq(daemon_wait_exit(&vhd, DEADLINE_MS), 1);
	confined_check_log("error sandbox: --user and --group: only root may become somebody else\n");
	ck_assert_int_ne(access(vhd.uds, F_OK), 0);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("sandbox");
	TCase *vmcase = e2e_case(s, "vm", e2e_setup_vm, 60);
	TCase *bare = e2e_case(s, "bare", e2e_setup_bare, 60);

	setenv("TEST_SANDBOX", "", 1);		/* here it is what it is by default */
	tcase_add_test(vmcase, is_on_by_default);
	tcase_add_test(vmcase, network_of_its_own);
	tcase_add_test(bare, strict_finds_all_here);
	tcase_add_test(bare, can_be_off);
	tcase_add_test(bare, folders_as_they_are_spelled);
	tcase_add_loop_test(bare, lack_is_one_warning, 0, COUNT(lacks));
	tcase_add_loop_test(bare, lack_is_an_error_if_strict, 0, COUNT(lacks));
	tcase_add_test(bare, lack_without_a_working_directory);
	tcase_add_loop_test(bare, user_option, 0, 4);
	tcase_add_loop_test(bare, works_for_others_than_root, 0, 2);
	tcase_add_loop_test(bare, only_root_becomes_another, 0, 2);
	return e2e_run(s);
}
