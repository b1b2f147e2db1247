/* SPDX-License-Identifier: BSD-3-Clause */
/* Connects that wait for room in a backlog: how often they try, and in which order. */
#include "backend/dial.h"

#include <time.h>
#include <unistd.h>

#include "unit.h"
#include "util/error.h"

enum { MANY = 2000, DEADLINE_MS = 20000, NOT_YET = 1000 };

static struct loop *loop;
static struct dialer dialer;
static struct dial dials[MANY], *tried;
static unsigned n_tries, n_done, room;
static int results[MANY], order[MANY];
static uint32_t full_port, last_port;
static int other_result;

/* @room connects succeed; port full_port is full otherwise, the others say other_result. */
static int fake_connect(void *ctx, struct dial *d, uint32_t port)
{
	ck_assert_ptr_eq(ctx, &dialer);
	tried = d;
	n_tries++;
	last_port = port;
	if (port != full_port)
		return other_result;
	if (!room)
		return BACKEND_E_BUSY;
	room--;
	return 0;
}

static void on_done(struct dial *d, int error)
{
	order[n_done++] = (int)(d - dials);
	results[d - dials] = error;
}

static void setup(void)
{
	struct dialer_config config = { .connect = fake_connect, .ctx = &dialer };

	ck_assert_int_eq(loop_new(&loop), 0);
	config.loop = loop;
	dialer_init(&dialer, &config);
	n_tries = n_done = room = 0;
	full_port = 80;
	other_result = BACKEND_E_BUSY;
	for (int i = 0; i < MANY; i++) {
		dial_init(&dials[i], on_done);
		results[i] = NOT_YET;
	}
}

static void teardown(void)
{
	for (int i = 0; i < MANY; i++)
		dial_cancel(&dialer, &dials[i]);
	dialer_deinit(&dialer);
	loop_free(loop);
}

static uint64_t clock_now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static void begin(int i, uint32_t port, uint64_t give_up_in_ms)
{
	ck_assert_int_eq(dial_begin(&dialer, &dials[i], -1, port,
				    clock_now_ms() + give_up_in_ms), 0);
}

static void run_for(uint64_t ms)
{
	uint64_t end = clock_now_ms() + ms;

	while (clock_now_ms() < end)
		ck_assert_int_eq(loop_step(loop, 5), 0);
}

static void run_until_done(unsigned n)
{
	uint64_t end = clock_now_ms() + DEADLINE_MS;

	while (n_done < n) {
		ck_assert_uint_lt(clock_now_ms(), end);
		ck_assert_int_eq(loop_step(loop, 100), 0);
	}
}

static void run_until_tries(unsigned n)
{
	uint64_t end = clock_now_ms() + DEADLINE_MS;

	while (n_tries < n) {
		ck_assert_uint_lt(clock_now_ms(), end);
		ck_assert_int_eq(loop_step(loop, 100), 0);
	}
}

/* One tries for all, less and less often. */
START_TEST(thousands_cost_no_more_than_one)
{
	for (int i = 0; i < MANY; i++)
		begin(i, 80, 60000);
	run_for(400);
	ck_assert_uint_ge(n_tries, 1);
	ck_assert_uint_le(n_tries, 4 + 400 / 40);
	ck_assert_uint_eq(n_done, 0);
}
END_TEST

/* All of them as soon as there is room, who came first first, and some in a turn. */
START_TEST(in_order)
{
	for (int i = 0; i < 100; i++)
		begin(i, 80, 60000);
	room = 100;
	while (!n_done)
		ck_assert_int_eq(loop_step(loop, 100), 0);
	ck_assert_uint_le(n_done, 16);
	run_until_done(100);
	for (int i = 0; i < 100; i++) {
		ck_assert_int_eq(order[i], i);
		ck_assert_int_eq(results[i], 0);
	}
	ck_assert_uint_eq(n_tries, 100);
}
END_TEST

START_TEST(gives_up)
{
	begin(0, 80, 100);
	begin(1, 80, 60000);
	run_until_done(1);
	ck_assert_int_eq(results[0], BACKEND_E_BUSY);
	ck_assert_int_eq(results[1], NOT_YET);
	room = 1;
	run_until_done(2);
	ck_assert_int_eq(results[1], 0);
}
END_TEST

/* A port that nobody listens on any more fails each, and holds up no other port. */
START_TEST(ports_are_apart)
{
	other_result = -ECONNREFUSED;
	begin(0, 80, 60000);
	begin(1, 81, 60000);
	begin(2, 81, 60000);
	run_until_done(2);
	ck_assert_int_eq(results[1], -ECONNREFUSED);
	ck_assert_int_eq(results[2], -ECONNREFUSED);
	ck_assert_int_eq(results[0], NOT_YET);
}
END_TEST

