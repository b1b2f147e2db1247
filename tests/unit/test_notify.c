/* SPDX-License-Identifier: BSD-3-Clause */
/* What a service manager hears, above all of a worker that is held up. */
#include "daemon/notify.h"

#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "support/deadline.h"
#include "unit.h"
#include "util/watchdog.h"

static int manager;

/* At an abstract name, which needs no folder. */
static void setup(void)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	char name[64];

	snprintf(name, sizeof name, "@vsock-notify-%d", (int)getpid());
	memcpy(sa.sun_path + 1, name + 1, strlen(name) - 1);
	manager = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	ck_assert_int_eq(bind(manager, (struct sockaddr *)&sa,
			      (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(name))), 0);
	setenv("NOTIFY_SOCKET", name, 1);
	setenv("WATCHDOG_USEC", "100000", 1);	/* so every 50 ms */
	unsetenv("WATCHDOG_PID");
	ck_assert_int_eq(watchdog_init(), 0);
}

/* False: nothing in this time. */
static bool hear(char *text, size_t size, int ms)
{
	ssize_t n;

	if (!deadline_poll(manager, POLLIN, deadline_in(ms)))
		return false;
	n = recv(manager, text, size - 1, 0);
	ck_assert_int_gt(n, 0);
	text[n] = '\0';
	return true;
}

static bool hears_life(int ms)
{
	int64_t deadline = deadline_in(ms);
	char text[512];

	while (hear(text, sizeof text, deadline_left(deadline)))
		if (strstr(text, "WATCHDOG=1\n"))
			return true;
	return false;
}

static void forget_all(void)
{
	char text[512];

	while (hear(text, sizeof text, 0))
		;
}

START_TEST(ready_first_stopping_last)
{
	char text[512];

	ck_assert_int_eq(notify_init(), 0);
	ck_assert_int_eq(notify_start(2, watchdog_has_stuck), 0);
	ck_assert(hear(text, sizeof text, DEADLINE_MS));
	ck_assert_str_eq(text, "READY=1\nWATCHDOG=1\nSTATUS=2 VMs, 0 front-ends connected\n");
	ck_assert(hears_life(DEADLINE_MS));
	notify_stop();
	do
		ck_assert(hear(text, sizeof text, 0));
	while (!strstr(text, "STOPPING=1\n"));
	ck_assert(!hear(text, sizeof text, 0));
}
END_TEST

static struct watchdog_entry worker;
static pthread_barrier_t step;

static void *work(void *arg)
{
	watchdog_add(&worker);
	watchdog_begin(&worker);
	pthread_barrier_wait(&step);		/* held up from here ... */
	pthread_barrier_wait(&step);		/* ... to here */
	watchdog_end(&worker);
	pthread_barrier_wait(&step);
	pthread_barrier_wait(&step);
	watchdog_remove(&worker);
	return arg;
}

START_TEST(silent_while_a_worker_is_held_up)
{
	pthread_t thread;

	pthread_barrier_init(&step, NULL, 2);
	ck_assert_int_eq(pthread_create(&thread, NULL, work, NULL), 0);
	pthread_barrier_wait(&step);
	ck_assert_int_eq(notify_init(), 0);
	ck_assert_int_eq(notify_start(1, watchdog_has_stuck), 0);
	/* At the first look it may be in this batch only just; from then on it is held up. */
	ck_assert(hears_life(DEADLINE_MS));
	ck_assert(!hears_life(500));
	pthread_barrier_wait(&step);
	pthread_barrier_wait(&step);
	forget_all();
	ck_assert(hears_life(DEADLINE_MS));
	ck_assert(hears_life(DEADLINE_MS));
	pthread_barrier_wait(&step);
	pthread_join(thread, NULL);
	notify_stop();
}
END_TEST

START_TEST(watchdog_of_another_process)
{
	setenv("WATCHDOG_PID", "1", 1);
	ck_assert_int_eq(notify_init(), 0);
	ck_assert_int_eq(notify_start(1, watchdog_has_stuck), 0);
	ck_assert(!hears_life(300));
	notify_stop();
}
END_TEST

static const char *const bad_names[] = { "vsock:2:1", "relative", "/", "/no/such/socket" };

START_TEST(bad_names_are_errors)
{
	setenv("NOTIFY_SOCKET", bad_names[_i], 1);
	ck_assert_int_lt(notify_init(), 0);
	ck_assert_int_eq(notify_start(1, watchdog_has_stuck), 0);	/* nobody to tell */
	notify_front_end(1);
	notify_stop();
}
END_TEST

START_TEST(no_manager)
{
	int fds = unit_count_fds();

	unsetenv("NOTIFY_SOCKET");
	ck_assert_int_eq(notify_init(), 0);
	ck_assert_int_eq(notify_start(1, watchdog_has_stuck), 0);
	notify_front_end(1);
	notify_stop();
	ck_assert_int_eq(unit_count_fds(), fds);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("notify");
	TCase *tc = tcase_create("notify");

	tcase_add_checked_fixture(tc, setup, NULL);
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, ready_first_stopping_last);
	tcase_add_test(tc, silent_while_a_worker_is_held_up);
	tcase_add_test(tc, watchdog_of_another_process);
	tcase_add_loop_test(tc, bad_names_are_errors, 0, COUNT(bad_names));
	tcase_add_test(tc, no_manager);
	suite_add_tcase(suite, tc);
	return unit_main(suite);
}
