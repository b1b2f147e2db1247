/* SPDX-License-Identifier: BSD-3-Clause */
/* Messages that may block are sent by threads: whole or not at all, and nobody waits. The socket
 * is one of AF_UNIX, which blocks as one of AF_VSOCK does. */
#include "util/sender.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "unit.h"
#include "util/clock.h"
#include "util/fd.h"
#include "util/log.h"

enum { DEADLINE_MS = 20000, QUIET_MS = 50, BIG = 30000, MANY = SENDER_THREADS_MAX + 8 };

static struct loop *loop;
static struct mailbox *box;
static struct senders *all;
static int fds_before, threads_before, n_done;
static void *last_done;
static char text[BIG];

static void on_done(void *ctx)
{
	last_done = ctx;
	n_done++;
}

static void *nothing(void *arg)
{
	return arg;
}

static void setup(void)
{
	pthread_t first;

	/* After it a sanitizer has made its own, if it has any. */
	ck_assert_int_eq(pthread_create(&first, NULL, nothing, NULL), 0);
	ck_assert_int_eq(pthread_join(first, NULL), 0);
	fds_before = unit_count_fds();
	threads_before = unit_count_threads();
	n_done = 0;
	last_done = NULL;
	ck_assert_int_eq(loop_new(&loop), 0);
	ck_assert_int_eq(mailbox_new(&box, loop), 0);
	ck_assert_int_eq(senders_new(&all, box, "vm 3"), 0);
}

static void expect(int (*count)(void), int n)
{
	for (uint64_t until = clock_ms() + DEADLINE_MS; count() != n && clock_ms() < until; )
		poll(NULL, 0, 1);
	ck_assert_int_eq(count(), n);
}

static void teardown(void)
{
	senders_free(all);
	while (mailbox_deliver(box))
		;
	mailbox_free(box);
	loop_free(loop);
	expect(unit_count_fds, fds_before);
	expect(unit_count_threads, threads_before);
}

/* Ours, and the peer's. */
static void make_pair(int fds[2])
{
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds), 0);
	ck_assert_int_eq(sender_prepare(fds[0]), 0);
}

static struct sending *begin(int fd, const char *bytes, size_t len)
{
	struct iovec v[2] = {
		{ .iov_len = len / 2 }, { .iov_len = len - len / 2 },
	};
	const char *rest = bytes + v[0].iov_len;
	struct sending *s;

	memcpy(&v[0].iov_base, &bytes, sizeof bytes);
	memcpy(&v[1].iov_base, &rest, sizeof rest);
	ck_assert_int_eq(sending_new(&s, all, fd, v, 2, 0, on_done, &n_done), 0);
	return s;
}

/* Until nothing more goes in; returns how many have. */
static int fill(int fd)
{
	int n = 0;

	while (send(fd, text, BIG, MSG_DONTWAIT) == BIG)
		n++;
	ck_assert_int_eq(errno, EAGAIN);
	return n;
}

static void drain(int fd, int n)
{
	while (n-- > 0)
		ck_assert_int_eq(recv(fd, text, BIG, MSG_DONTWAIT), BIG);
}

static void expect_done(int n)
{
	uint64_t until = clock_ms() + DEADLINE_MS;

	while (n_done < n) {
		ck_assert_uint_lt(clock_ms(), until);
		ck_assert_int_eq(loop_step(loop, 20), 0);
	}
	ck_assert_int_eq(n_done, n);
}

START_TEST(sends)
{
	struct sending *s;
	char got[100];
	int fds[2];

	make_pair(fds);
	for (int i = 1; i <= 3; i++) {
		s = begin(fds[0], "hello, world", 12);
		expect_done(i);
		ck_assert_ptr_eq(last_done, &n_done);
		ck_assert_int_eq(sending_result(s), 0);
		sending_free(s, &fds[0]);
		ck_assert_int_ge(fds[0], 0);
		ck_assert_int_eq(recv(fds[1], got, sizeof got, MSG_DONTWAIT), 12);
		ck_assert_mem_eq(got, "hello, world", 12);
	}
	fd_close(&fds[0]);
	fd_close(&fds[1]);
}
END_TEST

