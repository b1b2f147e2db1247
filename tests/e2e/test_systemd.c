/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Under a service manager: what it hears, in the sandbox too, and the sockets that it has
 * made for us. The manager is scripted; the protocols are systemd's.
 */
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "e2e/e2e.h"
#include "support/host_messages.h"

#define COUNT(array) ((int)(sizeof (array) / sizeof *(array)))

enum { MESSAGE_MAX = 512, STATUS_MS = 1000 };

/* What the daemon finds in its environment; NULL: nothing of the kind. */
static struct {
	char notify[108];
	const char *watchdog_usec;
	const char *fd_names;
	int fds[3], n_fds;			/* become descriptors 3 and up */
	bool is_for_another;			/* LISTEN_PID */
} launch;

static int manager;

static void prepare(void)
{
	char number[16];

	if (*launch.notify)
		setenv("NOTIFY_SOCKET", launch.notify, 1);
	if (launch.watchdog_usec)
		setenv("WATCHDOG_USEC", launch.watchdog_usec, 1);
	if (!launch.n_fds)
		return;
	for (int i = 0; i < launch.n_fds; i++)
		launch.fds[i] = fcntl(launch.fds[i], F_DUPFD, 100);	/* out of the way */
	for (int i = 0; i < launch.n_fds; i++)
		dup2(launch.fds[i], 3 + i);
	snprintf(number, sizeof number, "%d", launch.n_fds);
	setenv("LISTEN_FDS", number, 1);
	snprintf(number, sizeof number, "%d", (int)(launch.is_for_another ? getppid() : getpid()));
	setenv("LISTEN_PID", number, 1);
	if (launch.fd_names)
		setenv("LISTEN_FDNAMES", launch.fd_names, 1);
}

static void setup(void)
{
	e2e_setup_bare();
	memset(&launch, 0, sizeof launch);
	vhd.prepare = prepare;
	manager = -1;
}

/* ---- what the manager hears ---- */

static void manager_listen(bool is_abstract)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	size_t len;

	snprintf(launch.notify, sizeof launch.notify, "%s%s/notify", is_abstract ? "@" : "",
		 vhd.dir);
	len = strlen(launch.notify);
	memcpy(addr.sun_path, launch.notify, len);
	if (is_abstract)
		addr.sun_path[0] = '\0';
	manager = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	must(bind(manager, (struct sockaddr *)&addr,
		  (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len)) == 0);
}

/* False: nothing in this time. */
static bool hear(char text[MESSAGE_MAX], int ms)
{
	ssize_t n;

	if (!deadline_poll(manager, POLLIN, deadline_in(ms)))
		return false;
	n = recv(manager, text, MESSAGE_MAX - 1, 0);
	must(n > 0);
	text[n] = '\0';
	return true;
}

/* Waits for a message that has @line; how many there were before it. */
static int wait_to_hear(const char *line)
{
	int64_t deadline = deadline_in(DEADLINE_MS);
	char text[MESSAGE_MAX];
	int n = 0;

	for (; hear(text, deadline_left(deadline)); n++)
		if (strstr(text, line))
			return n;
	ck_abort_msg("not heard: %s", line);
}

static void spawn(const char *const *extra)
{
	const char *args[16] = { "--socket", vhd.socket, "--uds-path", vhd.uds };

	for (int i = 4; extra && *extra; i++)
		args[i] = *extra++;
	daemon_spawn(&vhd, args);
}

/* _i: a name in the file system, an abstract one; both out of the sandbox's reach. */
START_TEST(ready_when_served)
{
	char text[MESSAGE_MAX];

	manager_listen(_i);
	spawn(NULL);
	ck_assert(hear(text, DEADLINE_MS));
	ck_assert_str_eq(text, "READY=1\nSTATUS=1 VM, 0 front-ends connected\n");
	driver_up(&vm, vhd.socket, NULL);	/* who hears it may connect at once */
	e2e_check_alive();
	ck_assert_int_eq(wait_to_hear("STATUS=1 VM, 1 front-end connected\n"), 0);
	driver_detach(&vm);
	ck_assert_int_eq(wait_to_hear("STATUS=1 VM, 0 front-ends connected\n"), 0);
	ck_assert_int_eq(daemon_stop(&vhd, DEADLINE_MS), 0);
	ck_assert_int_eq(wait_to_hear("STOPPING=1\n"), 0);
	ck_assert(!hear(text, 0));
	ck_assert(!daemon_has_logged(&vhd, "NOTIFY_SOCKET"));
}
END_TEST

