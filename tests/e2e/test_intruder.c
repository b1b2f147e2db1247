/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The sandbox from inside: what an intruder in the daemon can still do, with all
 * of it and with only a piece.
 */
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include "e2e/confined.h"
#include "support/sanitized.h"
#include "e2e/intruder.h"

static const char *const off[] = { "--sandbox=off", NULL };
static const char *const only_log[] = { "--sandbox=log", NULL };

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

/* Abstract sockets have no names in a file tree: landlock confines them, from ABI 6 on
 * (Linux 6.12). */
enum { ABSTRACT = -2 };

static int result_for_abstract(void)
{
	return syscall(SYS_landlock_create_ruleset, NULL, 0, 1) >= 6 ? EPERM : 0;
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
	{ "connect @abstract", ABSTRACT, NULL, false },
	{ "connect /dev/log", ENOENT, NULL, false },
	{ "unlink /etc/passwd", ENOENT, NULL, false },
};

START_TEST(intruder_is_refused)
{
	const struct survived *c = &survived[_i];
	struct sockaddr_un at = { .sun_family = AF_UNIX, .sun_path = "\0abstract" };
	int abstract = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (IS_SANITIZED && c->sanitizer_may)
		return;
	must(bind(abstract, (struct sockaddr *)&at, offsetof(struct sockaddr_un, sun_path) + 9) == 0);
	must(listen(abstract, 1) == 0);
	start_with_intruder(NULL);
	ck_assert_int_eq(order_at(c->act, vhd.dir),
			 c->result == ABSTRACT ? result_for_abstract() : c->result);
	if (c->logs)
		confined_check_log(c->logs);
	else
		confined_check_log_is_empty();
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

	if (IS_SANITIZED && c->sanitizer_may)
		return;
	start_with_intruder(NULL);
	ck_assert_int_eq(order_at(c->act, vhd.dir), -1);
	ck_assert_int_eq(daemon_wait_exit(&vhd, DEADLINE_MS), -SIGSYS);
	snprintf(line, sizeof line, "error sandbox: system call %s (", c->call);
	confined_check_log(line);
	confined_check_log(") is not one of ours: the daemon ends\n");
}
END_TEST

/* Without the sandbox too, so that it is seen to make the difference; and landlock
 * needs not be there for it. */
static const struct reach {
	const char *const *options;
	int lacks;				/* system call, or -1 */
	int result;
} reaches[] = {
	{ off, -1, 0 },
	{ NULL, -1, ENOENT },
	{ NULL, SYS_landlock_create_ruleset, ENOENT },
};

START_TEST(intruder_connects_only_within)
{
	const struct reach *c = &reaches[_i];
	int within, without;

	if (c->lacks >= 0)
		confined_take_away(c->lacks, ENOSYS);
	daemon_init(&outside);
	within = host_listen(vhd.uds, PORT, 16);
	without = host_listen(outside.uds, PORT, 16);
	start_with_intruder(c->options);
	ck_assert_int_eq(order_at("connect %s/vm.sock_1234", vhd.dir), 0);
	ck_assert_int_eq(order_at("connect %s/vm.sock_1234", outside.dir), c->result);
	host_unlisten(within, vhd.uds, PORT);
	host_unlisten(without, outside.uds, PORT);
	daemon_deinit(&outside);
}
END_TEST

/* Without a file tree of its own it sees names that landlock keeps from it. */
START_TEST(landlock_alone)
{
	int listener;

	daemon_init(&outside);
	listener = host_listen(outside.uds, PORT, 1);
	confined_take_away(SYS_unshare, EPERM);
	start_with_intruder(NULL);
	ck_assert_int_eq(order_at("unlink %s/vm.sock_1234", outside.dir), EACCES);
	ck_assert_int_eq(order_at("unlink %s/log", vhd.dir), 0);
	host_unlisten(listener, outside.uds, PORT);
	daemon_deinit(&outside);
}
END_TEST

START_TEST(log_mode_names_and_lets_go_on)
{
	start_with_intruder(only_log);
	ck_assert_int_eq(order("socket inet"), 0);
	ck_assert_int_eq(order("execve /none"), ENOENT);
	confined_check_log("would refuse system call execve (");
	confined_check_log("would refuse system call socket (");
	e2e_check_alive();
}
END_TEST

int main(void)
{
	Suite *s = suite_create("intruder");
	TCase *tc = e2e_case(s, "intruder", e2e_setup_bare, 60);

	confined_skip_without(confined_lack());
	setenv("TEST_SANDBOX", "", 1);		/* it is what it is by default */
	tcase_add_loop_test(tc, intruder_is_refused, 0, COUNT(survived));
	tcase_add_loop_test(tc, intruder_is_named_and_ends, 0, COUNT(fatal));
	tcase_add_loop_test(tc, intruder_connects_only_within, 0, COUNT(reaches));
	tcase_add_test(tc, landlock_alone);
	tcase_add_test(tc, log_mode_names_and_lets_go_on);
	return e2e_run(s);
}
