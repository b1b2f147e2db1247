/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Another engine is made ready while the present one serves (SIGUSR2): it has opened the VMs,
 * loaded their journals and mapped their memory when it takes over. What a front-end has changed
 * in between holds, as if there had been nothing.
 *
 * The new engine stops by itself at a point of its way (halt.h), and while it is stopped the
 * front-end says this and that to the old one. Or the supervisor is, which then does not hear that
 * the new engine is prepared.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "e2e/halt.h"
#include "e2e/upgrade.h"

enum { STOPS_SUPERVISOR, STOPS_ENGINE, TRIES = 5 };

static struct pair talk;
static char halt_file[128];
static pid_t engine;				/* the old one */

static void setup(void)
{
	e2e_setup_bare();
	snprintf(halt_file, sizeof halt_file, "%s/halt", vhd.dir);
	setenv(HALT_FILE, halt_file, 1);
	e2e_preload("HALT");
	e2e_start(NULL, NULL);
	e2e_preload(NULL);
}

static void wait_until_stopped(pid_t pid)
{
	int64_t deadline = deadline_in(DEADLINE_MS);

	while (!daemon_is_stopped(pid))
		must(deadline_left(deadline));
}

/* The new engine, or the supervisor, when it has stopped. */
static pid_t hold_up(int who)
{
	FILE *f = fopen(halt_file, "we");
	pid_t next;

	must(f && fputs(who == STOPS_ENGINE ? HALT_TOLD : HALT_PREPARED, f) >= 0 && fclose(f) == 0);
	engine = daemon_engine(&vhd);
	next = upgrade_begin(engine);
	wait_until_stopped(next);
	must(unlink(halt_file) == 0);
	if (who == STOPS_ENGINE)
		return next;
	must(kill(vhd.pid, SIGSTOP) == 0);
	wait_until_stopped(vhd.pid);
	must(kill(next, SIGCONT) == 0);
	return vhd.pid;
}

/* ---- what changes ---- */

static void disable_tx(void)
{
	ck_assert_int_eq(vmm_set_vring_enable(&vm.fe, VSOCK_TXQ, false), 0);
}

static void tx_is_disabled(void)
{
	ck_assert(sock_send(talk.guest, "x", 1));
	ck_assert(host_is_quiet(talk.host, QUIET_MS));
	ck_assert_int_eq(vmm_set_vring_enable(&vm.fe, VSOCK_TXQ, true), 0);
	ck_assert_uint_eq(host_read(talk.host, &(char){ 0 }, 1), 1);
	e2e_check_talks(talk);
}

/* The driver sleeps until it is called, by the new one. */
static void exchange_call(void)
{
	struct guest_ring *rx = &vm.vq[VSOCK_RXQ];

	close(rx->call_fd);
	rx->call_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	must(rx->call_fd >= 0);
	ck_assert_int_eq(vmm_set_vring_call(&vm.fe, VSOCK_RXQ, rx->call_fd), 0);
}

static void share_again(void)
{
	ck_assert_int_eq(vmm_set_mem_table(&vm.fe, &vm.guest), 0);
}

static void all_is_as_before(void)
{
	e2e_check_talks(talk);
}

static void leave(void)
{
	driver_deinit(&vm);
	ck_assert(host_is_closed(talk.host, DEADLINE_MS));
}

static void another_can_come(void)
{
	driver_up(&vm, vhd.socket, NULL);
	e2e_check_alive();
	talk = e2e_guest_connects(&vm, vhd.uds);
}

static void leave_and_come(void)
{
	leave();
	driver_up(&vm, vhd.socket, NULL);
	talk = e2e_guest_connects(&vm, vhd.uds);
}

static void nothing(void)
{
}

static const struct row {
	const char *name;
	int who;
	void (*change)(void), (*check)(void);
} rows[] = {
	{ "nothing, before it is told", STOPS_ENGINE, nothing, all_is_as_before },
	{ "nothing", STOPS_SUPERVISOR, nothing, all_is_as_before },
	{ "a ring is disabled", STOPS_SUPERVISOR, disable_tx, tx_is_disabled },
	{ "a call descriptor", STOPS_SUPERVISOR, exchange_call, all_is_as_before },
	{ "a call descriptor, before it is looked at", STOPS_ENGINE, exchange_call,
	  all_is_as_before },
	{ "the memory table", STOPS_SUPERVISOR, share_again, all_is_as_before },
	{ "it leaves", STOPS_SUPERVISOR, leave, another_can_come },
	{ "another takes its place", STOPS_ENGINE, leave_and_come, all_is_as_before },
};

/* False: the supervisor has had no patience with it, on a machine that is busy; then nothing has
 * happened. It has no less for having been stopped itself. */
static bool go_on(pid_t stopped)
{
	kill(stopped, SIGCONT);
	while (!daemon_wait_gone(engine, QUIET_MS))
		if (daemon_has_logged(&vhd, "takes over: it takes too long"))
			return false;
	return true;
}

START_TEST(changed_meanwhile)
{
	const struct row *row = &rows[_i];
	pid_t stopped;
	int tries = 0;

	talk = e2e_guest_connects(&vm, vhd.uds);
	do {
		ck_assert_int_lt(tries++, TRIES);
		stopped = hold_up(row->who);
		row->change();
	} while (!go_on(stopped));
	row->check();
	e2e_check_talks(talk);
	upgrade();				/* what it has left is whole */
	e2e_check_talks(talk);
	e2e_close(talk);
	e2e_check_alive();
}
END_TEST

int main(void)
{
	Suite *s = suite_create("upgrade_ahead");
	TCase *tc = e2e_case(s, "changed", setup, 60);

	tcase_add_loop_test(tc, changed_meanwhile, 0, sizeof rows / sizeof *rows);
	return e2e_run(s);
}
