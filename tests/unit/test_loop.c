/* SPDX-License-Identifier: BSD-3-Clause */
/* The event loop: order, and what callbacks may do to each other. */
#include "util/loop.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "unit.h"
#include "util/fd.h"

enum { N = 8 };

/* One of each, that notes when it was called and then may do something. */
struct actor {
	struct loop_source source;
	struct loop_timer timer;
	struct loop_work work;
	int fd, id;
	void (*then)(struct actor *a);
};

static struct loop *loop;
static struct actor actors[N];
static int order[64], n_calls;

static void called(struct actor *a)
{
	ck_assert_int_lt(n_calls, COUNT(order));
	order[n_calls++] = a->id;
	if (a->then)
		a->then(a);
}

static void on_source(struct loop_source *source, uint32_t events)
{
	ck_assert_uint_ne(events, 0);
	called(container_of(source, struct actor, source));
}

static int n_counted;

static void count_source(struct loop_source *source, uint32_t events)
{
	(void)source;
	ck_assert_uint_ne(events, 0);
	n_counted++;
}

static void on_timer(struct loop_timer *timer)
{
	called(container_of(timer, struct actor, timer));
}

static void on_work(struct loop_work *work)
{
	called(container_of(work, struct actor, work));
}

static void setup(void)
{
	ck_assert_int_eq(loop_new(&loop), 0);
	n_calls = 0;
	for (int i = 0; i < N; i++) {
		struct actor *a = &actors[i];

		*a = (struct actor){ .id = i, .fd = -1 };
		a->source = (struct loop_source){ .dispatch = on_source, .fd = -1 };
		a->timer.expire = on_timer;
		loop_work_init(&a->work, on_work);
	}
}

static void teardown(void)
{
	for (int i = 0; i < N; i++)
		fd_close(&actors[i].fd);
	loop_free(loop);
}

/* A source that has an event. */
static void add_ready(struct actor *a, uint32_t events)
{
	a->fd = eventfd(1, EFD_NONBLOCK | EFD_CLOEXEC);
	ck_assert_int_eq(loop_add(loop, &a->source, a->fd, events), 0);
}

/* In one batch; but where the test has had no CPU for so long that the loop takes it for a pause,
 * deadlines are judged in a later one. */
static void expect_calls(int n)
{
	n_calls = 0;
	do
		ck_assert_int_eq(loop_step(loop, 0), 0);
	while (n_calls < n && !loop_may_expire(loop));
	ck_assert_int_eq(n_calls, n);
}

START_TEST(sources)
{
	add_ready(&actors[0], EPOLLIN);
	expect_calls(1);
	expect_calls(1);
	ck_assert_int_eq(loop_modify(loop, &actors[0].source, 0), 0);
	expect_calls(0);
	ck_assert_int_eq(loop_modify(loop, &actors[0].source, EPOLLIN | EPOLLET), 0);
	expect_calls(1);
	expect_calls(0);
	ck_assert_int_eq(loop_add(loop, &actors[1].source, actors[0].fd, EPOLLIN), -EEXIST);
	ck_assert_int_eq(actors[1].source.fd, -1);
	loop_remove(loop, &actors[0].source);
	loop_remove(loop, &actors[0].source);
	ck_assert_int_eq(actors[0].source.fd, -1);
	expect_calls(0);
}
END_TEST

static void remove_all_sources(struct actor *a)
{
	(void)a;
	for (int i = 0; i < N; i++)
		loop_remove(loop, &actors[i].source);
}

/* All have an event in one batch; whoever is first removes all, itself too. */
START_TEST(source_removes_all)
{
	for (int i = 0; i < N; i++) {
		add_ready(&actors[i], EPOLLIN);
		actors[i].then = remove_all_sources;
	}
	expect_calls(1);
	expect_calls(0);
}
END_TEST

