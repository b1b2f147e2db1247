/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The names of the sockets: the kernel's, which is what others look for, and what becomes of
 * two daemons that want the same.
 */
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "e2e/e2e.h"

enum { ROUNDS = 20 };

static struct daemon rival;

static void setup(void)
{
	e2e_setup_bare();
	daemon_init(&rival);
}

static void teardown(void)
{
	e2e_teardown();
	daemon_deinit(&rival);
}

START_TEST(listed_as_configured)
{
	e2e_start(NULL, NULL);
	ck_assert_uint_eq(e2e_count_listed(vhd.socket), 1);
	ck_assert_uint_eq(e2e_count_listed(vhd.uds), 1);
	e2e_check_alive();
}
END_TEST

/* As a daemon that was killed does. */
static void leave_socket(const char *path)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(addr.sun_path, sizeof addr.sun_path, "%s", path);
	must(bind(fd, (struct sockaddr *)&addr, sizeof addr) == 0);
	close(fd);
}

/* Ends the one of the two that gives up by itself, and says which is left. */
static struct daemon *find_winner(void)
{
	struct pollfd p[2] = {
		{ .fd = vhd.pidfd, .events = POLLIN }, { .fd = rival.pidfd, .events = POLLIN },
	};
	struct daemon *loser;

	must(poll(p, 2, DEADLINE_MS) > 0);
	loser = p[0].revents ? &vhd : &rival;
	ck_assert_int_eq(daemon_wait_exit(loser, DEADLINE_MS), 1);
	return loser == &vhd ? &rival : &vhd;
}

/* With and without sockets that somebody has left behind: one serves, by the name, and the
 * other one says whom it has found there. */
START_TEST(one_of_two_serves)
{
	const char *const args[] = { "--socket", vhd.socket, "--uds-path", vhd.uds, NULL };
	char who[64];

	for (int round = 0; round < ROUNDS; round++) {
		struct daemon *winner;

		if (round % 2) {
			leave_socket(vhd.socket);
			leave_socket(vhd.uds);
		}
		daemon_spawn(&vhd, args);
		daemon_spawn(&rival, args);
		winner = find_winner();
		snprintf(who, sizeof who, "already: process %d (", (int)winner->pid);
		ck_assert(daemon_has_logged(winner == &vhd ? &rival : &vhd, who));
		ck_assert(daemon_wait_listening(winner, vhd.uds));
		ck_assert_uint_eq(e2e_count_listed(vhd.socket), 1);
		driver_up(&vm, vhd.socket, NULL);
		e2e_check_alive();
		driver_deinit(&vm);
		ck_assert_int_eq(daemon_stop(winner, DEADLINE_MS), 0);
		ck_assert_int_ne(access(vhd.socket, F_OK), 0);
		ck_assert_int_ne(access(vhd.uds, F_OK), 0);
	}
}
END_TEST

int main(void)
{
	Suite *s = suite_create("names");
	TCase *tc = e2e_case_with(s, "names", setup, teardown, 120);

	tcase_add_test(tc, listed_as_configured);
	tcase_add_test(tc, one_of_two_serves);
	return e2e_run(s);
}
