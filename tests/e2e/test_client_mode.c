/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Front-ends that do not come to a socket of our making: one that listens itself, and
 * sockets that the launcher has made and passed on, listening or connected.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "e2e/e2e.h"

#define COUNT(array) ((int)(sizeof (array) / sizeof *(array)))

enum { PASSED = 30, PASSED_TOO };		/* descriptors in the daemon */

/* What the daemon is started with, at these numbers; set before the child is made. */
static int passed[2];

static void pass(void)
{
	for (int i = 0; i < COUNT(passed); i++)
		if (passed[i] >= 0)
			must(dup2(passed[i], PASSED + i) >= 0);
}

static void setup(void)
{
	e2e_setup_bare();
	passed[0] = passed[1] = -1;
	vhd.prepare = pass;
}

static void attach_to(struct driver *d, int sock)
{
	driver_init(d, NULL);
	ck_assert_int_eq(driver_attach_to(d, sock), 0);
}

/* ---- a front-end that listens ---- */

/* Where it does: "<socket>_0". */
static const char *front_end_path(void)
{
	static char path[sizeof vhd.socket + 2];

	snprintf(path, sizeof path, "%s_0", vhd.socket);
	return path;
}

static int front_end_listen(void)
{
	return host_listen(vhd.socket, 0, 16);
}

static void front_end_unlisten(int listener)
{
	host_unlisten(listener, vhd.socket, 0);
}

static void spawn_connecting(void)
{
	const char *const args[] = {
		"--socket-connect", front_end_path(), "--uds-path", vhd.uds,
		"--log-level=info", NULL,
	};

	daemon_spawn(&vhd, args);
	ck_assert(daemon_wait_listening(&vhd, vhd.uds));
}

/* Before it is there, when it has gone, when its socket was made anew. */
START_TEST(connects_again_and_again)
{
	int listener;

	spawn_connecting();
	ck_assert(daemon_wait_log(&vhd, "there is no such socket yet"));
	listener = front_end_listen();
	for (int i = 0; i < 3; i++) {
		attach_to(&vm, host_accept(listener));
		e2e_check_alive();
		if (i == 1) {
			front_end_unlisten(listener);
			listener = front_end_listen();
		}
		driver_deinit(&vm);
	}
	attach_to(&vm, host_accept(listener));
	e2e_check_alive();
	front_end_unlisten(listener);
	ck_assert(!daemon_has_logged(&vhd, "warn vm"));
}
END_TEST

/* One that is there and then only listens no more: its socket stays behind. */
START_TEST(stale_socket_is_tried_again)
{
	int listener = front_end_listen();

	close(listener);
	spawn_connecting();
	ck_assert(daemon_wait_log(&vhd, "nobody listens there"));
	must(unlink(front_end_path()) == 0);
	listener = front_end_listen();
	attach_to(&vm, host_accept(listener));
	e2e_check_alive();
	front_end_unlisten(listener);
}
END_TEST

/* Who hangs up without a word is asked less and less often; who was a front-end, soon. */
START_TEST(backs_off)
{
	int64_t before = 0, now;
	int listener = front_end_listen();

	spawn_connecting();
	for (int wait = 50; wait <= 400; wait *= 2) {
		int fd = host_accept(listener);

		now = now_ms();
		close(fd);
		if (before)
			ck_assert_int_ge(now - before, wait - 10);
		before = now;
	}
	attach_to(&vm, host_accept(listener));
	driver_deinit(&vm);
	attach_to(&vm, host_accept(listener));
	e2e_check_alive();
	front_end_unlisten(listener);
}
END_TEST

/* The folder has to be there: the sandbox keeps no other. */
START_TEST(missing_folder_is_an_error)
{
	char path[128];
	const char *const args[] = { "--socket-connect", path, "--uds-path", vhd.uds, NULL };

	snprintf(path, sizeof path, "%s/none/fe.sock", vhd.dir);
	daemon_spawn(&vhd, args);
	ck_assert_int_eq(daemon_wait_exit(&vhd, DEADLINE_MS), 1);
	ck_assert(daemon_has_logged(&vhd, "socket-connect"));
	ck_assert(daemon_has_logged(&vhd, "No such file or directory"));
	ck_assert_int_ne(access(vhd.uds, F_OK), 0);
}
END_TEST

