/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The sandbox: what the kernel says about the daemon, what an intruder in it can
 * do, and what becomes of it where the kernel lacks a piece.
 */
#include <dirent.h>
#include <fcntl.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "e2e/e2e.h"
#include "e2e/intruder.h"

enum { NOBODY = 65534 };

#define COUNT(array) (sizeof (array) / sizeof *(array))

static const char *const off[] = { "--sandbox=off", NULL };
static const char *const only_log[] = { "--sandbox=log", NULL };
static const char *const strict[] = { "--sandbox=on,strict", NULL };

/* ---- what the kernel says ---- */

/* Line @key of @task's status, behind the blanks. */
static const char *status(const char *task, const char *key)
{
	static char line[256];
	char path[64];
	FILE *f;

	snprintf(path, sizeof path, "/proc/%d/task/%s/status", (int)vhd.pid, task);
	f = fopen(path, "re");
	must(f);
	while (fgets(line, sizeof line, f)) {
		size_t len = strlen(key);

		if (strncmp(line, key, len) == 0 && line[len] == ':') {
			fclose(f);
			line[strcspn(line, "\n")] = '\0';
			return line + len + 1 + strspn(line + len + 1, " \t");
		}
	}
	fclose(f);
	die("no %s", key);
}

static const char *status_of_main(const char *key)
{
	char task[16];

	snprintf(task, sizeof task, "%d", (int)vhd.pid);
	return status(task, key);
}

/* Each thread that is ours: a sanitizer's own was there before the sandbox. */
static unsigned for_each_thread(void (*check)(const char *task))
{
	char path[64];
	struct dirent *e;
	unsigned n = 0;
	DIR *dir;

	snprintf(path, sizeof path, "/proc/%d/task", (int)vhd.pid);
	dir = opendir(path);
	must(dir);
	while ((e = readdir(dir))) {
		if (e->d_name[0] == '.' || (atoi(e->d_name) != vhd.pid &&
					    strcmp(status(e->d_name, "Name"), "worker") != 0))
			continue;
		check(e->d_name);
		n++;
	}
	closedir(dir);
	return n;
}

static void check_confined(const char *task)
{
	static const char *const sets[] = { "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb" };

	ck_assert_str_eq(status(task, "NoNewPrivs"), "1");
	ck_assert_str_eq(status(task, "Seccomp"), "2");
	for (size_t i = 0; i < COUNT(sets); i++)
		ck_assert_str_eq(status(task, sets[i]), "0000000000000000");
}

static void check_free(const char *task)
{
	ck_assert_str_eq(status(task, "NoNewPrivs"), "0");
	ck_assert_str_eq(status(task, "Seccomp"), "0");
}

/* Is @path, absolute, there for the daemon? */
static bool daemon_sees(const char *path)
{
	char through[256];
	struct stat st;

	snprintf(through, sizeof through, "/proc/%d/root%s", (int)vhd.pid, path);
	return lstat(through, &st) == 0;
}

/* A daemon that is not dumpable belongs to root in /proc. */
static uid_t owner_in_proc(void)
{
	char path[64];
	struct stat st;

	snprintf(path, sizeof path, "/proc/%d/environ", (int)vhd.pid);
	must(stat(path, &st) == 0);
	return st.st_uid;
}

static void check_log(const char *text)
{
	char *log = daemon_log(&vhd);

	ck_assert_msg(strstr(log, text), "no \"%s\" in: %s", text, log);
	free(log);
}

static void check_log_is_empty(void)
{
	char *log = daemon_log(&vhd);

	ck_assert_str_eq(log, "");
	free(log);
}

START_TEST(is_on_by_default)
{
	ck_assert_uint_eq(for_each_thread(check_confined), 2);
	ck_assert_str_eq(status_of_main("Umask"), "0077");
	ck_assert(daemon_sees(vhd.uds));
	ck_assert(!daemon_sees("/etc"));
	ck_assert(E2E_IS_SANITIZED || !daemon_sees("/proc"));
	e2e_check_alive();
	check_log_is_empty();
}
END_TEST

START_TEST(strict_finds_all_here)
{
	e2e_start(strict, NULL);
	for_each_thread(check_confined);
	e2e_check_alive();
}
END_TEST

START_TEST(can_be_off)
{
	e2e_start(off, NULL);
	for_each_thread(check_free);
	ck_assert(daemon_sees("/etc"));
	e2e_check_alive();
	check_log_is_empty();
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
	check_log_is_empty();
	ck_assert_int_eq(daemon_stop(&vhd, DEADLINE_MS), 0);
	ck_assert_int_ne(access(vhd.socket, F_OK), 0);
	ck_assert_int_ne(access(vhd.uds, F_OK), 0);
	must(chdir(cwd) == 0);
}
END_TEST

/* ---- an intruder ---- */

/* A folder with a socket that somebody listens on, out of the daemon's way. */
static struct daemon outside;

