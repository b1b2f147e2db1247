/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a file that is read again may be: with a mistake of any kind it changes nothing; where
 * there is none the signal is what it always was; sockets that were passed stay what they are;
 * and however often it is read, nothing is left over.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "e2e/reloads.h"

#define COUNT(array) ((int)(sizeof (array) / sizeof *(array)))

static const char *const at_info[] = { "--log-level=info", NULL };

static void start(const char *text, const char *const *extra)
{
	reloads_spawn(text, extra);
	ck_assert(daemon_wait_listening(&vhd, vhd.socket));
	ck_assert(daemon_wait_listening(&vhd, vhd.uds));
	driver_up(&vm, vhd.socket, NULL);
}

/* ---- mistakes ---- */

#define VM5	"  - { guest-cid: 5, socket: $/5.vhost, uds-path: $/5.sock }\n"

static const struct {
	const char *text, *says;
} mistakes[] = {
	{ "", "the file is empty" },
	{ "[]\n", "a mapping with the key 'vms' is wanted" },
	{ "vms:\n", "vms: a list is wanted" },
	{ "vms: []\n", "vms: the list is empty" },
	{ "vms: [\n", "vms.yaml:" },
	{ "vms:\n" VM5 "vms:\n" VM5, "vms: given twice" },
	{ "vms:\n" VM5 "---\nvms:\n" VM5, "a second document" },
	{ "log-level: loud\nvms:\n" VM5, "'loud' is none of error" },
	{ "machines:\n" VM5, "unknown key 'machines'" },
	{ "vms:\n" VM5 "  - { guest-cid: 6, sockets: $/6.vhost }\n", "unknown key 'sockets'" },
	{ "vms:\n" VM5 "  - { guest-cid: 2, socket: $/6.vhost, uds-path: $/6.sock }\n", "guest-cid" },
	{ "vms:\n" VM5 "  - { guest-cid: 6, uds-path: $/6.sock }\n", "socket is missing" },
	{ "vms:\n" VM5 "  - { guest-cid: 6, socket: $/6.vhost }\n",
	  "uds-path or forward-cid is missing" },
	{ "vms:\n" VM5 "  - { guest-cid: 6, socket: $/6, socket-connect: $/7, uds-path: $/8 }\n",
	  "socket and socket-connect exclude one another" },
	{ "vms:\n" VM5 "  - { guest-cid: 6, socket: $/6, fd: 30, uds-path: $/8 }\n",
	  "socket and fd exclude one another" },
	{ "vms:\n" VM5 "  - { guest-cid: 6, socket-connect: $/6, fd: 30, uds-path: $/8 }\n",
	  "socket-connect and fd exclude one another" },
	{ "vms:\n" VM5 "  - { guest-cid: 6, socket: $/6, uds-path: $/7, forward-cid: 1 }\n",
	  "uds-path and forward-cid exclude one another" },
	{ "vms:\n" VM5 "  - { guest-cid: 6, socket: $/6, uds-path: $/7, forward-listen: 8 }\n",
	  "forward-listen needs forward-cid" },
	{ "vms:\n" VM5 "  - { guest-cid: 6, socket: $/6, forward-cid: 1, forward-listen-any: true }\n",
	  "forward-listen-any needs forward-listen" },
	{ "vms:\n" VM5 "  - { guest-cid: 6, socket: $/6, forward-cid: 1, host-cid: 7 }\n",
	  "host-cid needs uds-path" },
	{ "vms:\n" VM5 "  - { guest-cid: 5, socket: $/6, uds-path: $/7 }\n", "guest-cid: 5 is taken by" },
	{ "vms:\n" VM5 "  - { guest-cid: 6, socket: $/5.vhost, uds-path: $/7 }\n", "is the socket of" },
	{ "vms:\n" VM5 "  - { guest-cid: 6, socket: $/7, uds-path: $/7 }\n", "is also the socket" },
	{ "vms:\n" VM5 "  - { guest-cid: 6, socket: $/5.sock_9, uds-path: $/7 }\n",
	  "finds port 9" },
	{ "vms:\n" VM5 "  - { guest-cid: 6, socket: $/6, uds-path: $/7, host-cid: 5 }\n",
	  "host-cid: 5 is the guest-cid" },
	{ "vms:\n" VM5 "  - { guest-cid: 6, fd: 30, uds-path: $/6 }\n"
	  "  - { guest-cid: 7, fd: 30, uds-path: $/7 }\n", "fd: 30 is taken by" },
	{ "vms:\n" VM5 "  - { guest-cid: 6, socket: $/6, forward-cid: 1, forward-listen: 8 }\n"
	  "  - { guest-cid: 7, socket: $/7, forward-cid: 1, forward-listen: 8 }\n",
	  "forward-listen: 8 is taken by" },
	{ "vms:\n" VM5 "  - { guest-cid: 6, fd: 30, uds-path: $/6 }\n",
	  "fd: 30: no such descriptor was passed to us" },
	{ "vms:\n" VM5 "  - { guest-cid: 6, socket: $/6, uds-path: $/7, uds-group: nobodys }\n",
	  "nobodys" },
};