/* What is sent by then is told in the other thread. */
START_TEST(moved)
{
	struct mailbox *first = box;
	struct sending *s;
	int fds[2];

	make_pair(fds);
	ck_assert_int_eq(mailbox_new(&box, loop), 0);
	senders_move(all, box);
	s = begin(fds[0], "hello", 5);
	for (uint64_t until = clock_ms() + DEADLINE_MS; sending_result(s) == SENDING_E_BUSY; ) {
		ck_assert_uint_lt(clock_ms(), until);
		poll(NULL, 0, 1);
	}
	ck_assert(!mailbox_deliver(first));
	expect_done(1);
	sending_free(s, &fds[0]);
	mailbox_free(first);
	fd_close(&fds[0]);
	fd_close(&fds[1]);
}
END_TEST

/* The calls of the socket wait, for ever as it seems; but the kernel may not begin them anew. */
START_TEST(prepared)
{
	struct timeval limit = { 0 };
	socklen_t len = sizeof limit;
	int fds[2];

	make_pair(fds);
	ck_assert_int_eq(fcntl(fds[0], F_GETFL) & O_NONBLOCK, 0);
	ck_assert_int_eq(getsockopt(fds[0], SOL_SOCKET, SO_SNDTIMEO, &limit, &len), 0);
	ck_assert_int_gt(limit.tv_sec, 86400);
	fd_close(&fds[0]);
	ck_assert_int_eq(sender_prepare(fds[0]), -EBADF);
	fd_close(&fds[1]);
}
END_TEST

/* One peer does not read: the others get theirs meanwhile, and it what waits, when it does. */
START_TEST(a_peer_that_does_not_read)
{
	struct sending *stuck, *s;
	int slow[2], fds[2], n;
	char got[100];

	make_pair(slow);
	make_pair(fds);
	n = fill(slow[0]);
	stuck = begin(slow[0], text, BIG);
	ck_assert_int_eq(sending_wait(stuck, clock_ms() + QUIET_MS), SENDING_E_BUSY);
	for (int i = 1; i <= 3; i++) {
		s = begin(fds[0], "x", 1);
		expect_done(i);
		ck_assert_int_eq(sending_result(s), 0);
		sending_free(s, &fds[0]);
		ck_assert_int_eq(recv(fds[1], got, sizeof got, MSG_DONTWAIT), 1);
	}
	ck_assert_int_eq(sending_result(stuck), SENDING_E_BUSY);
	drain(slow[1], n);
	ck_assert_int_eq(sending_wait(stuck, clock_ms() + DEADLINE_MS), 0);
	ck_assert_int_eq(recv(slow[1], text, BIG, 0), BIG);
	expect_done(4);
	sending_free(stuck, &slow[0]);
	for (int i = 0; i < 2; i++) {
		fd_close(&slow[i]);
		fd_close(&fds[i]);
	}
}
END_TEST

/* ... and goes on not to. Whoever gives up goes on at once, and nothing is left. */
START_TEST(given_up_while_it_is_sent)
{
	uint64_t began_ms;
	struct sending *s;
	int fds[2], n;

	make_pair(fds);
	n = fill(fds[0]);
	s = begin(fds[0], text, BIG);
	ck_assert_int_eq(sending_wait(s, clock_ms() + QUIET_MS), SENDING_E_BUSY);
	began_ms = clock_ms();
	sending_free(s, &fds[0]);
	ck_assert_uint_lt(clock_ms() - began_ms, 1000);
	ck_assert_int_eq(fds[0], -1);		/* the thread's */
	senders_free(all);			/* it ends by itself */
	all = NULL;
	drain(fds[1], n);
	ck_assert_int_eq(recv(fds[1], text, BIG, 0), 0);
	fd_close(&fds[1]);
	ck_assert_int_eq(loop_step(loop, QUIET_MS), 0);
	ck_assert_int_eq(n_done, 0);
}
END_TEST

/* The mail is under way when nobody wants to know any more. */
START_TEST(given_up_before_it_is_told)
{
	struct sending *s;
	int fds[2];

	make_pair(fds);
	s = begin(fds[0], "x", 1);
	ck_assert_int_eq(sending_wait(s, clock_ms() + DEADLINE_MS), 0);
	sending_free(s, &fds[0]);
	ck_assert_int_ge(fds[0], 0);
	ck_assert_int_eq(loop_step(loop, QUIET_MS), 0);
	ck_assert_int_eq(n_done, 0);
	fd_close(&fds[0]);
	fd_close(&fds[1]);
}
END_TEST

static const struct {
	const char *name;
	bool is_full, is_closed;
	int result;
} failures[] = {
	{ "nobody reads any more", false, true, -EPIPE },
	{ "... while it is sent", true, true, -EPIPE },
};