/* Its memory may be used again at once, for another source. */
static void remove_next_and_reuse(struct actor *a)
{
	struct actor *other = a == &actors[0] ? &actors[1] : &actors[0];

	a->then = other->then = NULL;
	loop_remove(loop, &other->source);
	fd_close(&other->fd);
	other->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	ck_assert_int_eq(loop_add(loop, &other->source, other->fd, EPOLLIN), 0);
}

START_TEST(event_of_the_old_does_not_reach_the_new)
{
	add_ready(&actors[0], EPOLLIN);
	add_ready(&actors[1], EPOLLIN);
	actors[0].then = actors[1].then = remove_next_and_reuse;
	expect_calls(1);
}
END_TEST

static void free_itself(struct actor *a)
{
	loop_remove(loop, &a->source);
	loop_timer_cancel(loop, &a->timer);
	loop_work_cancel(&a->work);
	fd_close(&a->fd);
	free(a);
}

/* _i: from source, timer, work; its memory goes within the callback. */
START_TEST(frees_itself)
{
	struct actor *a = malloc(sizeof *a);

	*a = actors[0];
	a->then = free_itself;
	loop_work_init(&a->work, on_work);
	if (_i == 0)
		add_ready(a, EPOLLIN);
	if (_i <= 1)
		loop_timer_set(loop, &a->timer, 0);
	loop_work_schedule(loop, &a->work);
	expect_calls(1);
	expect_calls(0);
}
END_TEST

struct timer_case {
	const char *name;
	uint64_t deadlines[N];			/* of timer 0, 1, ... */
	int order[N];
};

static const struct timer_case timer_cases[] = {
	{ "ascending", { 1, 2, 3, 4, 5, 6, 7, 8 }, { 0, 1, 2, 3, 4, 5, 6, 7 } },
	{ "descending", { 8, 7, 6, 5, 4, 3, 2, 1 }, { 7, 6, 5, 4, 3, 2, 1, 0 } },
	{ "mixed", { 5, 1, 8, 3, 7, 2, 6, 4 }, { 1, 5, 3, 7, 0, 6, 4, 2 } },
};

static void set_all(const struct timer_case *c)
{
	for (int i = 0; i < N; i++)
		loop_timer_set(loop, &actors[i].timer, c->deadlines[i]);
}

START_TEST(timers_in_order)
{
	const struct timer_case *c = &timer_cases[_i];

	set_all(c);
	expect_calls(N);
	for (int i = 0; i < N; i++)
		ck_assert_msg(order[i] == c->order[i], "%s", c->name);
	expect_calls(0);
}
END_TEST

/* _i: case, and which timer is taken out, or moved to the front or the end. */
START_TEST(timers_cancelled_or_moved)
{
	const struct timer_case *c = &timer_cases[_i / N / 3];
	int who = _i / 3 % N, what = _i % 3, at = 0;

	set_all(c);
	if (what == 0)
		loop_timer_cancel(loop, &actors[who].timer);
	else
		loop_timer_set(loop, &actors[who].timer, what == 1 ? 0 : 9);
	loop_timer_cancel(loop, &(struct loop_timer){ .is_set = false });
	expect_calls(what == 0 ? N - 1 : N);
	if (what == 1)
		ck_assert_int_eq(order[at++], who);
	for (int i = 0; i < N; i++)
		if (c->order[i] != who)
			ck_assert_int_eq(order[at++], c->order[i]);
	if (what == 2)
		ck_assert_int_eq(order[at++], who);
	ck_assert_int_eq(at, n_calls);
}
END_TEST

enum { MANY = 1000 };

static uint64_t last_deadline;
static int n_expired;

static void on_one_of_many(struct loop_timer *timer)
{
	ck_assert_uint_ge(timer->deadline_ms, last_deadline);
	last_deadline = timer->deadline_ms;
	n_expired++;
}

