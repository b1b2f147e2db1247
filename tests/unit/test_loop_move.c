/* SPDX-License-Identifier: BSD-3-Clause */
/* What waits in one loop waits in another: nothing that is ready is lost, and nothing is left. */
#include "util/loop_move.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "unit.h"
#include "util/fd.h"

enum { SOURCES = 3, EDGE = EPOLLIN | EPOLLET };

static struct loop *from, *to;

static struct owner {
	struct loop *loop;
	struct loop_source sources[SOURCES];
	struct loop_timer timer;
	struct loop_work work;
	int fds[SOURCES];
	unsigned n_events[SOURCES], n_expired, n_worked, n_reminded;
	const struct loop *own;			/* by whom it is called */
	bool fails;				/* at the last source */
} o;

static void on_event(struct loop_source *source, uint32_t events)
{
	ck_assert_ptr_eq(o.loop, o.own);
	if (events)
		o.n_events[source - o.sources]++;
	else
		o.n_reminded++;
}

static void on_timer(struct loop_timer *timer)
{
	(void)timer;
	ck_assert_ptr_eq(o.loop, o.own);
	o.n_expired++;
}

static void on_work(struct loop_work *work)
{
	(void)work;
	ck_assert_ptr_eq(o.loop, o.own);
	o.n_worked++;
}

