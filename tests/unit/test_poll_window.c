/* SPDX-License-Identifier: BSD-3-Clause */
/* How long a worker polls: as many waits as it takes, in no time. */
#include "device/poll_window.h"

#include <stdbool.h>

#include "unit.h"

enum { MAX = 200 };

static struct poll_window w;

static void setup(void)
{
	poll_window_init(&w, MAX);
}

/* A wait in which something comes after @us. True: it was polled for then. */
static bool wait_for(uint64_t us)
{
	uint32_t window = poll_window_us(&w);

	if (window && us < window) {
		poll_window_paid(&w);
		return true;
	}
	if (window)
		poll_window_wasted(&w);
	poll_window_slept(&w, us);
	return false;
}

static unsigned count_polls(unsigned waits, uint64_t us)
{
	unsigned polls = 0;

	for (unsigned i = 0; i < waits; i++)
		polls += wait_for(us);
	return polls;
}

START_TEST(nothing_before_something_came_soon)
{
	ck_assert_uint_eq(poll_window_us(&w), 0);
	poll_window_slept(&w, MAX + 1);
	ck_assert_uint_eq(poll_window_us(&w), 0);
	poll_window_slept(&w, MAX);
	ck_assert_uint_eq(poll_window_us(&w), MAX);
}
END_TEST

START_TEST(never_where_it_may_not)
{
	poll_window_init(&w, 0);
	ck_assert_uint_eq(count_polls(1000, 0), 0);
	ck_assert_uint_eq(poll_window_us(&w), 0);
}
END_TEST

static const struct { uint64_t slept; uint32_t window; } growths[] = {
	{ 1, 2 }, { 10, 20 }, { 99, 198 }, { 100, MAX }, { 150, MAX }, { MAX, MAX }, { MAX + 1, 0 },
	{ UINT64_MAX, 0 },
};

START_TEST(grows_to_twice_the_time)
{
	poll_window_slept(&w, growths[_i].slept);
	ck_assert_uint_eq(poll_window_us(&w), growths[_i].window);
}
END_TEST

/* One that came earlier after all, as it is polled for no more, takes nothing away. */
START_TEST(does_not_shrink_little_by_little)
{
	poll_window_slept(&w, 50);
	poll_window_slept(&w, 10);
	ck_assert_uint_eq(poll_window_us(&w), 100);
}
END_TEST

START_TEST(is_nothing_after_a_long_wait)
{
	poll_window_slept(&w, 50);
	ck_assert_uint_eq(poll_window_us(&w), 100);
	poll_window_wasted(&w);
	poll_window_slept(&w, MAX + 1);
	ck_assert_uint_eq(poll_window_us(&w), 0);
}
END_TEST

START_TEST(pays_for_ever)
{
	ck_assert_uint_eq(count_polls(100000, 15), 99999);
}
END_TEST

/* Two of three are found: off; three of four: it goes on. */
START_TEST(off_where_it_does_not_pay)
{
	unsigned polls = 0;

	for (unsigned i = 0; i < 100000; i++) {
		w.us = 50;			/* that it grows is not what is tried */
		polls += wait_for(i % 3 ? 5 : 100);
	}
	ck_assert_uint_lt(polls, 1000);
	poll_window_init(&w, MAX);
	polls = 0;
	for (unsigned i = 0; i < 100000; i++) {
		w.us = 50;
		polls += wait_for(i % 4 ? 5 : 100);
	}
	ck_assert_uint_gt(polls, 74000);
}
END_TEST

/* A quick event and a long wait in turns: the window is 0 when the quick one comes. */
START_TEST(off_where_quick_and_long_alternate)
{
	unsigned windows = 0;

	for (unsigned i = 0; i < 100000; i++) {
		windows += poll_window_us(&w) != 0;
		wait_for(i % 2 ? 5 : MAX + 1);
	}
	ck_assert_uint_lt(windows, 100);
}
END_TEST

/* Rests double, are not without end, and are forgotten when a trial goes well. */
START_TEST(rests_longer_each_time)
{
	for (uint32_t rest = POLL_WINDOW_REST_MIN; ; rest *= 2) {
		poll_window_slept(&w, 20);
		ck_assert_uint_eq(poll_window_us(&w), 40);
		for (unsigned i = 0; i < 4; i++)
			poll_window_wasted(&w);
		for (uint32_t i = 0; i < rest; i++) {
			ck_assert_uint_eq(poll_window_us(&w), 0);
			poll_window_slept(&w, 20);
		}
		if (rest == POLL_WINDOW_REST_MAX)
			break;
	}
	ck_assert_uint_eq(w.next_rest, POLL_WINDOW_REST_MAX);
	ck_assert_uint_eq(w.rest, 0);
	count_polls(2 * POLL_WINDOW_BALANCE_MAX, 20);
	ck_assert_uint_eq(w.next_rest, POLL_WINDOW_REST_MIN);
}
END_TEST

/* However long it has paid, what it takes to see that it does not is the same. */
START_TEST(the_past_is_bounded)
{
	unsigned n = 0;

	count_polls(100000, 15);
	while (!w.rest) {
		poll_window_wasted(&w);
		n++;
	}
	ck_assert_uint_eq(n, (POLL_WINDOW_BALANCE_MAX - POLL_WINDOW_BALANCE_MIN) / POLL_WINDOW_COST);
}
END_TEST

START_TEST(one_that_is_preempted_decides)
{
	count_polls(1000, 15);
	poll_window_preempted(&w);
	ck_assert_uint_eq(poll_window_us(&w), 0);
	ck_assert_uint_eq(count_polls(POLL_WINDOW_REST_MIN, 15), 0);
	ck_assert_uint_ne(count_polls(3, 15), 0);
}
END_TEST

START_TEST(another_limit)
{
	poll_window_slept(&w, MAX);
	poll_window_set_max(&w, MAX);		/* the same: nothing is forgotten */
	ck_assert_uint_eq(poll_window_us(&w), MAX);
	poll_window_set_max(&w, 10);
	ck_assert_uint_eq(poll_window_us(&w), 0);
	poll_window_slept(&w, 9);
	ck_assert_uint_eq(poll_window_us(&w), 10);
	poll_window_set_max(&w, 0);
	ck_assert_uint_eq(count_polls(100, 1), 0);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("poll_window");
	TCase *tc = tcase_create("poll_window");

	tcase_add_checked_fixture(tc, setup, NULL);
	tcase_add_test(tc, nothing_before_something_came_soon);
	tcase_add_test(tc, never_where_it_may_not);
	tcase_add_loop_test(tc, grows_to_twice_the_time, 0, COUNT(growths));
	tcase_add_test(tc, does_not_shrink_little_by_little);
	tcase_add_test(tc, is_nothing_after_a_long_wait);
	tcase_add_test(tc, pays_for_ever);
	tcase_add_test(tc, off_where_it_does_not_pay);
	tcase_add_test(tc, off_where_quick_and_long_alternate);
	tcase_add_test(tc, rests_longer_each_time);
	tcase_add_test(tc, the_past_is_bounded);
	tcase_add_test(tc, one_that_is_preempted_decides);
	tcase_add_test(tc, another_limit);
	suite_add_tcase(s, tc);
	return unit_main(s);
}