/* Set anywhere, half of them cancelled, the others moved; some at the same time. */
START_TEST(many_timers)
{
	struct loop_timer *many = calloc(MANY, sizeof *many);

	for (size_t i = 0; i < MANY; i++) {
		many[i].expire = on_one_of_many;
		loop_timer_set(loop, &many[i], UINT64_MAX - i * 7919 % MANY);
	}
	for (size_t i = 0; i < MANY; i += 2)
		loop_timer_cancel(loop, &many[i]);
	for (size_t i = 1; i < MANY; i += 2) {
		ck_assert(many[i].is_set && !many[i - 1].is_set);
		loop_timer_set(loop, &many[i], i * 7919 % (MANY / 4));
	}
	expect_calls(0);
	while (!loop_may_expire(loop))
		expect_calls(0);
	ck_assert_int_eq(n_expired, MANY / 2);
	for (size_t i = 0; i < MANY; i++)
		ck_assert(!many[i].is_set);
	free(many);
}
END_TEST

START_TEST(timer_in_the_future_waits)
{
	loop_timer_set(loop, &actors[0].timer, loop_now_ms(loop) + 100000);
	expect_calls(0);
	ck_assert(actors[0].timer.is_set);
	loop_timer_cancel(loop, &actors[0].timer);
	ck_assert(!actors[0].timer.is_set);
}
END_TEST

static void cancel_all_timers(struct actor *a)
{
	(void)a;
	for (int i = 0; i < N; i++)
		loop_timer_cancel(loop, &actors[i].timer);
}

START_TEST(timer_cancels_all)
{
	set_all(&timer_cases[0]);
	actors[2].then = cancel_all_timers;
	expect_calls(3);
	expect_calls(0);
}
END_TEST

static void set_later(struct actor *a)
{
	loop_timer_set(loop, &a->timer, loop_now_ms(loop) + 100000);
}

START_TEST(timer_sets_itself_again)
{
	set_all(&timer_cases[0]);
	actors[0].then = set_later;
	expect_calls(N);
	ck_assert(actors[0].timer.is_set);
	expect_calls(0);
	loop_timer_cancel(loop, &actors[0].timer);
}
END_TEST

static void schedule_itself(struct actor *a)
{
	loop_work_schedule(loop, &a->work);
}

START_TEST(work_again_is_work_of_the_next_batch)
{
	actors[0].then = schedule_itself;
	loop_work_schedule(loop, &actors[0].work);
	loop_work_schedule(loop, &actors[0].work);
	loop_work_schedule(loop, &actors[1].work);
	expect_calls(2);
	expect_calls(1);
	actors[0].then = NULL;
	expect_calls(1);
	expect_calls(0);
}
END_TEST

static void schedule_first_cancel_last(struct actor *a)
{
	(void)a;
	loop_work_schedule(loop, &actors[0].work);
	loop_work_cancel(&actors[2].work);
}

START_TEST(work_cancels_other_work)
{
	for (int i = 0; i < 3; i++)
		loop_work_schedule(loop, &actors[i].work);
	actors[1].then = schedule_first_cancel_last;
	expect_calls(2);
	expect_calls(1);
	ck_assert_int_eq(order[0], 0);
	loop_work_cancel(&actors[0].work);
	expect_calls(0);
}
END_TEST

/* Events, then work, then timers, all in one batch. */
static void schedule_work(struct actor *a)
{
	(void)a;
	loop_work_schedule(loop, &actors[2].work);
}

START_TEST(order_within_a_batch)
{
	static const int right[] = { 0, 2, 1 };

	loop_timer_set(loop, &actors[1].timer, 0);
	add_ready(&actors[0], EPOLLIN | EPOLLET);
	actors[0].then = schedule_work;
	expect_calls(3);
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(order[i], right[i]);
}
END_TEST

static uint64_t clock_now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static uint64_t paused_ms, pause_until_ms;

