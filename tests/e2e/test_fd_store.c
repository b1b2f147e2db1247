/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A service manager keeps descriptors for the daemon: even its supervisor is killed, and no
 * device is lost. The manager is scripted; the protocol is systemd's.
 */
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "e2e/upgrade.h"

enum { STORED_MAX = 256, TEXT_MAX = 512, SOON_MS = 2000 };

static struct {
	struct {
		char name[64];
		int fd;
	} v[STORED_MAX];
	int n;
	const char *max;			/* what the daemon hears of; NULL: there is none */
	char at[108];
	int socket;
	bool is_ready, is_stopping;
	unsigned n_messages;			/* about the store */
} manager;

static void setup(void)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };

	e2e_setup_bare();
	memset(&manager, 0, sizeof manager);
	manager.max = "128";
	snprintf(manager.at, sizeof manager.at, "%s/notify", vhd.dir);
	snprintf(addr.sun_path, sizeof addr.sun_path, "%s", manager.at);
	manager.socket = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	must(bind(manager.socket, (struct sockaddr *)&addr, sizeof addr) == 0);
}

static bool is_same_file(int a, int b)
{
	struct stat sa, sb;

	return fstat(a, &sa) == 0 && fstat(b, &sb) == 0 && sa.st_dev == sb.st_dev &&
		sa.st_ino == sb.st_ino;
}

/* As systemd does: of two that are the same it keeps one (anonymous inodes are all one). */
static void keep(const char *name, int fd)
{
	for (int i = 0; i < manager.n; i++)
		if (strcmp(manager.v[i].name, name) == 0 && is_same_file(manager.v[i].fd, fd)) {
			close(fd);
			return;
		}
	must(manager.n < STORED_MAX && fd >= 0);
	snprintf(manager.v[manager.n].name, sizeof manager.v[0].name, "%s", name);
	manager.v[manager.n++].fd = fd;
}

static int forget(const char *name)
{
	int n = 0;

	for (int i = manager.n; i-- > 0; )
		if (!name || strcmp(manager.v[i].name, name) == 0) {
			close(manager.v[i].fd);
			manager.v[i] = manager.v[--manager.n];
			n++;
		}
	return n;
}

/* False: nothing in this time. */
static bool hear(int ms)
{
	union {
		char bytes[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control;
	char text[TEXT_MAX], *name;
	struct iovec iov = { text, sizeof text - 1 };
	struct msghdr hdr = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control,
			      .msg_controllen = sizeof control };
	ssize_t n;
	int fd = -1;

	if (!deadline_poll(manager.socket, POLLIN, deadline_in(ms)))
		return false;
	n = recvmsg(manager.socket, &hdr, MSG_CMSG_CLOEXEC);
	must(n > 0 && !(hdr.msg_flags & MSG_CTRUNC));
	text[n] = '\0';
	if (CMSG_FIRSTHDR(&hdr))
		memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&hdr)), sizeof fd);
	manager.is_ready |= strstr(text, "READY=1") != NULL;
	manager.is_stopping |= strstr(text, "STOPPING=1") != NULL;
	name = strstr(text, "FDNAME=");
	if (!name)
		return true;
	manager.n_messages++;
	name += strlen("FDNAME=");
	name[strcspn(name, "\n")] = '\0';
	ck_assert_msg(strlen(name) < 64 && !strchr(name, ':'), "%s", name);
	if (strstr(text, "FDSTOREREMOVE=1\n"))
		forget(name);
	else if (strstr(text, "FDSTORE=1\n"))
		keep(name, fd);
	return true;
}

static void hear_until_ready(void)
{
	int64_t deadline = deadline_in(DEADLINE_MS);

	while (!manager.is_ready)
		ck_assert_msg(hear(deadline_left(deadline)), "%s", daemon_log(&vhd));
}

/* All that has been said of what was done so far: the engine's words go by the supervisor. */
static void hear_all(void)
{
	int64_t deadline = deadline_in(DEADLINE_MS);
	bool is_asleep;

	do {
		is_asleep = !daemon_is_running(&vhd) || daemon_is_asleep(&vhd);
		ck_assert(deadline_left(deadline));
	} while (hear(is_asleep ? 0 : 1) || !is_asleep);
}