START_TEST(failing)
{
	struct sending *s;
	int fds[2];

	make_pair(fds);
	if (failures[_i].is_full) {
		fill(fds[0]);
		s = begin(fds[0], text, BIG);
		ck_assert_int_eq(sending_wait(s, clock_ms() + QUIET_MS), SENDING_E_BUSY);
		fd_close(&fds[1]);
	} else {
		fd_close(&fds[1]);
		s = begin(fds[0], text, BIG);
	}
	expect_done(1);
	ck_assert(sending_result(s) == failures[_i].result || sending_result(s) == -ECONNRESET);
	sending_free(s, &fds[0]);
	fd_close(&fds[0]);
}
END_TEST

/* As many as there may be threads do not read. What is more waits, and is not lost. */
START_TEST(as_many_as_there_may_be)
{
	static int slow[MANY][2];
	static struct sending *stuck[MANY];
	int fds[2], threads, n = 0;
	struct sending *s;
	char got[100];

	log_level = LEVEL_ERR;
	for (int i = 0; i < MANY; i++) {
		make_pair(slow[i]);
		n = fill(slow[i][0]);
		stuck[i] = begin(slow[i][0], text, BIG);
	}
	make_pair(fds);
	s = begin(fds[0], "x", 1);
	ck_assert_int_eq(sending_wait(s, clock_ms() + QUIET_MS), SENDING_E_BUSY);
	threads = unit_count_threads() - threads_before;
	ck_assert_int_eq(threads, SENDER_THREADS_MAX);
	/* Two that wait are given up, and never sent. */
	for (int i = MANY - 2; i < MANY; i++) {
		sending_free(stuck[i], &slow[i][0]);
		ck_assert_int_ge(slow[i][0], 0);
	}
	for (int i = 0; i < MANY - 2; i++)
		drain(slow[i][1], n);
	ck_assert_int_eq(sending_wait(s, clock_ms() + DEADLINE_MS), 0);
	ck_assert_int_eq(recv(fds[1], got, sizeof got, MSG_DONTWAIT), 1);
	for (int i = 0; i < MANY - 2; i++) {
		ck_assert_int_eq(sending_wait(stuck[i], clock_ms() + DEADLINE_MS), 0);
		sending_free(stuck[i], &slow[i][0]);
	}
	sending_free(s, &fds[0]);
	for (int i = 0; i < MANY; i++) {
		fd_close(&slow[i][0]);
		fd_close(&slow[i][1]);
	}
	fd_close(&fds[0]);
	fd_close(&fds[1]);
}
END_TEST

static void on_signal(int sig)
{
	(void)sig;
}

/* A signal goes to a thread that can be interrupted, not to one that sends. */
START_TEST(signals)
{
	struct sigaction act = { .sa_handler = on_signal };
	struct sending *s;
	sigset_t set, before;
	int fds[2], n;

	ck_assert_int_eq(sigaction(SIGUSR1, &act, NULL), 0);
	make_pair(fds);
	n = fill(fds[0]);
	s = begin(fds[0], text, BIG);
	ck_assert_int_eq(sending_wait(s, clock_ms() + QUIET_MS), SENDING_E_BUSY);
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigprocmask(SIG_BLOCK, &set, &before);
	kill(getpid(), SIGUSR1);
	ck_assert_int_eq(sending_wait(s, clock_ms() + QUIET_MS), SENDING_E_BUSY);
	sigprocmask(SIG_SETMASK, &before, NULL);
	drain(fds[1], n);
	ck_assert_int_eq(sending_wait(s, clock_ms() + DEADLINE_MS), 0);
	sending_free(s, &fds[0]);
	fd_close(&fds[0]);
	fd_close(&fds[1]);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("sender");
	TCase *tc = tcase_create("sender");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, sends);
	tcase_add_test(tc, moved);
	tcase_add_test(tc, prepared);
	tcase_add_test(tc, a_peer_that_does_not_read);
	tcase_add_test(tc, given_up_while_it_is_sent);
	tcase_add_test(tc, given_up_before_it_is_told);
	tcase_add_loop_test(tc, failing, 0, COUNT(failures));
	tcase_add_test(tc, as_many_as_there_may_be);
	tcase_add_test(tc, signals);
	suite_add_tcase(suite, tc);
	return unit_main(suite);
}