/* The process stands still while it waits; meanwhile something happens. */
static void on_alarm(int sig)
{
	uint64_t one = 1;

	(void)sig;
	paused_ms = clock_now_ms();
	while (clock_now_ms() < pause_until_ms)
		;
	if (write(actors[0].fd, &one, sizeof one) < 0)
		abort();
}

/* A step that waits for the timer of actors[1], @wait_ms, and is stopped until @late_ms after that.
 * False: on a machine that is busy it was stopped when the wait may have been over, as the loop's
 * alarm had rung. */
static bool step_through_a_pause(uint64_t wait_ms, uint64_t late_ms)
{
	uint64_t alarm_ms = loop_now_ms(loop) + 100;
	struct sigaction sa = { .sa_handler = on_alarm };
	struct itimerval soon = { .it_value.tv_usec = 20 * 1000 };
	uint64_t deadline_ms = clock_now_ms() + wait_ms;

	paused_ms = UINT64_MAX;
	pause_until_ms = deadline_ms + late_ms;
	actors[0].fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	ck_assert_int_eq(loop_add(loop, &actors[0].source, actors[0].fd, EPOLLIN | EPOLLET), 0);
	sigaction(SIGALRM, &sa, NULL);
	loop_timer_set(loop, &actors[1].timer, deadline_ms);
	setitimer(ITIMER_REAL, &soon, NULL);
	ck_assert_int_eq(loop_step(loop, -1), 0);
	setitimer(ITIMER_REAL, &(struct itimerval){ .it_value = { 0 } }, NULL);
	return paused_ms < alarm_ms;
}

static void pause_in_a_step(uint64_t wait_ms, uint64_t late_ms)
{
	while (!step_through_a_pause(wait_ms, late_ms)) {
		teardown();
		setup();
	}
}

/* An interrupted wait has seen nothing of what lay ready. */
START_TEST(what_lies_ready_comes_before_a_deadline)
{
	pause_in_a_step(200, 100);
	while (n_calls < 2)
		ck_assert_int_eq(loop_step(loop, 1000), 0);
	ck_assert_int_eq(order[0], 0);
	ck_assert_int_eq(order[1], 1);
}
END_TEST

/* After a long pause of the process others look as well before a deadline is judged. */
START_TEST(deadlines_rest_after_a_pause)
{
	uint64_t resumed_ms;

	pause_in_a_step(200, 800);
	resumed_ms = loop_now_ms(loop);
	while (n_calls < 2) {
		ck_assert_int_eq(loop_step(loop, 1000), 0);
		if (n_calls == 1)
			ck_assert(!loop_may_expire(loop) || loop_now_ms(loop) - resumed_ms >= 90);
	}
	ck_assert_uint_ge(loop_now_ms(loop) - resumed_ms, 90);
	ck_assert_int_eq(order[1], 1);
}
END_TEST

/* Its batch takes so long that it must have been stopped, and a deadline passes meanwhile. */
static void stand_still(struct actor *a)
{
	a->then = NULL;
	loop_timer_set(loop, &actors[1].timer, loop_now_ms(loop) + 400);
	pause_until_ms = loop_now_ms(loop) + 800;
	while (clock_now_ms() < pause_until_ms)
		;
}

START_TEST(deadlines_rest_after_a_pause_of_a_batch)
{
	add_ready(&actors[0], EPOLLIN | EPOLLET);
	actors[0].then = stand_still;
	while (n_calls < 2)
		ck_assert_int_eq(loop_step(loop, -1), 0);
	ck_assert_int_eq(order[1], 1);
	ck_assert_uint_ge(loop_now_ms(loop), pause_until_ms + 90);
}
END_TEST

