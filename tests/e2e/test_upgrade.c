/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Another engine takes over under a guest (SIGUSR2): nobody notices, no byte is lost, none
 * comes twice or in another order.
 */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "e2e/e2e.h"

enum { UPGRADES = 5 };

/* Returns when the other one serves. */
static void upgrade(void)
{
	pid_t engine = daemon_engine(&vhd);

	must(kill(vhd.pid, SIGUSR2) == 0);
	must(daemon_wait_gone(engine, DEADLINE_MS));
	ck_assert_int_ne(daemon_engine(&vhd), engine);
	ck_assert(daemon_is_running(&vhd));
}

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
}
END_TEST

int main(void)
{
	Suite *s = suite_create("upgrade");
	TCase *tc = e2e_case(s, "vm", e2e_setup_vm, 60);

	tcase_add_test(tc, connections_go_on);
	return e2e_run(s);
}
