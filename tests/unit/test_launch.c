/* SPDX-License-Identifier: BSD-3-Clause */
/* What the process was started with; here on machines of all sizes. */
#include "sandbox/launch.h"

#include <errno.h>
#include <sched.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

#include "unit.h"
#include "util/watchdog.h"

/* ---- CPUs ---- */

static struct machine {
	const char *name;
	size_t possible;			/* CPUs that the kernel keeps room for */
	size_t ours;				/* the last ones of them; we may run on these */
	int error;				/* of the call, or 0 */
	size_t count;
} machines[] = {
	{ "one CPU", 1, 1, 0, 1 },
	{ "a set's worth", 1024, 1024, 0, 1024 },
	{ "one more", 1025, 1025, 0, 1025 },
	{ "kept to a few of many", 8192, 3, 0, 3 },
	{ "more than any", 1 << 20, 1 << 20, 0, 1 << 20 },
	{ "no end of them", SIZE_MAX, 1, 0, 1 },
	{ "forbidden", 64, 64, EPERM, 1 },
};
static const struct machine *machine;

/* In the place of libc's: the kernel's rules on a machine of ours. */
int sched_getaffinity(pid_t pid, size_t size, cpu_set_t *set)
{
	ck_assert_int_eq(pid, 0);
	if (machine->error || size * 8 < machine->possible) {
		errno = machine->error ? machine->error : EINVAL;
		return -1;
	}
	memset(set, 0, size);
	for (size_t i = machine->possible - machine->ours; i < machine->possible; i++)
		CPU_SET_S(i, size, set);
	return 0;
}

START_TEST(cpus_are_counted)
{
	machine = &machines[_i];
	ck_assert_msg(launch_count_cpus() == machine->count, "%s", machine->name);
}
END_TEST

/* ---- signals ---- */

static bool is_blocked(int sig)
{
	sigset_t now;

	ck_assert_int_eq(pthread_sigmask(SIG_BLOCK, NULL, &now), 0);
	return sigismember(&now, sig);
}

static const int usual[] = { SIGHUP, SIGINT, SIGTERM };

/* _i: which are ignored, bit by bit. */
START_TEST(ignored_signals_are_not_waited_for)
{
	sigset_t set;

	for (int i = 0; i < COUNT(usual); i++)
		signal(usual[i], _i & 1 << i ? SIG_IGN : SIG_DFL);
	launch_reset_signals();
	launch_block_ends(&set);
	for (int i = 0; i < COUNT(usual); i++) {
		ck_assert_int_eq(sigismember(&set, usual[i]), !(_i & 1 << i));
		ck_assert_int_eq(is_blocked(usual[i]), !(_i & 1 << i));
	}
}
END_TEST

/* Whatever the launcher has blocked or ignored. */
START_TEST(own_end_is_heard)
{
	sigset_t set;
	int sig;

	for (int i = 1; i < NSIG; i++)
		signal(i, SIG_IGN);
	launch_reset_signals();
	launch_block_ends(&set);
	launch_end();
	ck_assert_int_eq(sigwait(&set, &sig), 0);
	ck_assert_int_ne(sig, SIGTERM);
}
END_TEST

/* ... and by who waits as the daemon does: it is not taken for the watchdog's own wake,
 * nor lost where the launcher ignores such signals. */
START_TEST(own_end_is_not_the_watchdogs)
{
	sigset_t set;

	for (int sig = SIGRTMIN; sig <= SIGRTMAX; sig++)
		signal(sig, SIG_IGN);
	launch_block_ends(&set);
	ck_assert_int_eq(watchdog_init(), 0);
	launch_end();
	ck_assert_int_gt(watchdog_wait(&set, -1), 0);
}
END_TEST

START_TEST(mask_is_set_not_added_to)
{
	sigset_t all;

	sigfillset(&all);
	ck_assert_int_eq(pthread_sigmask(SIG_SETMASK, &all, NULL), 0);
	launch_reset_signals();
	for (int i = 1; i < NSIG; i++)
		ck_assert_msg(is_blocked(i) <= 0, "%s", strsignal(i));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("launch");
	TCase *tc = tcase_create("launch");

	tcase_add_loop_test(tc, cpus_are_counted, 0, COUNT(machines));
	tcase_add_loop_test(tc, ignored_signals_are_not_waited_for, 0, 8);
	tcase_add_test(tc, own_end_is_heard);
	tcase_add_test(tc, own_end_is_not_the_watchdogs);
	tcase_add_test(tc, mask_is_set_not_added_to);
	suite_add_tcase(suite, tc);
	return unit_main(suite);
}
