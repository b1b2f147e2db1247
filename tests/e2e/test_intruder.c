/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The sandbox from inside: what an intruder in the daemon can still do, with all
 * of it and with only a piece.
 */
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include "e2e/confined.h"
#include "e2e/halt.h"
#include "e2e/intruder.h"
#include "e2e/reloads.h"
#include "e2e/sibs.h"
#include "e2e/upgrade.h"
#include "support/sanitized.h"

static const char *const off[] = { "--sandbox=off", NULL };
static const char *const only_log[] = { "--sandbox=log", NULL };
static const char *const alone[] = { "--supervise=off", NULL };
static const char *const with_supervisor[] = { "--supervise=on", NULL };

/* A folder with a socket that somebody listens on, out of the daemon's way. */
static struct daemon outside;

static void start_with_intruder(const char *const *extra)
{
	e2e_preload("INTRUDER");
	e2e_start(extra, NULL);
	e2e_preload(NULL);
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

/* ... with the process that started it in the place of %s. */
static int order_against_supervisor(const char *act)
{
	char pid[16];

	snprintf(pid, sizeof pid, "%d", (int)vhd.pid);
	return order_at(act, pid);
}

/* The process in which somebody tried @call has ended, and says so: the daemon; or its engine
 * alone, which another one follows. @engine: the one that was. */
static void check_named_and_ended(const char *call, pid_t engine)
{
	char line[128];

	if (call)
		snprintf(line, sizeof line, "error sandbox: system call %s (", call);
	confined_check_log(call ? line : "error sandbox: system call ");
	confined_check_log(") is not one of ours: the process ends\n");
	if (!vhd.is_supervised) {
		ck_assert_int_eq(daemon_wait_exit(&vhd, DEADLINE_MS), -SIGSYS);
		return;
	}
	confined_check_log(") was ended by signal 31 (Bad system call)");
	ck_assert(daemon_wait_gone(engine, DEADLINE_MS));
	ck_assert_int_ne(daemon_engine(&vhd), engine);
	driver_deinit(&vm);
	driver_up(&vm, vhd.socket, NULL);
	e2e_check_alive();
}

static void block_all_signals(void)
{
	sigset_t all;

	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
}

/* In all of them the daemon stays as it is. @logs: the call it names, or NULL. */
static const struct survived {
	const char *act;
	int result;
	const char *logs;
	bool sanitizer_may, alone;		/* ->alone: without a supervisor */
} survived[] = {
	{ "open /etc/shadow", EPERM, " of /etc/shadow refused", true, false },
	{ "open %s/log", EPERM, "system call openat (", true, false },
	{ "create %s/new", EPERM, "refused", true, false },
	{ "clone3", ENOSYS, NULL, false, false },
	{ "dumpable", EPERM, "system call prctl (", true, false },
	{ "orphan", EPERM, "system call prctl (", true, false },
	{ "kill self", 0, NULL, false, false },
	{ "mmap write", 0, NULL, false, false },
	{ "mprotect read", 0, NULL, false, false },
	{ "socket unix", 0, NULL, false, false },
	{ "thread", 0, NULL, false, false },
	{ "connect %s/none", ENOENT, NULL, false, false },
	{ "connect /dev/log", ENOENT, NULL, false, false },
	{ "unlink /etc/passwd", ENOENT, NULL, false, true },
};

START_TEST(intruder_is_refused)
{
	const struct survived *c = &survived[_i];

	if (IS_SANITIZED && c->sanitizer_may)
		return;
	start_with_intruder(NULL);
	if (c->alone && vhd.is_supervised)
		return;
	ck_assert_int_eq(order_at(c->act, vhd.dir), c->result);
	if (c->logs)
		confined_check_log(c->logs);
	else
		confined_check_log_is_empty();
	e2e_check_alive();
}
END_TEST

/* These, only somebody who has taken over the process would try. */
static const struct fatal {
	const char *act, *call;
	bool sanitizer_may, supervised;		/* ->supervised: only if so */
} fatal[] = {
	{ "execve /bin/true", "execve", false, false },
	{ "fork", "clone", true, false },
	{ "socket inet", "socket", false, false },
	{ "socket netlink", "socket", false, false },
	{ "socket packet", "socket", false, false },
	{ "socket vsock", "socket", false, false },
	{ "bind %s/new", "bind", false, false },
	{ "rename %s/log", "rename", false, false },
	{ "chmod %s/log", "chmod", false, false },
	{ "kill 1", "kill", true, false },
	{ "ptrace 1", "ptrace", true, false },
	{ "mmap exec", "mmap", false, false },
	{ "mprotect exec", "mprotect", false, false },
	{ "mount %s", "mount", false, false },
	{ "unshare", "unshare", false, false },
	{ "chroot %s", "chroot", false, false },
	{ "setuid", "setuid", false, false },
	{ "unlink %s/log", NULL, false, true },
};

START_TEST(intruder_is_named_and_ends)
{
	const struct fatal *c = &fatal[_i];
	pid_t engine;

	if (IS_SANITIZED && c->sanitizer_may)
		return;
	start_with_intruder(NULL);
	if (c->supervised && !vhd.is_supervised)
		return;
	engine = daemon_engine(&vhd);
	ck_assert_int_eq(order_at(c->act, vhd.dir), -1);
	check_named_and_ended(c->call, engine);
	ck_assert_int_eq(access(vhd.log, F_OK), 0);
}
END_TEST

/* ---- an engine against its supervisor ---- */

static const char *const reaching[] = { "kill %s", "ptrace %s", "peek %s", "pidfd %s" };

START_TEST(supervisor_is_out_of_reach)
{
	pid_t engine;

	if (IS_SANITIZED)
		return;
	start_with_intruder(with_supervisor);
	engine = daemon_engine(&vhd);
	ck_assert_int_eq(order_against_supervisor(reaching[_i]), -1);
	check_named_and_ended(NULL, engine);
}
END_TEST

/* What the supervisor does about it: @logs, and the engine's end; or nothing, and all goes on. */
static const struct {
	const char *act, *logs;
} sayings[] = {
	{ "say half", "the engine says what it may not say: it is ended" },
	{ "say more", "the engine says what it may not say: it is ended" },
	{ "say stop", "the engine says what it may not say: it is ended" },
	{ "say type", "the engine says what it may not say: it is ended" },
	{ "say empty", "the engine says what it may not say: it is ended" },
	{ "keep 2000", "the engine keeps too much: it is ended" },
	{ "say stranger", NULL },
	{ "ask 3000", NULL },
	/* There is no control API that it could ask for. */
	{ "order end", "the engine says what it may not say: it is ended" },
	{ "order add /tmp", "the engine says what it may not say: it is ended" },
	{ "order flood 1", "the engine says what it may not say: it is ended" },
};

START_TEST(supervisor_believes_no_engine)
{
	unsigned fds;
	pid_t engine;

	start_with_intruder(with_supervisor);
	engine = daemon_engine(&vhd);
	fds = daemon_usage_supervisor(&vhd).fds;
	order(sayings[_i].act);
	if (sayings[_i].logs) {
		confined_check_log(sayings[_i].logs);
		ck_assert(daemon_wait_gone(engine, DEADLINE_MS));
		driver_deinit(&vm);
		driver_up(&vm, vhd.socket, NULL);
	}
	ck_assert_int_eq(daemon_engine(&vhd) != engine, sayings[_i].logs != NULL);
	e2e_check_alive();
	ck_assert_int_lt((int)daemon_usage_supervisor(&vhd).fds, (int)fds + 1100);
}
END_TEST

/* With an API, what its clients may have done is done, and no more. */
START_TEST(orders_are_those_of_clients)
{
	char folder[128], socket[160], api[160], option[160], elsewhere[128];
	const char *const args[] = { "--supervise=on", api, option, NULL };
	int64_t deadline = deadline_in(DEADLINE_MS);
	pid_t engine;

	snprintf(folder, sizeof folder, "%s/folder", vhd.dir);
	snprintf(elsewhere, sizeof elsewhere, "%s/new", vhd.dir);
	snprintf(socket, sizeof socket, "%s/new", folder);
	snprintf(api, sizeof api, "--api-socket=%s/api", vhd.dir);
	snprintf(option, sizeof option, "--api-folder=%s", folder);
	must(mkdir(folder, 0700) == 0);
	start_with_intruder(args);
	engine = daemon_engine(&vhd);
	order_at("order add %s", vhd.dir);
	order("order flood 3000");
	ck_assert_int_eq(daemon_engine(&vhd), engine);
	e2e_check_alive();
	ck_assert_int_ne(access(elsewhere, F_OK), 0);
	while (access(socket, F_OK) != 0 && deadline_left(deadline)) {
		order_at("order add %s", folder);	/* 20 a second are obeyed again */
		poll(NULL, 0, 50);
	}
	ck_assert(daemon_wait_listening(&vhd, socket));
	e2e_check_alive();
}
END_TEST

/* Where the handler cannot make them fail, the kernel does: no line tells. */
static const struct foreign {
	const char *act;
	int result;				/* -1: named, and the end */
} foreign[] = {
	{ "open /etc/shadow", EPERM }, { "create %s/new", EPERM }, { "dumpable", EPERM },
	{ "fcntl dup", EPERM }, { "fcntl setfd", EPERM }, { "fcntl lock", EPERM },
	{ "fcntl getfl", 0 }, { "fcntl getfd", 0 }, { "prctl name", 0 },
	{ "ioctl", EPERM }, { "socket unix", 0 }, { "thread", 0 },
	{ "socket inet", -1 }, { "execve /bin/true", -1 }, { "mmap exec", -1 },
};

START_TEST(unknown_registers)
{
	const struct foreign *c = &foreign[_i];
	const char *daemon = getenv("FOREIGN_DAEMON");
	pid_t engine;

	if (IS_SANITIZED)
		return;
	if (!daemon)
		die("FOREIGN_DAEMON does not name the daemon");
	setenv("VHOST_DEVICE_VSOCK", daemon, 1);
	start_with_intruder(NULL);
	engine = daemon_engine(&vhd);
	ck_assert_int_eq(order_at(c->act, vhd.dir), c->result);
	if (c->result >= 0) {
		e2e_check_alive();
		confined_check_log_is_empty();
	} else {
		check_named_and_ended(NULL, engine);
	}
}
END_TEST

/* Process 1 of a container is spared a signal without a handler; not this one. */
START_TEST(intruder_in_process_1_ends)
{
	if (!e2e_leave_pids())
		return;
	start_with_intruder(alone);
	e2e_return_to_pids();
	ck_assert_int_eq(order("socket inet"), -1);
	ck_assert_int_eq(daemon_wait_exit(&vhd, DEADLINE_MS), 128 + SIGSYS);
	confined_check_log("error sandbox: system call socket (");
}
END_TEST

/* A launcher's mask: what the filter refuses is still refused by our handler. */
START_TEST(intruder_with_all_signals_blocked)
{
	pid_t engine;

	vhd.prepare = block_all_signals;
	start_with_intruder(NULL);
	if (!IS_SANITIZED)
		ck_assert_int_eq(order("open /etc/shadow"), EPERM);
	e2e_check_alive();
	engine = daemon_engine(&vhd);
	ck_assert_int_eq(order("socket inet"), -1);
	check_named_and_ended("socket", engine);
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

/* Abstract unix sockets: what keeps it from them, and what is said where nothing does. */
static const struct abstract {
	const char *name;
	bool no_namespace, is_old, forwards;	/* of the network; landlock before 6.12 */
	int result;				/* -1: as landlock has it here */
	const char *warning;
} abstracts[] = {
	{ "all of it", false, false, false, ECONNREFUSED, NULL },
	{ "an old landlock", false, true, false, ECONNREFUSED, NULL },
	{ "no namespace", true, false, false, -1, NULL },
	{ "neither", true, true, false, 0, "abstract unix sockets are in reach: " },
	{ "AF_VSOCK", false, false, true, -1, NULL },
	{ "AF_VSOCK, an old landlock", false, true, true, 0,
	  "abstract unix sockets are in reach, since forward-cid takes the network as it is" },
};

enum { LANDLOCK_SCOPES = 6 };			/* the ABI that brought it */

/* All programs that run share these names. */
static int listen_abstract(void)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	size_t len = strlen(vhd.dir);

	must(len < sizeof at.sun_path);
	memcpy(at.sun_path + 1, vhd.dir, len);
	must(bind(fd, (struct sockaddr *)&at,
		  (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + len)) == 0);
	must(listen(fd, 1) == 0);
	return fd;
}

/* False: not on this kernel. */
static bool make_kernel(const struct abstract *c)
{
	int vsock = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (c->result < 0 && confined_landlock_abi() < LANDLOCK_SCOPES)
		return false;
	if (c->forwards && vsock < 0)
		return false;
	close(vsock);
	if (c->is_old && confined_landlock_abi() >= LANDLOCK_SCOPES)
		setenv(INTRUDER_LANDLOCK, "5", 1);
	if (c->no_namespace)
		confined_take_away_if(SYS_unshare, CLONE_NEWNET, EPERM);
	return true;
}

START_TEST(intruder_finds_no_abstract_socket)
{
	const struct abstract *c = &abstracts[_i];
	char first[256], second[256];
	const char *args[] = { "--vm", first, c->forwards ? "--vm" : NULL, second, NULL };
	int fd = listen_abstract();

	if (!make_kernel(c))
		return;
	snprintf(first, sizeof first, "socket=%s,uds-path=%s", vhd.socket, vhd.uds);
	snprintf(second, sizeof second, "guest-cid=4,socket=%s/s4,forward-cid=1", vhd.dir);
	e2e_preload("INTRUDER");
	daemon_spawn(&vhd, args);
	e2e_preload(NULL);
	must(daemon_wait_listening(&vhd, vhd.uds));
	ck_assert_msg(order_at("connect @%s", vhd.dir) == (c->result < 0 ? EPERM : c->result), "%s",
		      c->name);
	if (c->warning)
		confined_check_log(c->warning);
	else
		confined_check_log_is_empty();
	driver_up(&vm, vhd.socket, NULL);
	e2e_check_alive();
	close(fd);
}
END_TEST

START_TEST(abstract_socket_in_reach_is_an_error_if_strict)
{
	const struct abstract *c = &abstracts[_i];
	char first[256], second[256];
	const char *args[] = {
		"--sandbox=on,strict", "--vm", first, c->forwards ? "--vm" : NULL, second, NULL,
	};

	if (!c->warning || !make_kernel(c))
		return;
	snprintf(first, sizeof first, "socket=%s,uds-path=%s", vhd.socket, vhd.uds);
	snprintf(second, sizeof second, "guest-cid=4,socket=%s/s4,forward-cid=1", vhd.dir);
	e2e_preload("INTRUDER");
	daemon_spawn(&vhd, args);
	e2e_preload(NULL);
	ck_assert_int_eq(daemon_wait_exit(&vhd, DEADLINE_MS), 1);
	confined_check_log(c->warning);
	confined_check_log("(--sandbox=on,strict)");
}
END_TEST

/* Without a file tree of its own, and without a filter, it sees names that landlock keeps from
 * it: all of them if there is a supervisor to remove those that are ours. */
START_TEST(landlock_alone)
{
	int listener;

	daemon_init(&outside);
	listener = host_listen(outside.uds, PORT, 1);
	confined_take_away(SYS_unshare, EPERM);
	confined_take_away(SYS_seccomp, ENOSYS);
	start_with_intruder(NULL);
	ck_assert_int_eq(order_at("unlink %s/vm.sock_1234", outside.dir), EACCES);
	ck_assert_int_eq(order_at("unlink %s/log", vhd.dir), vhd.is_supervised ? EACCES : 0);
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

static const struct hung {
	const char *const *options;
	const char *unlink;
	int status;
	bool leaves_names;
} hung[] = {
	{ alone, NULL, 0, false },
	{ alone, "hangs", -SIGALRM, true },
	{ with_supervisor, NULL, 0, false },
	{ with_supervisor, "hangs", -SIGALRM, true },
};

/* A host client, which makes its worker hang. */
static int hang(void)
{
	static const char line[] = INTRUDER_ORDER "hang\n";
	int fd = host_connect(vhd.uds);

	must(fd >= 0);
	must(host_write(fd, line, sizeof line - 1));
	ck_assert(daemon_wait_log(&vhd, "hangs"));
	return fd;
}

/* ... is one that has crashed. */
START_TEST(worker_that_hangs_is_replaced)
{
	static const char *const patience[] = { "--supervise=on", "--watchdog=1", NULL };
	pid_t engine;
	int fd;

	start_with_intruder(patience);
	engine = daemon_engine(&vhd);
	fd = hang();
	confined_check_log("error main: the engine hangs");
	ck_assert(daemon_wait_gone(engine, DEADLINE_MS));
	driver_deinit(&vm);
	driver_up(&vm, vhd.socket, NULL);
	e2e_check_alive();
	close(fd);
}
END_TEST

/* A front-end says something that no engine survives, again and again: the order is taken from
 * the socket, so the message's payload is still to come for the next one. The VM is named and
 * left out, and its neighbour goes on. */
START_TEST(vm_that_ends_engines_is_left_out)
{
	static const char *const patience[] = { "--supervise=on", "--watchdog=1", NULL };
	static const char order[] = INTRUDER_ORDER "hang\n";
	struct vmm fe;
	pid_t engine;

	e2e_preload("INTRUDER");
	sibs_spawn_with(2, NULL, patience);
	e2e_preload(NULL);
	sib_up(&sibs[1], NULL);
	ck_assert(vmm_connect(&fe, sibs[0].socket));
	ck_assert(vmm_send(&fe, VHOST_USER_SET_CONFIG, 0, order, sizeof order - 1, NULL, 0));
	for (int i = 0; i < 2; i++) {
		engine = daemon_engine(&vhd);
		ck_assert(daemon_wait_gone(engine, DEADLINE_MS));
		ck_assert(vmm_send_bytes(&fe, order, sizeof order - 1, NULL, 0));
	}
	confined_check_log("error main: the engine hangs, busy with vm 3: it is ended");
	confined_check_log("error main: vm 3 is left out: 3 engines in a row have died of it");
	ck_assert(vmm_is_closed(&fe, DEADLINE_MS));
	sib_check_host(&sibs[1]);
	ck_assert(!vmm_connect(&fe, sibs[0].socket));
}
END_TEST

/* An engine stops (halt.h) that was told of both VMs and is to take over from this one. */
static pid_t halt_next(pid_t engine, const char *halt_file)
{
	FILE *f = fopen(halt_file, "we");
	int64_t deadline = deadline_in(DEADLINE_MS);
	pid_t next;

	must(f && fputs(HALT_PREPARED, f) >= 0 && fclose(f) == 0);
	next = upgrade_begin(engine);
	while (!daemon_is_stopped(next))
		must(deadline_left(deadline));
	must(unlink(halt_file) == 0);
	return next;
}

/* It takes over, or (on a busy machine) it has taken too long. */
static void let_go_on(pid_t engine, pid_t next)
{
	int64_t deadline = deadline_in(DEADLINE_MS);

	kill(next, SIGCONT);
	while (!daemon_wait_gone(engine, QUIET_MS) &&
	       !daemon_has_logged(&vhd, "no other engine takes over"))
		must(deadline_left(deadline));
}

/* By somebody, if only as a socket whose name is gone. */
static bool is_held(const char *path)
{
	FILE *f = fopen("/proc/net/unix", "re");
	char line[512];
	bool found = false;

	must(f);
	while (!found && fgets(line, sizeof line, f))
		found = strstr(line, path) != NULL;
	fclose(f);
	return found;
}

static void check_let_go(const char *path)
{
	int64_t deadline = deadline_in(DEADLINE_MS);

	while (is_held(path))
		ck_assert(deadline_left(deadline));
}

/* What an engine cannot serve it does not hold either, and serves once the file is read again; nor
 * (_i) does one that was told of it before, and takes over. */
START_TEST(vm_that_was_left_out_comes_back)
{
	static const char *const args[] = { "--supervise=on", "--log-level=info", NULL };
	const struct driver_options opt = { .cid = 4 };
	struct driver other;
	char halt_file[128], both[512];
	struct vmm fe;
	pid_t engine, next = 0;
	int64_t deadline = deadline_in(DEADLINE_MS);

	snprintf(halt_file, sizeof halt_file, "%s/halt", vhd.dir);
	setenv(HALT_FILE, halt_file, 1);
	e2e_preload("INTRUDER");
	snprintf(both, sizeof both, "%s:%s", getenv("HALT"), getenv("INTRUDER"));
	setenv("LD_PRELOAD", both, 1);
	reloads_spawn(BOTH, args);
	e2e_preload(NULL);
	ck_assert(daemon_wait_listening(&vhd, reloads_path("4.vhost")));
	engine = daemon_engine(&vhd);
	if (_i) {
		next = halt_next(engine, halt_file);
	} else {
		ck_assert(vmm_connect(&fe, reloads_path("4.vhost")));
		ck_assert(vmm_send(&fe, VHOST_USER_SET_OWNER, 0, NULL, 0, NULL, 0));
		confined_check_log("vm 4: front-end connected");
	}
	order("say left-out");
	ck_assert(_i || vmm_is_closed(&fe, DEADLINE_MS));
	while (!access(reloads_path("4.vhost"), F_OK))
		ck_assert(deadline_left(deadline));
	ck_assert(!vmm_connect(&fe, reloads_path("4.vhost")));
	if (_i)
		let_go_on(engine, next);
	check_let_go(reloads_path("4.vhost"));
	for (int i = 0; i < 2; i++) {
		reloads_do(i ? BOTH : BOTH "# again\n", i ? "was read again" : "vm 4: added");
		ck_assert(daemon_wait_listening(&vhd, reloads_path("4.vhost")));
		driver_up(&other, reloads_path("4.vhost"), &opt);
		e2e_close(e2e_host_connects(&other, reloads_path("4.sock")));
		driver_deinit(&other);
	}
}
END_TEST

/* A worker that hangs, and a folder besides, do not keep the daemon from its end. */
START_TEST(it_ends_whatever_hangs)
{
	const struct hung *c = &hung[_i];
	int fd, result;

	if (c->unlink)
		setenv(INTRUDER_UNLINK, c->unlink, 1);
	else
		setenv(INTRUDER_LOG_MS, IS_SANITIZED ? "1000" : "20", 1);
	start_with_intruder(c->options);
	fd = hang();
	result = daemon_stop(&vhd, END_MS);
	/* Thread sanitizer takes so long to end that the alarm is first. */
	ck_assert(result == c->status || (IS_SANITIZED && result == -SIGALRM));
	ck_assert(daemon_has_logged(&vhd, "something hangs"));
	ck_assert(!access(vhd.socket, F_OK) == c->leaves_names);
	ck_assert(!access(vhd.uds, F_OK) == c->leaves_names);
	close(fd);
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
	tcase_add_loop_test(tc, supervisor_is_out_of_reach, 0, COUNT(reaching));
	tcase_add_loop_test(tc, supervisor_believes_no_engine, 0, COUNT(sayings));
	if (HAS_API)
		tcase_add_test(tc, orders_are_those_of_clients);
	tcase_add_loop_test(tc, unknown_registers, 0, COUNT(foreign));
	tcase_add_test(tc, intruder_in_process_1_ends);
	tcase_add_test(tc, intruder_with_all_signals_blocked);
	tcase_add_loop_test(tc, intruder_connects_only_within, 0, COUNT(reaches));
	tcase_add_loop_test(tc, intruder_finds_no_abstract_socket, 0, COUNT(abstracts));
	tcase_add_loop_test(tc, abstract_socket_in_reach_is_an_error_if_strict, 0,
			    COUNT(abstracts));
	tcase_add_test(tc, landlock_alone);
	tcase_add_test(tc, log_mode_names_and_lets_go_on);
	tc = e2e_case(s, "hung", e2e_setup_bare, 60);
	tcase_add_test(tc, worker_that_hangs_is_replaced);
	tcase_add_loop_test(tc, it_ends_whatever_hangs, 0, COUNT(hung));
	tc = e2e_case_with(s, "two VMs", e2e_setup_bare, sibs_teardown, 60);
	tcase_add_test(tc, vm_that_ends_engines_is_left_out);
	tc = e2e_case(s, "left-out", e2e_setup_bare, 60);
	tcase_add_loop_test(tc, vm_that_was_left_out_comes_back, 0, 2);
	return e2e_run(s);
}