/* Not each one that comes and goes is worth a message. */
START_TEST(status_is_no_flood)
{
	int64_t began = now_ms(), took;
	int n;

	manager_listen(false);
	spawn(NULL);
	wait_to_hear("READY=1\n");
	for (int i = 0; i < 50; i++) {
		driver_up(&vm, vhd.socket, NULL);
		driver_deinit(&vm);
	}
	driver_up(&vm, vhd.socket, NULL);
	n = wait_to_hear("1 front-end connected\n");
	took = now_ms() - began;
	ck_assert_int_le(n, (int)(took / STATUS_MS) + 1);
	e2e_check_alive();
}
END_TEST

START_TEST(watchdog_is_told)
{
	launch.watchdog_usec = "100000";
	manager_listen(false);
	spawn(NULL);
	wait_to_hear("READY=1\n");
	driver_up(&vm, vhd.socket, NULL);
	for (int i = 0; i < 10; i++)
		wait_to_hear("WATCHDOG=1\n");
	e2e_check_alive();
}
END_TEST

/* So that nobody's message fits any more; a sender alone may not be able to do that. */
static void fill_manager(void)
{
	struct sockaddr_un addr;
	socklen_t len = sizeof addr;
	int n;

	must(getsockname(manager, (struct sockaddr *)&addr, &len) == 0);
	do {
		int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

		must(fd >= 0 && connect(fd, (struct sockaddr *)&addr, len) == 0);
		for (n = 0; send(fd, "X", 1, 0) == 1; n++)
			;
		must(errno == EAGAIN);
		close(fd);
	} while (n > 0);
}

/* The queue is full: the daemon serves, and says so when there is room. */
START_TEST(slow_manager)
{
	char text[MESSAGE_MAX];

	manager_listen(false);
	fill_manager();
	spawn(NULL);
	ck_assert(daemon_wait_listening(&vhd, vhd.socket));
	driver_up(&vm, vhd.socket, NULL);
	e2e_check_alive();
	/* A supervisor may be told of the front-end a moment later. */
	wait_to_hear(vhd.is_supervised ? "READY=1\nSTATUS=1 VM, " :
		     "READY=1\nSTATUS=1 VM, 1 front-end connected\n");
	fill_manager();
	driver_detach(&vm);
	ck_assert_int_eq(daemon_stop(&vhd, DEADLINE_MS), 0);
	while (hear(text, 0))
		ck_assert_str_eq(text, "X");
}
END_TEST

/* A manager that is not there is no reason not to serve. */
START_TEST(no_manager_there)
{
	snprintf(launch.notify, sizeof launch.notify, "%s/none", vhd.dir);
	spawn(NULL);
	ck_assert(daemon_wait_listening(&vhd, vhd.uds));
	driver_up(&vm, vhd.socket, NULL);
	e2e_check_alive();
	ck_assert(daemon_wait_log(&vhd, "NOTIFY_SOCKET"));
}
END_TEST

/* ---- sockets that the manager has made ---- */

static int listen_at(const char *path)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(addr.sun_path, sizeof addr.sun_path, "%s", path);
	must(bind(fd, (struct sockaddr *)&addr, sizeof addr) == 0 && listen(fd, 16) == 0);
	return fd;
}

static void listen_for_daemon(const char *path)
{
	launch.fds[launch.n_fds++] = listen_at(path);
}

static void close_ours(void)
{
	for (int i = 0; i < launch.n_fds; i++)
		close(launch.fds[i]);
}

static char elsewhere[2][128], names[256];

static void choose_names(void)
{
	for (int i = 0; i < 2; i++)
		snprintf(elsewhere[i], sizeof elsewhere[i], "%s/elsewhere%d", vhd.dir, i);
	snprintf(names, sizeof names, "%s:%s", vhd.uds, vhd.socket);
}

/* How the manager tells which is which; both come as uds-path, socket unless said. */
static const struct {
	const char *name, *fd_names;
	bool is_elsewhere, socket_first, socket_only;
} ways[] = {
	{ "by path", names, true, false, false },
	{ "by CID", "cid-3-uds:cid-3-socket", true, false, false },
	{ "by where they are bound", "vsock.socket:vsock.socket", false, false, false },
	{ "by where they are bound, no names", NULL, false, false, false },
	{ "by their order", NULL, true, true, false },
	{ "by their order, with names of no meaning", "a:b", true, true, false },
	{ "one by order, one by name", "a:cid-3-uds", true, true, false },
	{ "the first alone", "unknown", true, true, true },
};

