/* SPDX-License-Identifier: BSD-3-Clause */
/* The event loop, while somebody polls: order, and that nobody else has to wait for it. */
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "unit.h"
#include "util/clock.h"
#include "util/fd.h"
#include "util/loop.h"

enum { SECOND_US = 1000 * 1000, BATCHES = 64 };

static struct loop *loop;
static struct loop_source source;
static struct loop_work work;
static struct loop_timer timer;
static struct loop_poller poller;
static struct loop_polled polled;
static unsigned n_begun, n_looks, n_late_looks, n_ended, n_works, n_events, n_timers;
static uint64_t window_us;			/* 0: it does not want to */
static unsigned finds_at;			/* the look that finds something; 0: none */
static bool finds_at_the_end;
static int fd;

static uint64_t on_begin(struct loop_poller *p, uint64_t now_us)
{
	ck_assert_ptr_eq(p, &poller);
	ck_assert_uint_eq(n_begun, n_ended);
	n_begun += window_us != 0;
	n_looks = n_late_looks = 0;
	return window_us ? now_us + window_us : 0;
}

static bool on_look(struct loop_poller *p)
{
	ck_assert_ptr_eq(p, &poller);
	/* Of whole milliseconds, as those are that the loop waits. */
	if (timer.is_set && clock_us() > (timer.deadline_ms + 1) * 1000)
		n_late_looks++;
	return ++n_looks == finds_at;
}

static void on_end(struct loop_poller *p, const struct loop_polled *how)
{
	ck_assert_ptr_eq(p, &poller);
	n_ended++;
	ck_assert_uint_eq(n_begun, n_ended);
	polled = *how;
	if ((finds_at && n_looks == finds_at) || finds_at_the_end)
		loop_work_schedule(loop, &work);
}

static void on_event(struct loop_source *s, uint32_t events)
{
	ck_assert_ptr_eq(s, &source);
	ck_assert_uint_eq(events, EPOLLIN);
	ck_assert_uint_eq(n_begun, n_ended);	/* it is over before anything is done */
	n_events++;
}

static void on_work(struct loop_work *w)
{
	ck_assert_ptr_eq(w, &work);
	n_works++;
}

static void on_timer(struct loop_timer *t)
{
	ck_assert_ptr_eq(t, &timer);
	n_timers++;
}

static void setup(void)
{
	ck_assert_int_eq(loop_new(&loop), 0);
	source = (struct loop_source){ .dispatch = on_event, .fd = -1 };
	timer = (struct loop_timer){ .expire = on_timer };
	loop_work_init(&work, on_work);
	poller = (struct loop_poller){ .is_wanted = true, .begin = on_begin, .look = on_look, .end = on_end };
	loop_set_poller(loop, &poller);
	n_begun = n_looks = n_ended = n_works = n_events = n_timers = finds_at = 0;
	finds_at_the_end = false;
	window_us = SECOND_US;
	fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	ck_assert_int_eq(loop_add(loop, &source, fd, EPOLLIN | EPOLLET), 0);
}

static void teardown(void)
{
	loop_timer_cancel(loop, &timer);
	loop_remove(loop, &source);
	fd_close(&fd);
	loop_free(loop);
}

static void make_ready(void)
{
	uint64_t one = 1;

	ck_assert_int_eq(write(fd, &one, sizeof one), sizeof one);
}

static void step(int max_wait_ms)
{
	ck_assert_int_eq(loop_step(loop, max_wait_ms), 0);
}

/* What is found is done in the same batch, which waits for nothing. */
START_TEST(what_is_found_is_done_at_once)
{
	finds_at = 3;
	step(-1);
	ck_assert_uint_eq(n_ended, 1);
	ck_assert_uint_eq(n_works, 1);
	ck_assert_uint_le(polled.begin_us, polled.end_us);
}
END_TEST

START_TEST(an_event_ends_it)
{
	make_ready();
	step(-1);
	ck_assert_uint_eq(n_ended, 1);
	ck_assert_uint_eq(n_events, 1);
	ck_assert_uint_eq(n_works, 0);
}
END_TEST

/* Edge-triggered, it would not come again. */
START_TEST(an_event_is_not_lost_for_what_the_end_finds)
{
	make_ready();
	finds_at_the_end = true;
	step(-1);
	ck_assert_uint_eq(n_events, 1);
	ck_assert_uint_eq(n_works, 1);
}
END_TEST

START_TEST(what_the_end_finds_is_done_at_once)
{
	window_us = 1;
	finds_at_the_end = true;
	step(-1);
	ck_assert_uint_eq(n_works, 1);
}
END_TEST