/* One in the file, or none that can be read: @_i beyond the table. */
START_TEST(a_mistake_changes_nothing)
{
	static const char none[] = "No such file or directory: nothing has changed";
	struct pair kept;

	start(BOTH, at_info);
	kept = e2e_guest_connects(&vm, vhd.uds);
	if (_i < COUNT(mistakes)) {
		reloads_do(mistakes[_i].text, "nothing has changed");
		ck_assert_msg(daemon_has_logged(&vhd, mistakes[_i].says), "%s", daemon_log(&vhd));
	} else {
		must(unlink(reloads_path("vms.yaml")) == 0);
		must(kill(vhd.pid, SIGHUP) == 0);
		ck_assert_msg(daemon_wait_log(&vhd, none), "%s", daemon_log(&vhd));
	}
	ck_assert_int_ne(access(reloads_path("5.vhost"), F_OK), 0);
	ck_assert_int_eq(access(reloads_path("4.vhost"), F_OK), 0);
	e2e_check_talks(kept);
	e2e_check_alive();
	reloads_do("vms:\n" VM3 VM5, "main: vm 5: added\n");
	e2e_check_talks(kept);
}
END_TEST

/* A dead socket is in the way of a name: nothing tells when it died, so a reload looks. */
START_TEST(a_lost_name_is_looked_for)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	int other = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	start(BOTH, at_info);
	snprintf(at.sun_path, sizeof at.sun_path, "%s", reloads_path("other"));
	must(bind(other, (struct sockaddr *)&at, sizeof at) == 0 && listen(other, 16) == 0);
	must(rename(at.sun_path, vhd.uds) == 0);
	ck_assert(daemon_wait_log(&vhd, "somebody listens there already"));
	close(other);
	reloads_do(BOTH, "had lost its name, and is there again");
	ck_assert(daemon_wait_listening(&vhd, vhd.uds));
	e2e_check_alive();
}
END_TEST

/* ---- the log level ---- */

/* Of both processes. An option has the last word. */
START_TEST(the_log_level)
{
	static const char engine_says[] = "debug vm 3";
	const char *const by_option[] = { "--log-level=info", NULL };

	start("log-level: info\nvms:\n" VM3, _i ? by_option : NULL);
	ck_assert(daemon_wait_log(&vhd, " info main: serving "));
	if (_i) {
		reloads_do("log-level: debug\nvms:\n" VM3 VM4(VM4_PATHS), "main: vm 4: added\n");
		ck_assert(!daemon_has_logged(&vhd, "changed: log-level"));
		return;
	}
	reloads_do("log-level: debug\nvms:\n" VM3, " info main: changed: log-level\n");
	for (int i = 0; i < 100 && !daemon_has_logged(&vhd, engine_says); i++)
		e2e_check_alive();
	ck_assert_msg(daemon_has_logged(&vhd, engine_says), "%s", daemon_log(&vhd));
}
END_TEST