static void start_with_intruder(const char *const *extra)
{
	const char *library = getenv("INTRUDER"), *asan = getenv("ASAN_OPTIONS");
	char options[256];

	if (!library)
		die("INTRUDER does not name the library");
	snprintf(options, sizeof options, "%s:verify_asan_link_order=0", asan ? asan : "");
	setenv("ASAN_OPTIONS", options, 1);
	setenv("LD_PRELOAD", library, 1);
	e2e_start(extra, NULL);
	unsetenv("LD_PRELOAD");
}

/* The errno that the act ended with, or -1: no answer. */
static int order(const char *act)
{
	int fd = host_connect(vhd.uds), result = -1;
	char line[300];

	must(fd >= 0);
	snprintf(line, sizeof line, INTRUDER_ORDER "%s\n", act);
	must(host_write(fd, line, strlen(line)));
	if (host_read_line(fd, line, sizeof line))
		result = atoi(line);
	close(fd);
	return result;
}

/* @act with a folder in the place of %s. */
static int order_at(const char *act, const char *folder)
{
	const char *at = strstr(act, "%s");
	char text[256];

	snprintf(text, sizeof text, "%.*s%s%s", at ? (int)(at - act) : (int)strlen(act), act,
		 at ? folder : "", at ? at + 2 : "");
	return order(text);
}

/* In all of them the daemon stays as it is. @logs: the call it names, or NULL. */
static const struct survived {
	const char *act;
	int result;
	const char *logs;
	bool sanitizer_may;
} survived[] = {
	{ "open /etc/shadow", EPERM, " of /etc/shadow refused", true },
	{ "open %s/log", EPERM, "system call openat (", true },
	{ "create %s/new", EPERM, "refused", true },
	{ "clone3", ENOSYS, NULL, false },
	{ "dumpable", EPERM, "system call prctl (", true },
	{ "kill self", 0, NULL, false },
	{ "mmap write", 0, NULL, false },
	{ "mprotect read", 0, NULL, false },
	{ "socket unix", 0, NULL, false },
	{ "thread", 0, NULL, false },
	{ "connect %s/none", ENOENT, NULL, false },
	{ "connect @abstract", EPERM, NULL, false },
	{ "connect /dev/log", ENOENT, NULL, false },
	{ "unlink /etc/passwd", ENOENT, NULL, false },
};

START_TEST(intruder_is_refused)
{
	const struct survived *c = &survived[_i];
	struct sockaddr_un at = { .sun_family = AF_UNIX, .sun_path = "\0abstract" };
	int abstract = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (E2E_IS_SANITIZED && c->sanitizer_may)
		return;
	must(bind(abstract, (struct sockaddr *)&at, offsetof(struct sockaddr_un, sun_path) + 9) == 0);
	must(listen(abstract, 1) == 0);
	start_with_intruder(NULL);
	ck_assert_int_eq(order_at(c->act, vhd.dir), c->result);
	if (c->logs)
		check_log(c->logs);
	else
		check_log_is_empty();
	e2e_check_alive();
	close(abstract);
}
END_TEST

/* These, only somebody who has taken over the process would try. */
static const struct fatal {
	const char *act, *call;
	bool sanitizer_may;
} fatal[] = {
	{ "execve /bin/true", "execve", false },
	{ "fork", "clone", true },
	{ "socket inet", "socket", false },
	{ "socket netlink", "socket", false },
	{ "socket packet", "socket", false },
	{ "socket vsock", "socket", false },
	{ "bind %s/new", "bind", false },
	{ "rename %s/log", "rename", false },
	{ "chmod %s/log", "chmod", false },
	{ "kill init", "kill", true },
	{ "ptrace", "ptrace", true },
	{ "mmap exec", "mmap", false },
	{ "mprotect exec", "mprotect", false },
	{ "mount %s", "mount", false },
	{ "unshare", "unshare", false },
	{ "chroot %s", "chroot", false },
	{ "setuid", "setuid", false },
};

START_TEST(intruder_is_named_and_ends)
{
	const struct fatal *c = &fatal[_i];
	char line[128];

	if (E2E_IS_SANITIZED && c->sanitizer_may)
		return;
	start_with_intruder(NULL);
	ck_assert_int_eq(order_at(c->act, vhd.dir), -1);
	ck_assert_int_eq(daemon_wait_exit(&vhd, DEADLINE_MS), -SIGSYS);
	snprintf(line, sizeof line, "error sandbox: system call %s (", c->call);
	check_log(line);
	check_log(") is not one of ours: the daemon ends\n");
}
END_TEST

/* _i: with and without the sandbox, so that it is seen to make the difference. */
START_TEST(intruder_connects_only_within)
{
	int within, without;

	daemon_init(&outside);
	within = host_listen(vhd.uds, PORT, 16);
	without = host_listen(outside.uds, PORT, 16);
	start_with_intruder(_i ? NULL : off);
	ck_assert_int_eq(order_at("connect %s/vm.sock_1234", vhd.dir), 0);
	ck_assert_int_eq(order_at("connect %s/vm.sock_1234", outside.dir), _i ? ENOENT : 0);
	host_unlisten(within, vhd.uds, PORT);
	host_unlisten(without, outside.uds, PORT);
	daemon_deinit(&outside);
}
END_TEST