/* Then the loop waits, for an event or as long as it may. */
START_TEST(time_is_up)
{
	window_us = 1;
	step(1);
	ck_assert_uint_eq(n_ended, 1);
	ck_assert_uint_eq(n_events, 0);
	finds_at = 0;
	step(1);
	ck_assert_uint_eq(n_ended, 2);
	make_ready();
	step(-1);
	ck_assert_uint_eq(n_events, 1);
}
END_TEST

START_TEST(nobody_wants_to)
{
	window_us = 0;
	step(1);
	ck_assert_uint_eq(n_looks, 0);
	ck_assert_uint_eq(n_ended, 0);
	window_us = SECOND_US;
	poller.is_wanted = false;
	step(1);
	ck_assert_uint_eq(n_begun, 0);
	ck_assert_uint_eq(poller.n_waits, 2);
	step(0);
	ck_assert_uint_eq(poller.n_waits, 2);
	loop_set_poller(loop, NULL);
	step(1);
}
END_TEST

/* There is something to do, so nothing to look for. */
START_TEST(not_while_there_is_work)
{
	loop_work_schedule(loop, &work);
	step(-1);
	ck_assert_uint_eq(n_works, 1);
	ck_assert_uint_eq(n_begun, 0);
	step(0);
	ck_assert_uint_eq(n_begun, 0);
}
END_TEST

/* A guest that always has something does not keep an event waiting ... */
START_TEST(descriptors_are_looked_at)
{
	unsigned n = 0;

	finds_at = 1;
	make_ready();
	while (!n_events && n++ < BATCHES)
		step(-1);
	ck_assert_uint_eq(n_events, 1);
	ck_assert_uint_gt(n_works, 1);
}
END_TEST

/* ... or a deadline, which is not judged before the descriptors have been looked at. */
START_TEST(deadlines_are_kept)
{
	unsigned n = 0;

	finds_at = 1;
	loop_timer_set(loop, &timer, clock_ms() + 2);
	while (clock_ms() < timer.deadline_ms)
		step(-1);
	while (!n_timers && n++ < BATCHES)
		step(-1);
	ck_assert_uint_eq(n_timers, 1);
}
END_TEST

START_TEST(none_is_judged_blindly)
{
	finds_at = 1;
	for (unsigned n = 0; n < BATCHES; n++) {
		unsigned events_before = n_events;

		make_ready();
		step(-1);
		if (loop_may_expire(loop))
			ck_assert_uint_eq(n_events, events_before + 1);
	}
	ck_assert_uint_gt(n_events, 1);
	ck_assert_uint_lt(n_events, BATCHES);
}
END_TEST

/* It is not polled past the next deadline, but for one look: others may have the CPU before it. A
 * poll that they have cut short says nothing. */
START_TEST(a_deadline_ends_it)
{
	for (unsigned n = 1; n <= BATCHES; n++) {
		loop_timer_set(loop, &timer, clock_ms() + 1);
		while (n_timers < n) {
			step(-1);
			ck_assert_uint_le(n_late_looks, 1);
		}
	}
	ck_assert_uint_ge(n_ended, 1);
}
END_TEST

static void *stop_it(void *arg)
{
	loop_stop(arg);
	return NULL;
}

START_TEST(stops)
{
	pthread_t thread;

	window_us = UINT64_C(3600) * SECOND_US;
	ck_assert_int_eq(pthread_create(&thread, NULL, stop_it, loop), 0);
	ck_assert_int_eq(loop_run(loop), 0);
	ck_assert_int_eq(pthread_join(thread, NULL), 0);
	ck_assert_uint_eq(n_begun, n_ended);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("loop_poll");
	TCase *tc = tcase_create("loop_poll");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, what_is_found_is_done_at_once);
	tcase_add_test(tc, an_event_ends_it);
	tcase_add_test(tc, an_event_is_not_lost_for_what_the_end_finds);
	tcase_add_test(tc, what_the_end_finds_is_done_at_once);
	tcase_add_test(tc, time_is_up);
	tcase_add_test(tc, nobody_wants_to);
	tcase_add_test(tc, not_while_there_is_work);
	tcase_add_test(tc, descriptors_are_looked_at);
	tcase_add_test(tc, deadlines_are_kept);
	tcase_add_test(tc, none_is_judged_blindly);
	tcase_add_test(tc, a_deadline_ends_it);
	tcase_add_test(tc, stops);
	suite_add_tcase(s, tc);
	return unit_main(s);
}