/* ---- sockets that were passed in ---- */

static void spawn_with_fd(void)
{
	const char *const args[] = { "--fd", "30", "--uds-path", vhd.uds, "--log-level=info", NULL };

	daemon_spawn(&vhd, args);
	for (int i = 0; i < COUNT(passed); i++)
		if (passed[i] >= 0)
			close(passed[i]);
	ck_assert(daemon_wait_listening(&vhd, vhd.uds));
}

/* Front-ends come and go; the name is the launcher's, and stays. */
START_TEST(passed_listener)
{
	passed[0] = front_end_listen();
	spawn_with_fd();
	for (int i = 0; i < 3; i++) {
		driver_up(&vm, front_end_path(), NULL);
		e2e_check_alive();
		driver_deinit(&vm);
	}
	driver_up(&vm, front_end_path(), NULL);
	ck_assert_int_eq(daemon_stop(&vhd, DEADLINE_MS), 0);
	ck_assert_int_eq(access(front_end_path(), F_OK), 0);
	ck_assert_int_ne(access(vhd.uds, F_OK), 0);
	must(unlink(front_end_path()) == 0);
}
END_TEST

/* It blocks, as launchers leave it; a worker must not. Probes that come and go at once. */
START_TEST(passed_listener_that_blocks)
{
	passed[0] = front_end_listen();
	must(fcntl(passed[0], F_SETFL, fcntl(passed[0], F_GETFL) & ~O_NONBLOCK) == 0);
	spawn_with_fd();
	for (int i = 0; i < 100; i++)
		close(host_connect(front_end_path()));
	driver_up(&vm, front_end_path(), NULL);
	e2e_check_alive();
	must(unlink(front_end_path()) == 0);
}
END_TEST

static int connected_pair(int *theirs)
{
	int pair[2];

	must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
	*theirs = pair[1];
	return pair[0];
}

/* Nobody can come after it. */
START_TEST(passed_connection)
{
	int ours = connected_pair(&passed[0]);

	spawn_with_fd();
	attach_to(&vm, ours);
	e2e_check_alive();
	driver_detach(&vm);
	ck_assert_int_eq(daemon_wait_exit(&vhd, DEADLINE_MS), 0);
	ck_assert(daemon_has_logged(&vhd, "no other can come"));
	ck_assert_int_ne(access(vhd.uds, F_OK), 0);
}
END_TEST

/* Nor after one that has not said a word. */
START_TEST(passed_connection_that_ends_at_once)
{
	const char *const args[] = { "--fd", "30", "--uds-path", vhd.uds, NULL };

	close(connected_pair(&passed[0]));
	daemon_spawn(&vhd, args);
	close(passed[0]);
	ck_assert_int_eq(daemon_wait_exit(&vhd, DEADLINE_MS), 0);
}
END_TEST

/* A signal ends it as ever while its front-end is there. */
START_TEST(passed_connection_and_a_signal)
{
	int ours = connected_pair(&passed[0]);

	spawn_with_fd();
	attach_to(&vm, ours);
	ck_assert_int_eq(daemon_stop(&vhd, DEADLINE_MS), 0);
	ck_assert(!daemon_has_logged(&vhd, "no other can come"));
}
END_TEST

