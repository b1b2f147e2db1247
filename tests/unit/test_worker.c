/* SPDX-License-Identifier: BSD-3-Clause */
/* A worker that takes another's place: what it is given while it is parked comes before any mail. */
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>

#include "device/worker.h"
#include "support/deadline.h"
#include "unit.h"

static struct worker *worker;
static atomic_uint n_steps, worked_at, mailed_at;

static void on_failure(void)
{
	ck_abort_msg("the loop has failed");
}

static void on_work(struct loop_work *work)
{
	(void)work;
	atomic_store(&worked_at, atomic_fetch_add(&n_steps, 1) + 1);
}

static void on_mail(struct mail *mail)
{
	(void)mail;
	atomic_store(&mailed_at, atomic_fetch_add(&n_steps, 1) + 1);
}

static void wait_steps(unsigned n)
{
	int64_t deadline = deadline_in(DEADLINE_MS);

	while (atomic_load(&n_steps) < n && deadline_left(deadline))
		poll(NULL, 0, 1);
}

START_TEST(mail_waits_for_what_is_loaded)
{
	struct mail mail = { .deliver = on_mail };
	struct loop_work work;

	ck_assert_int_eq(worker_new(&worker), 0);
	ck_assert_int_eq(worker_start(worker, true, on_failure), 0);
	mailbox_post(worker_mailbox(worker), &mail);
	loop_work_init(&work, on_work);		/* as a device that is loaded now */
	loop_work_schedule(worker_loop(worker), &work);
	worker_go_on(worker);
	wait_steps(2);
	worker_stop(worker);
	ck_assert_uint_eq(worked_at, 1);
	ck_assert_uint_eq(mailed_at, 2);
	worker_free(worker);
}
END_TEST

static atomic_uint n_reminded;

static void on_reminded(struct loop_source *source, uint32_t events)
{
	(void)source;
	ck_assert_uint_eq(events, 0);
	atomic_fetch_add(&n_reminded, 1);
}

START_TEST(what_is_put_off_is_done_before)
{
	struct loop_source source = { .dispatch = on_reminded, .fd = -1 };
	struct mail mail = { .deliver = on_mail };

	ck_assert_int_eq(worker_new(&worker), 0);
	ck_assert(loop_remind(worker_loop(worker), &source));
	mailbox_post(worker_mailbox(worker), &mail);
	ck_assert_int_eq(worker_start(worker, false, on_failure), 0);
	wait_steps(1);				/* it runs */
	worker_park(worker);
	ck_assert_uint_eq(n_reminded, 1);
	worker_go_on(worker);
	worker_stop(worker);
	worker_free(worker);
}
END_TEST

static pthread_t delivered_by;

static void on_mail_noted(struct mail *mail)
{
	delivered_by = pthread_self();
	on_mail(mail);
}

/* Between two works of its own, not by who has asked. */
START_TEST(mail_of_one_that_is_parked)
{
	struct mail first = { .deliver = on_mail }, mail = { .deliver = on_mail_noted };

	ck_assert_int_eq(worker_new(&worker), 0);
	mailbox_post(worker_mailbox(worker), &first);
	ck_assert_int_eq(worker_start(worker, false, on_failure), 0);
	wait_steps(1);
	worker_park(worker);
	ck_assert(!worker_ask_to_deliver(worker));
	mailbox_post(worker_mailbox(worker), &mail);
	ck_assert(worker_ask_to_deliver(worker));
	ck_assert(worker_wait_parked(worker, 0));
	ck_assert_uint_eq(n_steps, 2);
	ck_assert(!pthread_equal(delivered_by, pthread_self()));
	worker_go_on(worker);
	worker_stop(worker);
	worker_free(worker);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("worker");
	TCase *tc = tcase_create("parked");

	tcase_add_test(tc, mail_waits_for_what_is_loaded);
	tcase_add_test(tc, what_is_put_off_is_done_before);
	tcase_add_test(tc, mail_of_one_that_is_parked);
	suite_add_tcase(s, tc);
	return unit_main(s);
}