/* Until it listens again nobody gets a word in. */
static void fill_queue(void)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	unsigned n;

	snprintf(addr.sun_path, sizeof addr.sun_path, "%s", manager.at);
	do {					/* one alone may not have so much under way */
		int s = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

		must(s >= 0 && connect(s, (struct sockaddr *)&addr, sizeof addr) == 0);
		n = 0;
		while (send(s, "X", 1, MSG_NOSIGNAL) == 1)
			n++;
		close(s);
	} while (n);
}

static bool has_stored(const char *name)
{
	for (int i = 0; i < manager.n; i++)
		if (strcmp(manager.v[i].name, name) == 0)
			return true;
	return false;
}

static void prepare(void)
{
	char names[STORED_MAX * 64] = "", number[16];

	setenv("NOTIFY_SOCKET", manager.at, 1);
	if (manager.max)
		setenv("FDSTORE", manager.max, 1);
	for (int i = 0; i < manager.n; i++)
		manager.v[i].fd = fcntl(manager.v[i].fd, F_DUPFD, 500);	/* out of the way */
	for (int i = 0; i < manager.n; i++) {
		dup2(manager.v[i].fd, 3 + i);
		close(manager.v[i].fd);
		sprintf(names + strlen(names), "%s%s", i ? ":" : "", manager.v[i].name);
	}
	snprintf(number, sizeof number, "%d", manager.n);
	setenv("LISTEN_FDS", number, 1);
	snprintf(number, sizeof number, "%d", (int)getpid());
	setenv("LISTEN_PID", number, 1);
	setenv("LISTEN_FDNAMES", names, 1);
}

static void start_with(const char *uds)
{
	const char *const args[] = {
		"--socket", vhd.socket, "--uds-path", uds, "--log-level=info", NULL,
	};

	manager.is_ready = false;
	vhd.prepare = prepare;
	daemon_spawn(&vhd, args);
	hear_until_ready();
}

/* Where an engine runs before its supervisor does: it is awake when that is about to be gone. */
static void yield_to_engine(void)
{
	const struct sched_param none = { .sched_priority = 0 };

	must(sched_setscheduler(vhd.pid, SCHED_IDLE, &none) == 0);
}

/* The guest's machine runs all the while. _i: and the engine sees the end of its supervisor. */
START_TEST(killed_supervisor)
{
	struct pair there, back;

	if (_i)
		e2e_stay_on_this_cpu();
	start_with(vhd.uds);
	driver_up(&vm, vhd.socket, NULL);
	for (int i = 0; i < 5; i++) {
		there = e2e_guest_connects(&vm, vhd.uds);
		back = e2e_host_connects(&vm, vhd.uds);
		e2e_check_talks(there);
		hear_all();
		if (_i)
			yield_to_engine();
		daemon_kill(&vhd);
		start_with(vhd.uds);
		ck_assert(sock_wait_reset(there.guest, SOON_MS));
		ck_assert(sock_wait_reset(back.guest, SOON_MS));
		ck_assert(host_is_closed(there.host, SOON_MS));
		close(there.host);
		close(back.host);
		e2e_check_alive();
	}
	ck_assert(daemon_has_logged(&vhd, "front-end kept"));
	ck_assert_uint_eq(vm.n_strangers, 0);
	driver_reboot(&vm);
	e2e_check_alive();
	hear_all();
	driver_deinit(&vm);
	driver_up(&vm, vhd.socket, NULL);	/* the same socket listens as at first */
	e2e_check_alive();
}
END_TEST

/* What the manager has is what the supervisor has, also after crashes of the engine, and when
 * the front-end has left. */
START_TEST(nothing_is_left_over)
{
	int n;

	start_with(vhd.uds);
	hear_all();
	ck_assert(has_stored("vdv-3-socket") && has_stored("vdv-3-uds") &&
		  has_stored("vdv-3-seqpacket"));
	ck_assert_int_eq(manager.n, 3);
	driver_up(&vm, vhd.socket, NULL);
	e2e_check_alive();
	hear_all();
	ck_assert(has_stored("vdv-3-0"));
	n = manager.n;
	ck_assert_int_gt(n, 10);
	for (int i = 0; i < 3; i++) {
		must(kill(daemon_engine(&vhd), SIGKILL) == 0);
		e2e_check_alive();
		driver_reboot(&vm);
		e2e_check_alive();
		hear_all();
		ck_assert_int_eq(manager.n, n);
	}
	driver_deinit(&vm);
	hear_all();
	ck_assert_int_le(manager.n, 4);		/* the journal may stay */
}
END_TEST

