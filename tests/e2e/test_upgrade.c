/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Another engine takes over under a guest (SIGUSR2): nobody notices, no byte is lost, none
 * comes twice or in another order.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "e2e/upgrade.h"
#include "support/host_messages.h"

enum { UPGRADES = 5 };

START_TEST(connections_go_on)
{
	struct pair there = e2e_guest_connects(&vm, vhd.uds);
	struct pair back = e2e_host_connects(&vm, vhd.uds);

	for (int i = 0; i < UPGRADES; i++) {
		e2e_check_talks(there);
		upgrade();
		e2e_check_talks(there);
		e2e_check_talks(back);
		e2e_check_alive();
	}
	e2e_close(there);
	e2e_close(back);
	ck_assert_uint_eq(vm.n_strangers, 0);
	ck_assert_uint_eq(daemon_counts(&vhd).upgrades, UPGRADES);
	ck_assert_uint_eq(daemon_counts(&vhd).crashes, 0);
}
END_TEST

/* ---- another program ---- */

static const char *installed;

static void setup_installed(void)
{
	e2e_setup_bare();
	installed = upgrade_install();
	e2e_start(NULL, NULL);
}

static bool runs_another(pid_t pid)
{
	char path[64], to[200] = "";

	snprintf(path, sizeof path, "/proc/%d/exe", (int)pid);
	if (readlink(path, to, sizeof to - 1) < 0 && errno == EACCES)
		return true;			/* an engine, which only root may look at */
	must(*to);
	return strcmp(to, installed) == 0;	/* else that one is deleted */
}

START_TEST(another_program_takes_over)
{
	struct pair there = e2e_guest_connects(&vm, vhd.uds);
	struct pair back = e2e_host_connects(&vm, vhd.uds);

	for (int i = 0; i < UPGRADES; i++) {
		e2e_check_talks(there);
		upgrade_install_another();
		ck_assert(!runs_another(vhd.pid));
		upgrade();
		ck_assert(runs_another(vhd.pid));
		ck_assert(runs_another(daemon_engine(&vhd)));
		e2e_check_talks(there);
		e2e_check_talks(back);
		e2e_check_alive();
	}
	ck_assert_uint_eq(daemon_counts(&vhd).upgrades, UPGRADES);
	e2e_close(there);
	e2e_close(back);
}
END_TEST

static char in_the_way[sizeof vhd.uds + 16];

static void setup_in_the_way(void)
{
	e2e_setup_bare();
	snprintf(in_the_way, sizeof in_the_way, "%s_seqpacket", vhd.uds);
	must(mkdir(in_the_way, 0700) == 0);
	installed = upgrade_install();
	e2e_start(NULL, NULL);
}

/* The socket for SOCK_SEQPACKET, which the program before did not know, or could not have. */
START_TEST(another_program_makes_its_socket)
{
	int64_t deadline = deadline_in(DEADLINE_MS);
	int fd;

	ck_assert_int_eq(host_messages_connect(vhd.uds), -1);
	must(rmdir(in_the_way) == 0);
	upgrade_install_another();
	upgrade();
	while ((fd = host_messages_connect(vhd.uds)) < 0) {
		ck_assert(deadline_left(deadline));
		poll(NULL, 0, 1);
	}
	close(fd);
	e2e_check_alive();
}
END_TEST

/* The daemon has said why, and goes on as it was. */
static void check_nothing_happens(const char *why)
{
	struct pair p = e2e_guest_connects(&vm, vhd.uds);
	pid_t engine = daemon_engine(&vhd);

	must(kill(vhd.pid, SIGUSR2) == 0);
	ck_assert(daemon_wait_log(&vhd, why));
	ck_assert_int_eq(daemon_engine(&vhd), engine);
	e2e_check_talks(p);
	e2e_check_alive();
	e2e_close(p);
}

START_TEST(a_program_that_is_none_changes_nothing)
{
	static const char *const programs[] = {
		"#!/bin/false\n", "#!/bin/true\n", "no program at all", "",
	};
	FILE *f;

	must(unlink(installed) == 0);
	if (_i == 4) {
		check_nothing_happens("No such file or directory");
		return;
	}
	f = fopen(installed, "w");
	must(f && fputs(programs[_i], f) >= 0 && fclose(f) == 0);
	must(chmod(installed, 0755) == 0);
	check_nothing_happens("cannot take over");
}
END_TEST

int main(void)
{
	Suite *s = suite_create("upgrade");
	TCase *tc = e2e_case(s, "vm", e2e_setup_vm, 60);

	setenv("TEST_SUPERVISE", "on", 1);	/* it is what all of this is about */
	tcase_add_test(tc, connections_go_on);
	tc = e2e_case(s, "installed", setup_installed, 60);
	tcase_add_test(tc, another_program_takes_over);
	tcase_add_loop_test(tc, a_program_that_is_none_changes_nothing, 0, 5);
	tc = e2e_case(s, "in_the_way", setup_in_the_way, 60);
	tcase_add_test(tc, another_program_makes_its_socket);
	return e2e_run(s);
}