static void setup(void)
{
	ck_assert_int_eq(loop_new(&from), 0);
	ck_assert_int_eq(loop_new(&to), 0);
	o = (struct owner){ .loop = from, .own = from, .timer.expire = on_timer };
	loop_work_init(&o.work, on_work);
	for (int i = 0; i < SOURCES; i++) {
		o.fds[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		ck_assert_int_ge(o.fds[i], 0);
		o.sources[i] = (struct loop_source){ .dispatch = on_event, .fd = -1 };
		ck_assert_int_eq(loop_add(from, &o.sources[i], o.fds[i], EDGE), 0);
	}
}

static void teardown(void)
{
	for (int i = 0; i < SOURCES; i++) {
		loop_remove(o.loop, &o.sources[i]);
		fd_close(&o.fds[i]);
	}
	loop_timer_cancel(o.loop, &o.timer);
	loop_work_cancel(&o.work);
	loop_free(from);
	loop_free(to);
}

static void visit(struct loop_move *m, void *ctx)
{
	struct loop_source bad = { .dispatch = on_event, .fd = 1 << 20 };

	ck_assert_ptr_eq(ctx, &o);
	for (int i = 0; i < SOURCES; i++)
		loop_move_source(m, &o.sources[i], EDGE);
	if (o.fails)
		loop_move_source(m, &bad, EDGE);
	loop_move_timer(m, &o.timer);
	loop_move_work(m, &o.work);
	loop_move_pointer(m, &o.loop);
}

static int move(void)
{
	struct loop_move m = { .from = from, .to = to };

	return loop_move(&m, visit, &o);
}

static void step(struct loop *loop)
{
	o.own = loop;
	ck_assert_int_eq(loop_step(loop, 0), 0);
}

static void ring(int i)
{
	ck_assert_int_eq(eventfd_write(o.fds[i], 1), 0);
}

/* An edge that nobody has seen; one that was seen, and what it told is still there; none. */
START_TEST(edges)
{
	ring(0);
	step(from);
	ring(1);
	ck_assert_int_eq(move(), 0);
	step(from);
	step(to);
	ck_assert_uint_eq(o.n_events[0], 2);
	ck_assert_uint_eq(o.n_events[1], 1);
	ck_assert_uint_eq(o.n_events[2], 0);
	ring(2);
	step(from);
	ck_assert_uint_eq(o.n_events[2], 0);
	step(to);
	ck_assert_uint_eq(o.n_events[2], 1);
}
END_TEST

START_TEST(deadlines)
{
	uint64_t deadline_ms = loop_now_ms(from) + 20;

	loop_timer_set(from, &o.timer, deadline_ms);
	ck_assert_int_eq(move(), 0);
	ck_assert_uint_eq(o.timer.deadline_ms, deadline_ms);
	o.own = to;
	while (!o.n_expired)
		ck_assert_int_eq(loop_step(to, 1000), 0);
	ck_assert_uint_ge(loop_now_ms(to), deadline_ms);
	step(from);
	ck_assert_uint_eq(o.n_expired, 1);
}
END_TEST

START_TEST(work)
{
	loop_work_schedule(from, &o.work);
	ck_assert_int_eq(move(), 0);
	step(from);
	ck_assert_uint_eq(o.n_worked, 0);
	step(to);
	ck_assert_uint_eq(o.n_worked, 1);
	step(to);
	ck_assert_uint_eq(o.n_worked, 1);
}
END_TEST

/* What is not set, added, scheduled stays so. */
START_TEST(nothing)
{
	loop_remove(from, &o.sources[0]);
	ck_assert_int_eq(move(), 0);
	ring(0);
	step(to);
	ck_assert_int_eq(o.sources[0].fd, -1);
	ck_assert_uint_eq(o.n_events[0] + o.n_worked + o.n_expired, 0);
	ck_assert(!o.timer.is_set);
	ck_assert_ptr_eq(o.loop, to);
}
END_TEST

/* Reminders are of one loop: what was put off is done before. */
START_TEST(reminders)
{
	ck_assert(loop_remind(from, &o.sources[1]));
	ck_assert_int_eq(move(), 0);
	ck_assert_uint_eq(o.n_reminded, 1);
	o.own = to;
	step(to);
	ck_assert_uint_eq(o.n_reminded, 1);
}
END_TEST

/* The last one cannot be added: all are where they were. */
START_TEST(undone)
{
	o.fails = true;
	loop_timer_set(from, &o.timer, loop_now_ms(from));
	loop_work_schedule(from, &o.work);
	ck_assert_int_eq(move(), -EBADF);
	ck_assert_ptr_eq(o.loop, from);
	for (int i = 0; i < SOURCES; i++)
		ring(i);
	step(to);
	step(from);
	step(from);
	for (int i = 0; i < SOURCES; i++) {
		ck_assert_uint_eq(o.n_events[i], 1);
		ck_assert_int_eq(o.sources[i].fd, o.fds[i]);
	}
	ck_assert_uint_eq(o.n_worked, 1);
	ck_assert_uint_eq(o.n_expired, 1);
}
END_TEST

/* Whoever compares times does not see them go back. */
START_TEST(time_goes_on)
{
	step(to);
	while (loop_now_us(from) <= loop_now_us(to))
		step(from);
	ck_assert_int_eq(move(), 0);
	ck_assert_uint_ge(loop_now_us(to), loop_now_us(from));
	ck_assert_uint_eq(loop_now_ms(to), loop_now_us(to) / 1000);
}
END_TEST

static void move_it(struct loop_work *mover)
{
	(void)mover;
	ck_assert_int_eq(move(), 0);
	o.own = to;
}

/* Whoever comes in the middle of a batch, with a deadline that is over, is first looked at. */
START_TEST(deadline_after_a_look)
{
	struct loop_work mover;

	loop_work_init(&mover, move_it);
	loop_timer_set(from, &o.timer, loop_now_ms(from));
	ring(0);
	loop_work_schedule(to, &mover);
	ck_assert_int_eq(loop_step(to, 0), 0);
	ck_assert_uint_eq(o.n_expired, 0);
	step(to);
	ck_assert_uint_eq(o.n_events[0], 1);
	ck_assert_uint_eq(o.n_expired, 1);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("loop_move");
	TCase *tc = tcase_create("move");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, edges);
	tcase_add_test(tc, deadlines);
	tcase_add_test(tc, work);
	tcase_add_test(tc, nothing);
	tcase_add_test(tc, reminders);
	tcase_add_test(tc, undone);
	tcase_add_test(tc, time_goes_on);
	tcase_add_test(tc, deadline_after_a_look);
	suite_add_tcase(s, tc);
	return unit_main(s);
}