/* The daemon stays until the last one has gone. */
START_TEST(passed_connections_of_two)
{
	char words[2][256], uds[128];
	const char *const args[] = { "--vm", words[0], "--vm", words[1], NULL };
	int ours = connected_pair(&passed[0]), other = connected_pair(&passed[1]);
	struct driver first;

	snprintf(uds, sizeof uds, "%s/other.sock", vhd.dir);
	snprintf(words[0], sizeof words[0], "guest-cid=4,fd=30,uds-path=%s", uds);
	snprintf(words[1], sizeof words[1], "guest-cid=3,fd=31,uds-path=%s", vhd.uds);
	daemon_spawn(&vhd, args);
	close(passed[0]);
	close(passed[1]);
	ck_assert(daemon_wait_listening(&vhd, vhd.uds));
	driver_init(&first, &(struct driver_options){ .cid = 4 });
	ck_assert_int_eq(driver_attach_to(&first, ours), 0);
	attach_to(&vm, other);
	driver_detach(&first);
	e2e_check_alive();
	ck_assert(!deadline_poll(vhd.pidfd, POLLIN, deadline_in(QUIET_MS)));
	driver_detach(&vm);
	ck_assert_int_eq(daemon_wait_exit(&vhd, DEADLINE_MS), 0);
	driver_deinit(&first);
}
END_TEST

static int no_descriptor(void)
{
	return -1;
}

static int file(void)
{
	return open("/dev/null", O_RDONLY | O_CLOEXEC);
}

static int datagrams(void)
{
	return socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
}

static int tcp(void)
{
	return socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
}

static int idle(void)
{
	return socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
}

static const struct {
	int (*make)(void);
	const char *why;
} mistakes[] = {
	{ no_descriptor, "--fd: 30: no such descriptor was passed to us" },
	{ file, "--fd: 30: that descriptor is no socket" },
	{ datagrams, "--fd: 30: not a unix stream socket" },
	{ tcp, "--fd: 30: not a unix stream socket" },
	{ idle, "--fd: 30: a socket that neither listens nor is connected" },
};

START_TEST(passed_mistakes)
{
	const char *const args[] = { "--fd=30", "--uds-path", vhd.uds, NULL };

	passed[0] = mistakes[_i].make();
	daemon_spawn(&vhd, args);
	ck_assert_int_eq(daemon_wait_exit(&vhd, DEADLINE_MS), 2);
	ck_assert_msg(daemon_has_logged(&vhd, mistakes[_i].why), "%s", daemon_log(&vhd));
}
END_TEST

/* No socket has a name then: there is no folder that the sandbox could keep, and none
 * that it could begin with. */
START_TEST(passed_and_no_name_at_all)
{
	const char *const args[] = { "--fd", "30", "--forward-cid", "1", "--log-level=info", NULL };
	static const char lack[] = "connects are not confined";
	int ours = connected_pair(&passed[0]);
	uint64_t features;

	daemon_start(&vhd, NULL);
	must(daemon_engine(&vhd) > 0);
	ck_assert_int_eq(daemon_stop(&vhd, DEADLINE_MS), 0);	/* all is written */
	if (daemon_has_logged(&vhd, lack))
		return;				/* nor has it one with folders here */
	daemon_spawn(&vhd, args);
	close(passed[0]);
	vm.fe = (struct vmm){ .sock = ours, .reply_ms = DEADLINE_MS };
	ck_assert_int_eq(vmm_get_features(&vm.fe, &features), 0);
	ck_assert(!daemon_has_logged(&vhd, lack));
	vmm_close(&vm.fe);
	ck_assert_int_eq(daemon_wait_exit(&vhd, DEADLINE_MS), 0);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("client mode");
	TCase *tc = e2e_case(s, "serving", setup, 60);

	tcase_add_test(tc, connects_again_and_again);
	tcase_add_test(tc, stale_socket_is_tried_again);
	tcase_add_test(tc, backs_off);
	tcase_add_test(tc, passed_listener_that_blocks);
	tc = e2e_case_with(s, "ended", setup, e2e_teardown_ended, 60);
	tcase_add_test(tc, missing_folder_is_an_error);
	tcase_add_test(tc, passed_listener);
	tcase_add_test(tc, passed_connection);
	tcase_add_test(tc, passed_connection_that_ends_at_once);
	tcase_add_test(tc, passed_connection_and_a_signal);
	tcase_add_test(tc, passed_connections_of_two);
	tcase_add_loop_test(tc, passed_mistakes, 0, COUNT(mistakes));
	tcase_add_test(tc, passed_and_no_name_at_all);
	return e2e_run(s);
}