/* ---- the signal ---- */

START_TEST(without_a_file_it_ends_the_daemon)
{
	daemon_start(&vhd, NULL);
	must(kill(vhd.pid, SIGHUP) == 0);
	ck_assert_int_eq(daemon_wait_exit(&vhd, DEADLINE_MS), 0);
	ck_assert_int_ne(access(vhd.uds, F_OK), 0);
}
END_TEST

static void ignore_hangups(void)
{
	signal(SIGHUP, SIG_IGN);
}

/* nohup(1) means what it says, with a file and without. */
START_TEST(ignored_at_the_start_it_stays_ignored)
{
	vhd.prepare = ignore_hangups;
	if (_i)
		start(BOTH, at_info);
	else
		daemon_start(&vhd, at_info);
	ck_assert(daemon_wait_log(&vhd, " main: serving "));
	if (_i)
		reloads_ask("vms:\n" VM3);
	else
		must(kill(vhd.pid, SIGHUP) == 0);
	must(kill(vhd.pid, SIGTERM) == 0);	/* taken after it */
	ck_assert_int_eq(daemon_wait_exit(&vhd, DEADLINE_MS), 0);
	ck_assert_msg(daemon_has_logged(&vhd, "ends on signal 15"), "%s", daemon_log(&vhd));
	ck_assert(!daemon_has_logged(&vhd, "was read again"));
}
END_TEST

/* ---- passed sockets ---- */

static int passed[2];				/* become descriptors 30 and 31 */

static void pass(void)
{
	for (int i = 0; i < 2; i++)
		dup2(passed[i], 30 + i);
}

static int listen_at(const char *path)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(addr.sun_path, sizeof addr.sun_path, "%s", path);
	must(bind(fd, (struct sockaddr *)&addr, sizeof addr) == 0 && listen(fd, 16) == 0);
	return fd;
}

#define FD3(rest) "  - { guest-cid: 3, fd: 30, uds-path: $/vm.sock" rest " }\n"
#define FD5	"  - { guest-cid: 5, fd: 31, uds-path: $/5.sock }\n"

/* They stay as they are, change beside and under their guests, go, and come again. */
START_TEST(with_passed_sockets)
{
	int pair[2];
	struct driver other = { .fe.sock = -1 };
	const struct driver_options five = { .cid = 5 };

	passed[0] = listen_at(reloads_path("passed"));
	must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
	passed[1] = pair[1];
	vhd.prepare = pass;
	reloads_spawn("vms:\n" FD3("") FD5, at_info);
	close(passed[0]);
	close(passed[1]);
	ck_assert(daemon_wait_listening(&vhd, vhd.uds));
	driver_up(&vm, reloads_path("passed"), NULL);
	driver_init(&other, &five);
	ck_assert_int_eq(driver_attach_to(&other, pair[0]), 0);
	reloads_wait_guest(3);
	reloads_wait_guest(5);
	reloads_do("vms:\n" FD3("") FD5 VM4(VM4_PATHS), "main: vm 4: added\n");
	reloads_do("vms:\n" FD3(", groups: a") FD5, "main: vm 3: changed: groups\n");
	ck_assert(!daemon_has_logged(&vhd, "vm 5"));
	e2e_check_alive();
	e2e_close(e2e_host_connects(&other, reloads_path("5.sock")));
	driver_deinit(&vm);
	reloads_do("vms:\n" FD5, "main: vm 3: removed\n");
	reloads_do("vms:\n" FD3("") FD5, "main: vm 3: added\n");
	driver_up(&vm, reloads_path("passed"), NULL);
	e2e_check_alive();
	reloads_do("vms:\n" FD3("")
		   "  - { guest-cid: 6, fd: 31, uds-path: $/6.sock }\n", "nothing has changed");
	ck_assert(daemon_has_logged(&vhd, "another VM has used that descriptor"));
	e2e_close(e2e_host_connects(&other, reloads_path("5.sock")));
	driver_deinit(&other);
}
END_TEST