START_TEST(activated)
{
	const char *at[2];			/* socket, uds-path */

	choose_names();
	for (int i = 0; i < 2; i++)
		at[i] = ways[_i].is_elsewhere ? elsewhere[i] : i ? vhd.uds : vhd.socket;
	launch.fd_names = ways[_i].fd_names;
	if (!ways[_i].socket_first)
		listen_for_daemon(at[1]);
	listen_for_daemon(at[0]);
	if (ways[_i].socket_first && !ways[_i].socket_only)
		listen_for_daemon(at[1]);
	spawn(NULL);
	close_ours();
	if (ways[_i].socket_only) {
		at[1] = vhd.uds;		/* the daemon's own */
		ck_assert(daemon_wait_listening(&vhd, vhd.uds));
	}
	driver_up(&vm, at[0], NULL);
	e2e_check_talks(e2e_host_connects(&vm, at[1]));
	driver_deinit(&vm);
	driver_up(&vm, at[0], NULL);
	ck_assert_int_eq(daemon_stop(&vhd, DEADLINE_MS), 0);
	ck_assert_int_eq(access(at[0], F_OK), 0);	/* the manager's */
	ck_assert_int_eq(access(at[1], F_OK), ways[_i].socket_only ? -1 : 0);
}
END_TEST

/* The guest's connects go beside the path, wherever its socket came from. */
START_TEST(activated_guest_connects)
{
	listen_for_daemon(vhd.uds);
	spawn(NULL);
	close_ours();
	ck_assert(daemon_wait_listening(&vhd, vhd.socket));
	driver_up(&vm, vhd.socket, NULL);
	e2e_check_alive();
}
END_TEST

/* Messages have no socket of the manager's: that is the daemon's own, beside the path. */
START_TEST(activated_with_messages)
{
	char path[128];
	int client;

	snprintf(path, sizeof path, "%s_seqpacket", vhd.uds);
	listen_for_daemon(vhd.uds);
	spawn(NULL);
	close_ours();
	ck_assert(daemon_wait_listening(&vhd, vhd.socket));
	driver_up(&vm, vhd.socket, NULL);
	sock_listen_as(&vm, VSOCK_TYPE_SEQPACKET, 1234);
	client = host_messages_dial(vhd.uds, 1234);
	ck_assert_int_eq(sock_accept(&vm, 1234)->type, VSOCK_TYPE_SEQPACKET);
	ck_assert_uint_eq(host_messages_read_ok(client), 1234);
	close(client);
	ck_assert_int_eq(daemon_stop(&vhd, DEADLINE_MS), 0);
	ck_assert_int_eq(access(path, F_OK), -1);
	ck_assert_int_eq(access(vhd.uds, F_OK), 0);
}
END_TEST

/* As a child of what was activated, we are not. */
START_TEST(activation_of_another_process)
{
	choose_names();
	launch.is_for_another = true;
	listen_for_daemon(elsewhere[0]);
	spawn(NULL);
	close_ours();
	ck_assert(daemon_wait_listening(&vhd, vhd.socket));
	driver_up(&vm, vhd.socket, NULL);
	e2e_check_alive();
}
END_TEST

static int deaf(void)
{
	return socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
}

static int datagrams(void)
{
	return socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
}

static int listening(void)
{
	char path[128];
	static int n;

	snprintf(path, sizeof path, "%s/listening%d", vhd.dir, n++);
	return listen_at(path);
}

static const struct {
	int n;
	int (*make)(void);
	const char *names, *why;
} mistakes[] = {
	{ 3, listening, "a:b:c", "LISTEN_FDS: descriptor 5 ('c'): belongs to no VM of ours" },
	{ 2, listening, "cid-3-uds:cid-3-uds",
	  "LISTEN_FDS: descriptor 4 ('cid-3-uds'): belongs to what has one already" },
	{ 1, deaf, "a", "neither listens nor is connected" },
	{ 1, datagrams, "a", "not a unix stream socket" },
};

START_TEST(activation_mistakes)
{
	for (int i = 0; i < mistakes[_i].n; i++)
		launch.fds[launch.n_fds++] = mistakes[_i].make();
	launch.fd_names = mistakes[_i].names;
	spawn(NULL);
	ck_assert_int_eq(daemon_wait_exit(&vhd, DEADLINE_MS), 2);
	ck_assert_msg(daemon_has_logged(&vhd, mistakes[_i].why), "%s", daemon_log(&vhd));
}
END_TEST

int main(void)
{
	Suite *s = suite_create("systemd");
	TCase *tc = e2e_case(s, "serving", setup, 60);

	tcase_add_test(tc, status_is_no_flood);
	tcase_add_test(tc, watchdog_is_told);
	tcase_add_test(tc, no_manager_there);
	tcase_add_test(tc, activated_guest_connects);
	tcase_add_test(tc, activated_with_messages);
	tcase_add_test(tc, activation_of_another_process);
	tc = e2e_case_with(s, "ended", setup, e2e_teardown_ended, 60);
	tcase_add_loop_test(tc, ready_when_served, 0, 2);
	tcase_add_test(tc, slow_manager);
	tcase_add_loop_test(tc, activated, 0, COUNT(ways));
	tcase_add_loop_test(tc, activation_mistakes, 0, COUNT(mistakes));
	return e2e_run(s);
}
