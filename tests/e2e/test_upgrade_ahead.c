/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Another engine is made ready while the present one serves (SIGUSR2): it has opened the VMs,
 * loaded their journals and mapped their memory when it takes over. What a front-end has changed
 * in between holds, as if there had been nothing.
 *
 * Who is next is stopped on its way, the supervisor or the new engine, while the front-end says
 * this and that to the old one. If it was stopped too late the old one may be parked already, and it
 * is tried again.
 */
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "e2e/upgrade.h"

enum {
	STOPS_SUPERVISOR, STOPS_ENGINE,
	TOLD = 2,				/* threads of an engine that has been told all: it
						   has one for its log */
	LOADED = 3,				/* a worker, too: it has loaded what there is */
	ANSWER_MS = 500, ANSWERS = 4,		/* of a worker that is not about to park */
	TRIES = 20,
};

static struct pair talk;
static pid_t engine;				/* the old one */

static int count_threads(pid_t pid)
{
	char path[64], line[128];
	int n = 0;
	FILE *f;

	snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
	f = fopen(path, "re");
	if (!f)
		return -1;
	while (fgets(line, sizeof line, f))
		if (sscanf(line, "Threads: %d", &n) == 1)
			break;
	fclose(f);
	return n;
}

/* False: it is gone, or has not come so far. */
static bool wait_for_threads(pid_t pid, int n)
{
	int64_t deadline = deadline_in(DEADLINE_MS);
	int has;

	while ((has = count_threads(pid)) >= 0 && has < n && deadline_left(deadline))
		poll(NULL, 0, 1);		/* /proc cannot be polled */
	return has >= n;
}

static void stop(pid_t pid)
{
	int64_t deadline = deadline_in(DEADLINE_MS);

	must(kill(pid, SIGSTOP) == 0);
	while (!daemon_is_stopped(pid))
		must(deadline_left(deadline));
}

/* Is there an answer while it is stopped? Else it comes once all goes on. */
static bool is_answered(void)
{
	int before = vm.fe.reply_ms, r;
	uint64_t features;

	vm.fe.reply_ms = ANSWER_MS;
	r = vmm_get_features(&vm.fe, &features);
	vm.fe.reply_ms = before;
	return r == 0;
}

/* The old engine has not been told to park: its main thread sleeps, and a worker that was about to
 * would not answer so often. Another's workers begin before it says that it is ready. */
static bool is_in_time(int who, pid_t next)
{
	struct daemon alone = vhd;		/* the old engine, without its supervisor */
	int n = 0;

	alone.pid = engine;
	alone.is_supervised = false;
	if (who == STOPS_ENGINE)
		return count_threads(next) == TOLD;
	wait_for_threads(next, LOADED);
	daemon_wait_asleep(&alone, DEADLINE_MS);
	while (n < ANSWERS && is_answered())
		n++;
	if (n == ANSWERS)
		return true;
	must(kill(vhd.pid, SIGCONT) == 0);
	ck_assert_int_eq(vmm_recv(&vm.fe, &(struct vmm_msg){ .hdr.size = 0 }), 0);
	return false;
}

/* Stops who is next, in time: returns the process that was stopped. 0: it was too late each time. */
static pid_t hold_up(int who)
{
	for (int i = 0; i < TRIES; i++) {
		pid_t next, stopped;

		engine = daemon_engine(&vhd);
		next = upgrade_begin(engine);
		stopped = who == STOPS_ENGINE ? next : vhd.pid;
		if (wait_for_threads(next, TOLD)) {
			stop(stopped);
			if (is_in_time(who, next))
				return stopped;
			kill(stopped, SIGCONT);
		}
		must(daemon_wait_gone(engine, DEADLINE_MS));
	}
	printf("# never in time\n");
	return 0;
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

/* On a machine that is busy enough the supervisor has had no patience with it; then nothing has
 * happened. */
static void go_on(pid_t stopped)
{
	kill(stopped, SIGCONT);
	while (!daemon_wait_gone(engine, QUIET_MS))
		if (daemon_has_logged(&vhd, "takes over: it takes too long"))
			return;
}

START_TEST(changed_meanwhile)
{
	const struct row *row = &rows[_i];
	pid_t stopped;

	talk = e2e_guest_connects(&vm, vhd.uds);
	stopped = hold_up(row->who);
	if (stopped) {
		row->change();
		go_on(stopped);
		row->check();
	}
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
	TCase *tc = e2e_case(s, "changed", e2e_setup_vm, 60);

	tcase_add_loop_test(tc, changed_meanwhile, 0, sizeof rows / sizeof *rows);
	return e2e_run(s);
}
