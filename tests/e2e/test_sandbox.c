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

#include <linux/capability.h>

#include "e2e/confined.h"
#include "support/sanitized.h"

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

/* No more than we are: a container has its own confinement. */
static void check_free(const char *task)
{
	ck_assert_int_eq(atoi(confined_status(task, "NoNewPrivs")),
			 prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0));
	ck_assert_int_eq(atoi(confined_status(task, "Seccomp")), prctl(PR_GET_SECCOMP));
}

START_TEST(is_on_by_default)
{
	int64_t deadline = deadline_in(DEADLINE_MS);

	/* A thread that the worker has just started still has its name. */
	while (confined_for_each_thread(check_confined) != 2)
		ck_assert(deadline_left(deadline));
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

	snprintf(pid, sizeof pid, "%d", (int)daemon_engine(&vhd));
	if (is_root())
		ck_assert_uint_ne(network_of(pid), network_of("self"));
	ck_assert(is_listed(vhd.socket));
	ck_assert(is_listed(vhd.uds));
	e2e_check_alive();
}
END_TEST

/* What it needs of what we have: to bind, remove and connect in folders of others, and to start
 * an engine. See sandbox_rights.c. */
static void check_supervisor(const char *task)
{
	static const int kept[] = {
		CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_FOWNER, CAP_KILL, CAP_SETGID,
		CAP_SETUID, CAP_SETPCAP, CAP_NET_BIND_SERVICE, CAP_SYS_CHROOT, CAP_SYS_ADMIN,
	};
	static const char *const sets[] = { "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb" };
	uint64_t may = 0;

	for (size_t i = 0; i < COUNT(kept); i++)
		may |= UINT64_C(1) << kept[i];
	ck_assert_str_eq(confined_status_of(vhd.pid, task, "NoNewPrivs"), "1");
	for (size_t i = 0; i < COUNT(sets); i++) {
		uint64_t ours = strtoull(confined_status_of(getpid(), NULL, sets[i]), NULL, 16);
		uint64_t its = strtoull(confined_status_of(vhd.pid, task, sets[i]), NULL, 16);

		/* Who may not narrow the bounding set has nothing that it would bound. */
		if (is_root())
			ck_assert_uint_eq(its, ours & may);
		else if (strcmp(sets[i], "CapBnd") != 0)
			ck_assert_uint_eq(its & ~may, 0);
	}
}

START_TEST(supervisor_keeps_little)
{
	static const char *const supervised[] = { "--supervise=on", NULL };

	e2e_start(supervised, NULL);
	ck_assert_uint_eq(confined_for_each_thread_of(vhd.pid, "log", check_supervisor), 2);
	confined_for_each_thread(check_confined);
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

/* What the supervisor lacks, too, and warns of before. NULL: nothing, or there is none. */
static const char *warning_of_supervisor(const struct lack *c)
{
	return vhd.is_supervised && is_root() && c->call == SYS_capset ?
		"the supervisor keeps capabilities: Operation not permitted" : NULL;
}

START_TEST(lack_is_one_warning_of_each_process)
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
	if (warning_of_supervisor(c)) {
		snprintf(line, sizeof line, " warn sandbox: %s\n", warning_of_supervisor(c));
		confined_check_log(line);
		n_lines++;
	}
	log = confined_log();
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
	char line[256], *log;

	if (!c->warning)
		return;
	confined_take_away(c->call, c->error);
	daemon_spawn(&vhd, args);
	ck_assert_int_eq(daemon_wait_exit(&vhd, DEADLINE_MS), 1);
	snprintf(line, sizeof line, " error sandbox: %s (--sandbox=on,strict)\n",
		 warning_of_supervisor(c) ? warning_of_supervisor(c) : c->warning);
	confined_check_log(line);
	log = daemon_log(&vhd);			/* once: nobody tries again */
	ck_assert_ptr_null(strstr(strstr(log, line) + 1, line));
	free(log);
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
	tcase_add_test(vmcase, network_of_its_own);
	tcase_add_test(bare, supervisor_keeps_little);
	tcase_add_test(bare, strict_finds_all_here);
	tcase_add_test(bare, can_be_off);
	tcase_add_test(bare, folders_as_they_are_spelled);
	tcase_add_loop_test(bare, lack_is_one_warning_of_each_process, 0, COUNT(lacks));
	tcase_add_loop_test(bare, lack_is_an_error_if_strict, 0, COUNT(lacks));
	tcase_add_test(bare, lack_without_a_working_directory);
	tcase_add_loop_test(bare, lack_is_told, 0, COUNT(lacks));
	return e2e_run(s);
}