static void activate(void)
{
	char pid[16];

	for (int i = 0; i < 2; i++)
		passed[i] = fcntl(passed[i], F_DUPFD, 100);
	for (int i = 0; i < 2; i++)
		dup2(passed[i], 3 + i);
	snprintf(pid, sizeof pid, "%d", (int)getpid());
	setenv("LISTEN_FDS", "2", 1);
	setenv("LISTEN_PID", pid, 1);
	setenv("LISTEN_FDNAMES", "first:second", 1);
}

/* Those of a service manager: a sole VM has them by their order, and keeps them beside others;
 * another uds-path is another socket; and the old one has that again. */
START_TEST(with_sockets_of_a_manager)
{
	static const char moved[] =
		"vms:\n  - { guest-cid: 3, socket: $/vhost.sock, uds-path: $/moved }\n";

	passed[0] = listen_at(reloads_path("a"));
	passed[1] = listen_at(reloads_path("b"));
	vhd.prepare = activate;
	reloads_spawn("vms:\n" VM3, at_info);
	close(passed[0]);
	close(passed[1]);
	ck_assert(daemon_wait_log(&vhd, " main: serving "));
	driver_up(&vm, reloads_path("a"), NULL);
	reloads_wait_guest(3);
	reloads_do(BOTH, "main: vm 4: added\n");
	ck_assert(!daemon_has_logged(&vhd, "vm 3"));
	e2e_check_talks(e2e_host_connects(&vm, reloads_path("b")));
	e2e_check_talks(e2e_guest_connects(&vm, vhd.uds));
	reloads_do(moved, "main: vm 3: changed: uds-path\n");
	e2e_check_talks(e2e_host_connects(&vm, reloads_path("moved")));
	ck_assert_int_eq(access(reloads_path("b"), F_OK), 0);
}
END_TEST

/* ---- what is left over ---- */

enum { RELOADS = 1000, WARM = 100 };

static void wait_named(const char *path)
{
	int64_t deadline = deadline_in(DEADLINE_MS);

	while (access(path, F_OK) < 0) {
		ck_assert_msg(deadline_left(deadline), "%s", daemon_log(&vhd));
		poll(NULL, 0, 1);
	}
}

/* VM 5 comes and goes, VM 4 moves to and fro; and nothing else tells that it was done. */
static void reload_to_and_fro(int i)
{
	bool odd = i % 2;

	reloads_write(odd ? "vms:\n" VM3 VM4("socket: $/4.vhost, uds-path: $/moved, groups: [a, b]") :
		      "vms:\n" VM3 VM4(VM4_PATHS) VM5);
	must(kill(vhd.pid, SIGHUP) == 0);
	wait_named(reloads_path(odd ? "moved" : "5.vhost"));
	ck_assert(reloads_wait_gone(reloads_path(odd ? "5.vhost" : "moved")));
}

/* The engine has done what it was told last: it serves VM 5, which has no guest. */
static void wait_for_engine(void)
{
	int host;

	ck_assert(daemon_wait_listening(&vhd, reloads_path("5.sock")));
	host = host_dial(reloads_path("5.sock"), PORT);
	ck_assert(host_is_closed(host, DEADLINE_MS));
	close(host);
	e2e_check_alive();
}

/* A descriptor may be that of a journal that was not made yet. */
static const struct e2e_growth allowed = { .fds = 1, .rss_bytes = 512 * 1024 };

