/* SPDX-License-Identifier: BSD-3-Clause */
/* What a front-end may hand over to be signalled: eventfds, and nothing that blocks. */
#include "vhost/event_fd.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "unit.h"
#include "util/fd.h"
#include "util/watchdog.h"

static int make_pipe(void)
{
	int fds[2];

	ck_assert_int_eq(pipe2(fds, O_CLOEXEC), 0);
	return fds[1];
}

static int make_socket(void)
{
	int fds[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	return fds[0];
}

static int make_epoll(void)
{
	return epoll_create1(EPOLL_CLOEXEC);
}

static int make_timer(void)
{
	return timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
}

static int make_signal(void)
{
	sigset_t none;

	sigemptyset(&none);
	return signalfd(-1, &none, SFD_CLOEXEC);
}

static int make_inotify(void)
{
	return inotify_init1(IN_CLOEXEC);
}

static int make_memory(void)
{
	return memfd_create("test", MFD_CLOEXEC);
}

static int make_null(void)
{
	return open("/dev/null", O_RDWR | O_CLOEXEC);
}

static const struct {
	const char *name;
	int (*make)(void);
} others[] = {
	{ "pipe", make_pipe }, { "socket", make_socket }, { "epoll", make_epoll },
	{ "timerfd", make_timer }, { "signalfd", make_signal }, { "inotify", make_inotify },
	{ "memfd", make_memory }, { "/dev/null", make_null },
};

START_TEST(others_are_told_apart)
{
	int fd = others[_i].make();
	bool may_block;

	ck_assert_int_ge(fd, 0);
	ck_assert_msg(event_fd_check(fd, &may_block) == EVENT_FD_E_OTHER, "%s", others[_i].name);
	fd_close(&fd);
}
END_TEST

static const uint64_t counts[] = { 0, 1, UINT64_MAX - 1 };

/* _i: blocking or not, for each count; it stays what it was. */
START_TEST(eventfds_are_left_as_they_are)
{
	uint64_t count = counts[_i / 2], got = 0;
	int fd = eventfd(0, EFD_CLOEXEC | (_i % 2 ? EFD_NONBLOCK : 0));
	bool may_block;

	ck_assert_int_eq(write(fd, &count, sizeof count), sizeof count);
	ck_assert_int_eq(event_fd_check(fd, &may_block), 0);
	ck_assert_int_eq(may_block, !(_i % 2));
	ck_assert_int_eq(fcntl(fd, F_GETFL) & O_NONBLOCK, _i % 2 ? O_NONBLOCK : 0);
	if (count)
		ck_assert_int_eq(read(fd, &got, sizeof got), sizeof got);
	ck_assert_uint_eq(got, count);
	fd_close(&fd);
}
END_TEST

/* One is added; at the top it has been signalled often enough, also if it would block. */
START_TEST(signals)
{
	uint64_t top = UINT64_MAX - 1, got;
	int fd = eventfd(0, EFD_CLOEXEC | (_i ? EFD_NONBLOCK : 0));

	ck_assert_int_eq(event_fd_signal(fd, !_i), 0);
	ck_assert_int_eq(event_fd_signal(fd, !_i), 0);
	ck_assert_int_eq(read(fd, &got, sizeof got), sizeof got);
	ck_assert_uint_eq(got, 2);
	ck_assert_int_eq(write(fd, &top, sizeof top), sizeof top);
	ck_assert_int_eq(event_fd_signal(fd, !_i), 0);
	ck_assert_int_eq(read(fd, &got, sizeof got), sizeof got);
	ck_assert_uint_eq(got, top);
	fd_close(&fd);
}
END_TEST

static void *signal_in_a_batch(void *arg)
{
	struct watchdog_entry e;
	static int result;

	watchdog_add(&e);
	watchdog_begin(&e);
	result = event_fd_signal(*(int *)arg, false);
	watchdog_end(&e);
	watchdog_remove(&e);
	kill(getpid(), SIGUSR1);		/* the watcher may go home */
	return &result;
}

/* It was made to block behind our back, and is full: the watchdog gets us out. _i: also
 * where the user may have no timer (ulimit -i). */
START_TEST(held_up)
{
	const struct rlimit none = { 0 };
	uint64_t top = UINT64_MAX - 1;
	int fd = eventfd(0, EFD_CLOEXEC);
	pthread_t thread;
	sigset_t ends;
	void *result;

	ck_assert_int_eq(write(fd, &top, sizeof top), sizeof top);
	sigemptyset(&ends);
	sigaddset(&ends, SIGUSR1);
	pthread_sigmask(SIG_BLOCK, &ends, NULL);
	ck_assert(!_i || setrlimit(RLIMIT_SIGPENDING, &none) == 0);
	ck_assert_int_eq(watchdog_init(), 0);
	ck_assert_int_eq(pthread_create(&thread, NULL, signal_in_a_batch, &fd), 0);
	ck_assert_int_eq(watchdog_wait(&ends, -1), SIGUSR1);
	ck_assert_int_eq(pthread_join(thread, &result), 0);
	ck_assert_int_eq(*(int *)result, EVENT_FD_E_HELD_UP);
	fd_close(&fd);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("event_fd");
	TCase *tc = tcase_create("event_fd");

	tcase_add_loop_test(tc, others_are_told_apart, 0, COUNT(others));
	tcase_add_loop_test(tc, eventfds_are_left_as_they_are, 0, 2 * COUNT(counts));
	tcase_add_loop_test(tc, signals, 0, 2);
	tcase_add_loop_test(tc, held_up, 0, 2);
	suite_add_tcase(suite, tc);
	return unit_main(suite);
}