/* An orderly end is one. */
START_TEST(ended_in_order)
{
	start_with(vhd.uds);
	driver_up(&vm, vhd.socket, NULL);
	e2e_check_alive();
	hear_all();
	must(kill(vhd.pid, SIGTERM) == 0);
	while (daemon_is_running(&vhd))		/* its queue may be short */
		hear(1);
	ck_assert_int_eq(daemon_stop(&vhd, DEADLINE_MS), 0);
	hear_all();
	ck_assert(manager.is_stopping);
	ck_assert_int_eq(manager.n, 0);
	ck_assert(vmm_is_closed(&vm.fe, DEADLINE_MS));
	ck_assert_int_ne(access(vhd.socket, F_OK), 0);
}
END_TEST

/* The next one is to do something else: what that does not want is dropped. */
START_TEST(started_with_other_paths)
{
	char uds[128];

	snprintf(uds, sizeof uds, "%s/other", vhd.dir);
	start_with(vhd.uds);
	driver_up(&vm, vhd.socket, NULL);
	hear_all();
	snprintf(manager.v[manager.n].name, sizeof manager.v[0].name, "vdv-9-7");
	manager.v[manager.n++].fd = dup(manager.socket);
	daemon_kill(&vhd);
	start_with(uds);
	e2e_check_talks(e2e_host_connects(&vm, uds));
	e2e_check_talks(e2e_guest_connects(&vm, uds));
	hear_all();
	ck_assert(!has_stored("vdv-9-7"));
	ck_assert(has_stored("vdv-3-uds") && has_stored("vdv-3-0"));
}
END_TEST

static const char *const small[] = { "3", "0", NULL };

/* Too small, or none: nothing is lost but what it would be for. */
START_TEST(little_room)
{
	manager.max = small[_i];
	start_with(vhd.uds);
	driver_up(&vm, vhd.socket, NULL);
	e2e_check_alive();
	hear_all();
	ck_assert_int_eq(manager.n, _i ? 0 : 3);
	ck_assert_int_eq(daemon_has_logged(&vhd, "keeps no more than 3 descriptors"), !_i);
	ck_assert_int_eq(manager.n_messages > 0, !_i);
}
END_TEST

/* Another program in its place is kept for, too: it does not know what the manager has, which
 * does not listen meanwhile. */
START_TEST(upgraded)
{
	int n;

	upgrade_install();
	start_with(vhd.uds);
	driver_up(&vm, vhd.socket, NULL);
	e2e_check_alive();
	hear_all();
	n = manager.n;
	upgrade_install_another();
	fill_queue();
	must(kill(vhd.pid, SIGUSR2) == 0);
	ck_assert(daemon_wait_log(&vhd, "another engine has taken over"));
	ck_assert(daemon_has_logged(&vhd, "daemon takes over"));
	e2e_check_alive();
	driver_reboot(&vm);
	e2e_check_alive();
	hear_all();
	ck_assert_int_eq(manager.n, n);
	daemon_kill(&vhd);
	start_with(vhd.uds);
	e2e_check_alive();
}
END_TEST

/* Where it does not listen for a while, all comes in its order when it does. */
START_TEST(slow_manager)
{
	start_with(vhd.uds);
	for (int i = 0; i < 20; i++) {
		driver_up(&vm, vhd.socket, NULL);
		e2e_check_alive();
		driver_deinit(&vm);
	}
	driver_up(&vm, vhd.socket, NULL);
	e2e_check_alive();
	hear_all();
	daemon_kill(&vhd);
	start_with(vhd.uds);
	e2e_check_alive();
}
END_TEST

int main(void)
{
	Suite *s = suite_create("fd_store");
	TCase *tc = e2e_case(s, "serving", setup, 60);

	tcase_add_loop_test(tc, killed_supervisor, 0, 2);
	tcase_add_test(tc, nothing_is_left_over);
	tcase_add_test(tc, started_with_other_paths);
	tcase_add_loop_test(tc, little_room, 0, 3);
	tcase_add_test(tc, slow_manager);
	tcase_add_test(tc, upgraded);
	tc = e2e_case_with(s, "ended", setup, e2e_teardown_ended, 60);
	tcase_add_test(tc, ended_in_order);
	return e2e_run(s);
}