START_TEST(a_thousand_leave_nothing)
{
	struct daemon_usage engine, supervisor;

	start("vms:\n" VM3 VM4(VM4_PATHS) VM5, NULL);
	for (int i = 1; i <= WARM; i++)
		reload_to_and_fro(i);
	wait_for_engine();
	engine = daemon_usage(&vhd);
	supervisor = daemon_usage_supervisor(&vhd);
	for (int i = 1; i <= RELOADS; i++)
		reload_to_and_fro(i);
	wait_for_engine();
	e2e_check_growth(daemon_usage, &engine, &allowed);
	e2e_check_growth(daemon_usage_supervisor, &supervisor, &allowed);
}
END_TEST

/* An engine that is stopped, and has been told more than there is room for: that is no reason
 * to wait at the end. */
START_TEST(ends_in_the_middle)
{
	enum { MANY = 300, LINE_BYTES = 80, SOON_MS = 4000 };
	static char text[MANY * LINE_BYTES + sizeof "vms:\n" VM3] = "vms:\n" VM3;

	for (int cid = 10; cid < 10 + MANY; cid++)
		snprintf(text + strlen(text), LINE_BYTES, "  - { guest-cid: %d, socket: $/v%d, "
			 "uds-path: $/u%d }\n", cid, cid, cid);
	start("vms:\n" VM3, at_info);
	must(kill(daemon_engine(&vhd), SIGSTOP) == 0);
	reloads_do(text, "was read again");
	ck_assert_int_eq(daemon_stop(&vhd, SOON_MS), 0);
	ck_assert_int_ne(access(vhd.uds, F_OK), 0);
}
END_TEST

/* ---- as somebody else ---- */

/* The supervisor still makes sockets for whom the engine has become, in a folder of root. */
START_TEST(with_another_user)
{
	static const char *const extra[] = {
		"--user", "nobody", "--group", "65534", "--log-level=info", NULL,
	};
	struct driver other = { .fe.sock = -1 };
	const struct driver_options four = { .cid = 4 };
	struct stat st;

	if (geteuid() != 0)
		return;
	start("vms:\n" VM3, extra);
	reloads_do("vms:\n" VM3 VM4(VM4_PATHS ", uds-group: root, uds-mode: 660"),
		   "main: vm 4: added\n");
	ck_assert_int_eq(stat(reloads_path("4.sock"), &st), 0);
	ck_assert_uint_eq(st.st_uid, 65534);
	ck_assert_uint_eq(st.st_gid, 0);
	driver_up(&other, reloads_path("4.vhost"), &four);
	e2e_close(e2e_host_connects(&other, reloads_path("4.sock")));
	e2e_close(e2e_guest_connects(&other, reloads_path("4.sock")));
	reloads_do("vms:\n" VM3, "main: vm 4: removed\n");
	ck_assert(reloads_wait_gone(reloads_path("4.sock")));
	driver_deinit(&other);
	e2e_check_alive();
}
END_TEST

int main(void)
{
	Suite *s = suite_create("reload_file");
	TCase *tc = e2e_case(s, "files", e2e_setup_bare, 120);

	tcase_add_loop_test(tc, a_mistake_changes_nothing, 0, COUNT(mistakes) + 1);
	tcase_add_test(tc, a_lost_name_is_looked_for);
	tcase_add_loop_test(tc, the_log_level, 0, 2);
	tcase_add_test(tc, with_passed_sockets);
	tcase_add_test(tc, with_sockets_of_a_manager);
	tcase_add_test(tc, a_thousand_leave_nothing);
	tcase_add_test(tc, with_another_user);
	tc = e2e_case_with(s, "signals", e2e_setup_bare, e2e_teardown_ended, 60);
	tcase_add_test(tc, without_a_file_it_ends_the_daemon);
	tcase_add_test(tc, ends_in_the_middle);
	tcase_add_loop_test(tc, ignored_at_the_start_it_stays_ignored, 0, 2);
	return e2e_run(s);
}