/* More events than a batch takes: all are seen first. */
START_TEST(deadline_waits_for_the_rest_of_the_events)
{
	enum { CROWD = 300 };
	static struct actor more[CROWD];

	for (int i = 0; i < CROWD; i++) {
		more[i] = (struct actor){ .id = 7, .fd = eventfd(1, EFD_NONBLOCK | EFD_CLOEXEC) };
		more[i].source = (struct loop_source){ .dispatch = count_source, .fd = -1 };
		ck_assert_int_eq(loop_add(loop, &more[i].source, more[i].fd, EPOLLIN | EPOLLET), 0);
	}
	n_counted = 0;
	loop_timer_set(loop, &actors[1].timer, 0);
	while (!n_calls)
		ck_assert_int_eq(loop_step(loop, 0), 0);
	ck_assert_int_eq(n_counted, CROWD);
	for (int i = 0; i < CROWD; i++)
		fd_close(&more[i].fd);
}
END_TEST

static void on_reminded(struct loop_source *source, uint32_t events)
{
	ck_assert_uint_eq(events, 0);
	called(container_of(source, struct actor, source));
}

/* Once, and only who still wants it; there is room for so many. */
START_TEST(reminders)
{
	static struct loop_source crowd[LOOP_REMINDED_MAX];
	uint64_t begin_ms = loop_now_ms(loop);
	int fd = eventfd(0, EFD_CLOEXEC);

	for (int i = 0; i < N; i++) {
		actors[i].source.dispatch = on_reminded;
		ck_assert(loop_remind(loop, &actors[i].source));
	}
	for (int i = N; i < LOOP_REMINDED_MAX; i++)
		ck_assert(loop_remind(loop, &crowd[i]));
	ck_assert(!loop_remind(loop, &crowd[0]));
	for (int i = N; i < LOOP_REMINDED_MAX; i++)
		loop_unremind(loop, &crowd[i]);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(loop_add(loop, &actors[0].source, fd, EPOLLIN), 0);
	loop_remove(loop, &actors[0].source);
	fd_close(&fd);
	for (int i = 2; i < N; i += 2)
		loop_unremind(loop, &actors[i].source);
	while (!n_calls)
		ck_assert_int_eq(loop_step(loop, -1), 0);
	ck_assert_uint_ge(loop_now_ms(loop) - begin_ms, LOOP_REMIND_MS);
	ck_assert_int_eq(n_calls, N / 2);
	for (int i = 0; i < n_calls; i++)
		ck_assert_int_eq(order[i] % 2, 1);
	ck_assert(loop_remind(loop, &actors[0].source));
	loop_unremind(loop, &actors[0].source);
	loop_unremind(loop, &actors[0].source);
	ck_assert_int_eq(loop_step(loop, LOOP_REMIND_MS + 20), 0);
	ck_assert_int_eq(n_calls, N / 2);
}
END_TEST

static void stop(struct actor *a)
{
	(void)a;
	loop_stop(loop);
}

START_TEST(stops)
{
	actors[0].then = stop;
	loop_work_schedule(loop, &actors[0].work);
	ck_assert_int_eq(loop_run(loop), 0);
	ck_assert_int_eq(n_calls, 1);
	ck_assert_int_eq(loop_run(loop), 0);
}
END_TEST

/* Before it has run: nothing is done that was scheduled. */
START_TEST(is_stopped_before)
{
	loop_work_schedule(loop, &actors[0].work);
	loop_stop(loop);
	ck_assert_int_eq(loop_run(loop), 0);
	ck_assert_int_eq(n_calls, 0);
	loop_work_cancel(&actors[0].work);
}
END_TEST

enum { PERIOD_MS = 120, N_PERIODS = 4, TRIES = 5 };

/* A loop that is new and stops after @ms needs @n batches at most; its begin is one, too. Where the
 * test has had no CPU for long there are more, and it tries again. */
static void expect_batches(uint64_t n, void (*set)(void), uint64_t ms)
{
	for (int tries = 1; ; tries++) {
		uint64_t begin_ms = loop_now_ms(loop), batch = loop_batch(loop);

		set();
		ck_assert_int_eq(loop_run(loop), 0);
		ck_assert_uint_ge(loop_now_ms(loop), begin_ms + ms);
		if (loop_batch(loop) - batch <= n)
			return;
		ck_assert_msg(tries < TRIES, "%u batches", (unsigned)(loop_batch(loop) - batch));
		teardown();
		setup();
	}
}