START_TEST(many_ports_all_get_their_turn)
{
	for (int i = 0; i < 500; i++)
		begin(i, 1000 + (uint32_t)i, 60000);
	run_for(300);
	ck_assert_uint_ge(n_tries, 500);
	other_result = 0;
	run_until_done(500);
}
END_TEST

START_TEST(cancelled)
{
	for (int i = 0; i < 3; i++)
		begin(i, 80, 60000);
	dial_cancel(&dialer, &dials[0]);
	dial_cancel(&dialer, &dials[0]);
	dial_cancel(&dialer, &dials[2]);
	room = 3;
	run_for(60);
	ck_assert_uint_eq(n_done, 1);
	ck_assert_int_eq(order[0], 1);
	ck_assert_uint_eq(n_tries, 1);
}
END_TEST

/* A socket that waits is the dial's: closed when it is cancelled, handed on when it is done. */
START_TEST(owns_its_socket)
{
	int fds_before = unit_count_fds(), fd;

	for (int i = 0; i < 2; i++)
		ck_assert_int_eq(dial_begin(&dialer, &dials[i], dup(STDERR_FILENO), 80,
					    clock_now_ms() + 60000), 0);
	ck_assert_int_eq(unit_count_fds(), fds_before + 2);
	dial_cancel(&dialer, &dials[1]);
	ck_assert_int_eq(unit_count_fds(), fds_before + 1);
	room = 1;
	run_until_done(1);
	fd = dial_take_fd(&dials[0]);
	ck_assert_int_ge(fd, 0);
	dial_cancel(&dialer, &dials[0]);
	ck_assert_int_eq(unit_count_fds(), fds_before + 1);
	close(fd);
}
END_TEST

/* What somebody else is asked: nobody but the first tries until the answer is there. */
START_TEST(answered)
{
	other_result = BACKEND_E_PENDING;
	for (int i = 0; i < 3; i++)
		begin(i, 81, 60000);
	run_for(100);
	ck_assert_uint_eq(n_tries, 1);
	ck_assert_ptr_eq(tried, &dials[0]);
	dial_answer(&dialer, &dials[0], BACKEND_E_BUSY, -1);
	ck_assert_uint_eq(n_done, 0);
	run_until_tries(2);
	ck_assert_ptr_eq(tried, &dials[0]);
	dial_answer(&dialer, &dials[0], 0, dup(STDERR_FILENO));
	ck_assert_uint_eq(n_done, 1);
	ck_assert_int_eq(results[0], 0);
	ck_assert_int_ge(dials[0].fd, 0);
	run_until_tries(3);
	ck_assert_ptr_eq(tried, &dials[1]);
	dial_answer(&dialer, &dials[1], BACKEND_E_NOBODY, -1);
	ck_assert_int_eq(results[1], BACKEND_E_NOBODY);
	run_until_tries(4);
	ck_assert_ptr_eq(tried, &dials[2]);
}
END_TEST

START_TEST(answer_too_late_to_wait)
{
	other_result = BACKEND_E_PENDING;
	begin(0, 81, 0);
	run_until_tries(1);
	dial_answer(&dialer, &dials[0], BACKEND_E_BUSY, -1);
	ck_assert_int_eq(results[0], BACKEND_E_BUSY);
}
END_TEST

/* Each waits no longer than it wants to. */
START_TEST(no_answer)
{
	other_result = BACKEND_E_PENDING;
	begin(0, 81, 50);
	begin(1, 81, 60000);
	begin(2, 80, 60000);
	run_until_done(1);
	ck_assert_int_eq(results[0], BACKEND_E_TIMEOUT);
	run_until_tries(n_tries + 1);		/* port 80 has not waited for 81 */
	other_result = BACKEND_E_BUSY;
	dial_cancel(&dialer, &dials[1]);
	room = 1;
	run_until_done(2);
	ck_assert_int_eq(results[2], 0);
}
END_TEST

START_TEST(cancelled_before_answer)
{
	other_result = BACKEND_E_PENDING;
	begin(0, 81, 60000);
	begin(1, 81, 60000);
	run_until_tries(1);
	dial_cancel(&dialer, &dials[0]);
	run_until_tries(2);
	ck_assert_ptr_eq(tried, &dials[1]);
	dial_cancel(&dialer, &dials[1]);
	run_for(50);
	ck_assert_uint_eq(n_tries, 2);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("dial");
	TCase *tc = tcase_create("dial");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, thousands_cost_no_more_than_one);
	tcase_add_test(tc, in_order);
	tcase_add_test(tc, gives_up);
	tcase_add_test(tc, owns_its_socket);
	tcase_add_test(tc, ports_are_apart);
	tcase_add_test(tc, many_ports_all_get_their_turn);
	tcase_add_test(tc, cancelled);
	tcase_add_test(tc, answered);
	tcase_add_test(tc, answer_too_late_to_wait);
	tcase_add_test(tc, no_answer);
	tcase_add_test(tc, cancelled_before_answer);
	suite_add_tcase(suite, tc);
	return unit_main(suite);
}
