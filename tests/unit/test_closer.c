/* SPDX-License-Identifier: BSD-3-Clause */
/* Descriptors that others have made are closed, and their memory is unmapped, but not by
 * those who are done with them. */
#include "util/closer.h"

#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "slow_close.h"
#include "unit.h"
#include "util/fd.h"

enum { DEADLINE_MS = 20000 };

static int64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* The other end of a pipe shows when this one is closed. */
static bool is_closed(int pipe_read, int64_t deadline_ms)
{
	struct pollfd p = { .fd = pipe_read, .events = POLLIN };

	while (poll(&p, 1, 10) != 1 || !(p.revents & POLLHUP))
		if (now_ms() > deadline_ms)
			return false;
	return true;
}

static void setup_held(void)
{
	ck_assert_int_eq(closer_init(), 0);
}

static void setup(void)
{
	setup_held();
	closer_start();
}

/* A process with a user namespace of its own to make must have no other thread. */
START_TEST(nothing_is_done_before_the_start)
{
	struct closer_map *m = malloc(sizeof *m);
	struct pollfd read_end = { .events = POLLIN };
	int n_threads = unit_count_threads(), p[2];

	ck_assert_ptr_nonnull(m);
	*m = (struct closer_map){ .len = 4096, .granule = 4096 };
	m->at = mmap(NULL, m->len, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ck_assert_ptr_ne(m->at, MAP_FAILED);
	ck_assert_int_eq(pipe2(p, O_CLOEXEC), 0);
	closer_close(&p[1]);
	closer_unmap(m);
	ck_assert_int_eq(unit_count_threads(), n_threads);
	read_end.fd = p[0];
	ck_assert_int_eq(poll(&read_end, 1, 20), 0);
	closer_start();
	ck_assert(is_closed(p[0], now_ms() + DEADLINE_MS));
	fd_close(&p[0]);
}
END_TEST

START_TEST(closes)
{
	int p[2], fd = -1;

	ck_assert_int_eq(pipe2(p, O_CLOEXEC), 0);
	closer_close(&fd);
	closer_close(&p[1]);
	ck_assert_int_eq(p[1], -1);
	ck_assert(is_closed(p[0], now_ms() + DEADLINE_MS));
	fd_close(&p[0]);
}
END_TEST

START_TEST(many)
{
	enum { N = 500 };
	int p[N][2];

	for (int i = 0; i < N; i++)
		ck_assert_int_eq(pipe2(p[i], O_CLOEXEC), 0);
	for (int i = 0; i < N; i++)
		closer_close(&p[i][1]);
	for (int i = 0; i < N; i++) {
		ck_assert(is_closed(p[i][0], now_ms() + DEADLINE_MS));
		fd_close(&p[i][0]);
	}
}
END_TEST

/* Who closes the slow ones goes on at once; and other descriptors are closed meanwhile. */
START_TEST(slow_ones_hold_up_nobody)
{
	enum { SLOW = 3 };
	int slow[SLOW], peers[SLOW], p[2];
	int64_t began_ms;

	for (int i = 0; i < SLOW; i++)
		if ((slow[i] = slow_close_new(&peers[i])) < 0)
			return;
	began_ms = now_ms();
	for (int i = 0; i < SLOW; i++) {
		closer_close(&slow[i]);
		while (now_ms() < began_ms + (i + 1) * 250)
			poll(NULL, 0, 10);	/* it is in it by now */
	}
	ck_assert_int_eq(pipe2(p, O_CLOEXEC), 0);
	closer_close(&p[1]);
	ck_assert(is_closed(p[0], began_ms + SLOW_CLOSE_S * 1000 - 500));
	for (int i = 0; i < SLOW; i++)
		fd_close(&peers[i]);
	fd_close(&p[0]);
}
END_TEST

/* What comes right after them is closed as well, with no other close to bring it on. */
START_TEST(slow_ones_hold_up_nobody_at_once)
{
	enum { SLOW_MAX = 4 };
	int n_slow = _i ? SLOW_MAX : 1, slow[SLOW_MAX], peers[SLOW_MAX], p[2];
	int64_t began_ms;

	for (int i = 0; i < n_slow; i++)
		if ((slow[i] = slow_close_new(&peers[i])) < 0)
			return;
	ck_assert_int_eq(pipe2(p, O_CLOEXEC), 0);
	began_ms = now_ms();
	for (int i = 0; i < n_slow; i++)
		closer_close(&slow[i]);
	closer_close(&p[1]);
	ck_assert(is_closed(p[0], began_ms + SLOW_CLOSE_S * 1000 - 500));
	for (int i = 0; i < n_slow; i++)
		fd_close(&peers[i]);
	fd_close(&p[0]);
}
END_TEST

enum { MIB = 1 << 20 };

static const struct map_case {
	size_t len, granule;
} map_cases[] = {
	{ 4096, 4096 }, { 100 * MIB, 4096 }, { 100 * MIB + 4096, 4096 },
	{ 64 * MIB, 2 * MIB }, { 96 * MIB, 32 * MIB },
};

/* A file, and a mapping of it that has been written to here and there. */
static struct closer_map *map_file(const struct map_case *c, int *fd)
{
	struct closer_map *m = malloc(sizeof *m);
	char *at;

	*fd = memfd_create("map", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	ck_assert_int_eq(ftruncate(*fd, (off_t)c->len), 0);
	at = mmap(NULL, c->len, PROT_READ | PROT_WRITE, MAP_SHARED, *fd, 0);
	ck_assert_ptr_ne(at, MAP_FAILED);
	for (size_t i = 0; i < c->len; i += MIB)
		at[i] = 1;
	*m = (struct closer_map){ .at = at, .len = c->len, .granule = c->granule };
	return m;
}

/* Nobody can be kept from writing to it who has it mapped. */
static bool is_unmapped(int fd)
{
	return fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE) == 0;
}

START_TEST(unmaps)
{
	int64_t deadline_ms = now_ms() + DEADLINE_MS;
	int fd;

	closer_unmap(map_file(&map_cases[_i], &fd));
	while (!is_unmapped(fd)) {
		ck_assert_int_lt(now_ms(), deadline_ms);
		poll(NULL, 0, 1);
	}
	fd_close(&fd);
}
END_TEST

START_TEST(unmaps_at_once_where_there_are_no_threads)
{
	int fd;

	closer_unmap(map_file(&map_cases[_i], &fd));
	ck_assert(is_unmapped(fd));
	fd_close(&fd);
}
END_TEST

/* While all who close are held up, memory is given back. */
START_TEST(slow_ones_do_not_hold_memory)
{
	int64_t deadline_ms = now_ms() + SLOW_CLOSE_S * 1000 - 500;
	int slow[CLOSER_THREADS_MAX + 1], peers[CLOSER_THREADS_MAX + 1], fd;

	for (int i = 0; i <= CLOSER_THREADS_MAX; i++)
		if ((slow[i] = slow_close_new(&peers[i])) < 0)
			return;
	for (int i = 0; i <= CLOSER_THREADS_MAX; i++)
		closer_close(&slow[i]);
	closer_unmap(map_file(&map_cases[0], &fd));
	while (!is_unmapped(fd)) {
		ck_assert_int_lt(now_ms(), deadline_ms);
		poll(NULL, 0, 1);
	}
	for (int i = 0; i <= CLOSER_THREADS_MAX; i++)
		fd_close(&peers[i]);
	fd_close(&fd);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("closer");
	TCase *tc = tcase_create("closer");

	tcase_add_checked_fixture(tc, setup, NULL);
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, closes);
	tcase_add_test(tc, many);
	tcase_add_test(tc, slow_ones_hold_up_nobody);
	tcase_add_loop_test(tc, slow_ones_hold_up_nobody_at_once, 0, 2);
	tcase_add_loop_test(tc, unmaps, 0, COUNT(map_cases));
	tcase_add_test(tc, slow_ones_do_not_hold_memory);
	suite_add_tcase(suite, tc);
	tc = tcase_create("held");
	tcase_add_checked_fixture(tc, setup_held, NULL);
	tcase_add_test(tc, nothing_is_done_before_the_start);
	suite_add_tcase(suite, tc);
	tc = tcase_create("no threads");
	tcase_add_loop_test(tc, unmaps_at_once_where_there_are_no_threads, 0, COUNT(map_cases));
	suite_add_tcase(suite, tc);
	return unit_main(suite);
}