static void set_one(void)
{
	actors[0].then = stop;
	loop_timer_set(loop, &actors[0].timer, loop_now_ms(loop) + 350);
}

/* An idle loop wakes up once for the alarm that a busy one sets, and then for the timer alone. */
START_TEST(alarm_rings_once)
{
	expect_batches(3, set_one, 350);
	ck_assert_int_eq(n_calls, 1);
}
END_TEST

static void set_again(struct actor *a)
{
	if (n_calls == N_PERIODS)
		loop_stop(loop);
	else
		loop_timer_set(loop, &a->timer, a->timer.deadline_ms + PERIOD_MS);
}

static void set_periodic(void)
{
	actors[0].then = set_again;
	loop_timer_set(loop, &actors[0].timer, loop_now_ms(loop) + PERIOD_MS);
}

/* Also when it has woken up for a timer, and there is another one. */
START_TEST(idle_loop_needs_no_alarm)
{
	expect_batches(2 + N_PERIODS, set_periodic, N_PERIODS * PERIOD_MS);
	ck_assert_int_eq(n_calls, N_PERIODS);
}
END_TEST

static void set_next(struct actor *a)
{
	if (a->id + 1 == N)
		loop_stop(loop);
	else
		loop_timer_set(loop, &actors[a->id + 1].timer, loop_now_ms(loop) + 2);
}

/* An alarm that has been set for later does not keep them. */
START_TEST(short_timers_beside_a_long_one)
{
	struct loop_timer hour = { .expire = on_timer };

	for (int i = 0; i < N; i++)
		actors[i].then = set_next;
	loop_timer_set(loop, &hour, loop_now_ms(loop) + 3600 * 1000);
	loop_timer_set(loop, &actors[0].timer, loop_now_ms(loop));
	ck_assert_int_eq(loop_run(loop), 0);
	ck_assert_int_eq(n_calls, N);
	for (int i = 0; i < N; i++)
		ck_assert_int_eq(order[i], i);
	loop_timer_cancel(loop, &hour);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("loop");
	TCase *tc = tcase_create("loop");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, sources);
	tcase_add_test(tc, source_removes_all);
	tcase_add_test(tc, event_of_the_old_does_not_reach_the_new);
	tcase_add_loop_test(tc, frees_itself, 0, 3);
	tcase_add_loop_test(tc, timers_in_order, 0, COUNT(timer_cases));
	tcase_add_loop_test(tc, timers_cancelled_or_moved, 0, COUNT(timer_cases) * N * 3);
	tcase_add_test(tc, many_timers);
	tcase_add_test(tc, timer_in_the_future_waits);
	tcase_add_test(tc, timer_cancels_all);
	tcase_add_test(tc, timer_sets_itself_again);
	tcase_add_test(tc, what_lies_ready_comes_before_a_deadline);
	tcase_add_test(tc, deadlines_rest_after_a_pause);
	tcase_add_test(tc, deadlines_rest_after_a_pause_of_a_batch);
	tcase_add_test(tc, deadline_waits_for_the_rest_of_the_events);
	tcase_add_test(tc, work_again_is_work_of_the_next_batch);
	tcase_add_test(tc, work_cancels_other_work);
	tcase_add_test(tc, order_within_a_batch);
	tcase_add_test(tc, reminders);
	tcase_add_test(tc, stops);
	tcase_add_test(tc, alarm_rings_once);
	tcase_add_test(tc, idle_loop_needs_no_alarm);
	tcase_add_test(tc, short_timers_beside_a_long_one);
	tcase_add_test(tc, is_stopped_before);
	suite_add_tcase(suite, tc);
	return unit_main(suite);
}