START_TEST(log_mode_names_and_lets_go_on)
{
	start_with_intruder(only_log);
	ck_assert_int_eq(order("socket inet"), 0);
	ck_assert_int_eq(order("execve /none"), ENOENT);
	check_log("would refuse system call execve (");
	check_log("would refuse system call socket (");
	e2e_check_alive();
}
END_TEST

/* ---- kernels that lack something ---- */

/* From here on @call fails, in this process and its children. */
static void take_away(int call, int error)
{
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);

	must(filter);
	must(seccomp_rule_add(filter, SCMP_ACT_ERRNO((unsigned)error), call, 0) == 0);
	if (call == SYS_seccomp)		/* has an older name too */
		must(seccomp_rule_add(filter, SCMP_ACT_ERRNO((unsigned)error), SYS_prctl, 1,
				      SCMP_A0(SCMP_CMP_EQ, PR_SET_SECCOMP)) == 0);
	must(seccomp_load(filter) == 0);
	seccomp_release(filter);
}

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

	take_away(c->call, c->error);
	e2e_start(NULL, NULL);
	e2e_check_alive();
	if (!c->warning) {
		check_log_is_empty();
		return;
	}
	snprintf(line, sizeof line, " warn sandbox: %s\n", c->warning);
	check_log(line);
	log = daemon_log(&vhd);
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
	take_away(c->call, c->error);
	daemon_spawn(&vhd, args);
	ck_assert_int_eq(daemon_wait_exit(&vhd, DEADLINE_MS), 1);
	snprintf(line, sizeof line, " error sandbox: %s (--sandbox=on,strict)\n", c->warning);
	check_log(line);
	ck_assert_int_ne(access(vhd.socket, F_OK), 0);
}
END_TEST

/* ---- users ---- */

static const char *const as_nobody[] = { "--user", "65534", "--group", "65534", NULL };
static const char *const as_nobody_off[] = {
	"--user", "65534", "--group", "65534", "--sandbox=off", NULL,
};

static bool is_root(void)
{
	return geteuid() == 0;
}

/* What the test makes is for everybody, for the sake of whom the daemon becomes. */
static void share_folder(uid_t owner)
{
	umask(0);
	must(chmod(getenv("TMPDIR"), 0755) == 0);	/* e2e_run()'s, around it */
	must(chown(vhd.dir, owner, owner) == 0 && chmod(vhd.dir, 0755) == 0);
}

static void check_is_nobody(const char *task)
{
	ck_assert_str_eq(status(task, "Uid"), "65534\t65534\t65534\t65534");
	ck_assert_str_eq(status(task, "Gid"), "65534\t65534\t65534\t65534");
	ck_assert_str_eq(status(task, "Groups"), "");
	ck_assert_str_eq(status(task, "CapEff"), "0000000000000000");
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
		for_each_thread(check_is_nobody);
		ck_assert(stat(vhd.uds, &st) == 0 && st.st_uid == NOBODY && st.st_gid == NOBODY);
		ck_assert(stat(vhd.socket, &st) == 0 && st.st_uid == NOBODY);
		e2e_check_alive();
		check_log_is_empty();
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

/* _i: also when it says who it is. */
START_TEST(works_for_others_than_root)
{
	const char *args[] = {
		"--socket", vhd.socket, "--uds-path", vhd.uds,
		_i ? "--user" : NULL, "65534", "--group", "65534", NULL,
	};

	if (!spawn_unprivileged(args))
		return;
	must(daemon_wait_listening(&vhd, vhd.uds));
	driver_up(&vm, vhd.socket, NULL);
	e2e_check_alive();
	ck_assert_str_eq(status_of_main("NoNewPrivs"), "1");
	ck_assert_str_eq(status_of_main("Seccomp"), "2");
	ck_assert_str_eq(status_of_main("Uid"), "65534\t65534\t65534\t65534");
	if (!_i && has_user_namespaces()) {
		ck_assert(!daemon_sees("/etc"));
		check_log_is_empty();
	}
	if (!E2E_IS_SANITIZED)
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
	check_log("error sandbox: --user and --group: only root may become somebody else\n");
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
	tcase_add_test(bare, strict_finds_all_here);
	tcase_add_test(bare, can_be_off);
	tcase_add_test(bare, folders_as_they_are_spelled);
	tcase_add_loop_test(bare, intruder_is_refused, 0, COUNT(survived));
	tcase_add_loop_test(bare, intruder_is_named_and_ends, 0, COUNT(fatal));
	tcase_add_loop_test(bare, intruder_connects_only_within, 0, 2);
	tcase_add_test(bare, log_mode_names_and_lets_go_on);
	tcase_add_loop_test(bare, lack_is_one_warning, 0, COUNT(lacks));
	tcase_add_loop_test(bare, lack_is_an_error_if_strict, 0, COUNT(lacks));
	tcase_add_loop_test(bare, user_option, 0, 4);
	tcase_add_loop_test(bare, works_for_others_than_root, 0, 2);
	tcase_add_loop_test(bare, only_root_becomes_another, 0, 2);
	return e2e_run(s);
}
