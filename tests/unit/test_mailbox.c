/* SPDX-License-Identifier: BSD-3-Clause */
/* Mail to one loop's thread: none lost, none too many, from anywhere. */
#include "util/mailbox.h"

#include <pthread.h>
#include <stdlib.h>

#include "unit.h"
#include "util/error.h"
#include "util/list.h"

enum { THREADS = 4, MAILS = 8, POSTS = 50000 };

struct letter {
	struct mail mail;
	int id;
	atomic_int posted;			/* what its sender has done so far, */
	int seen;				/* and what the last delivery saw of it */
	int n_delivered;
	void (*then)(struct letter *l);
};

static struct loop *loop;
static struct mailbox *box;
static struct letter letters[MAILS];
static int order[64], n_calls;

static void on_mail(struct mail *mail)
{
	struct letter *l = container_of(mail, struct letter, mail);

	if (n_calls < COUNT(order))
		order[n_calls] = l->id;
	n_calls++;
	l->n_delivered++;
	l->seen = atomic_load(&l->posted);
	if (l->then)
		l->then(l);
}

static void setup(void)
{
	n_calls = 0;
	ck_assert_int_eq(loop_new(&loop), 0);
	ck_assert_int_eq(mailbox_new(&box, loop), 0);
	for (int i = 0; i < MAILS; i++)
		letters[i] = (struct letter){ .mail.deliver = on_mail, .id = i };
}

static void teardown(void)
{
	mailbox_free(box);
	loop_free(loop);
}

static void expect_calls(int n)
{
	n_calls = 0;
	ck_assert_int_eq(loop_step(loop, 0), 0);
	ck_assert_int_eq(n_calls, n);
}

START_TEST(in_the_order_of_posting)
{
	for (int i = 0; i < MAILS; i++)
		ck_assert(mailbox_post(box, &letters[i].mail));
	expect_calls(MAILS);
	for (int i = 0; i < MAILS; i++)
		ck_assert_int_eq(order[i], i);
	expect_calls(0);
}
END_TEST

START_TEST(posted_twice_delivered_once)
{
	ck_assert(mailbox_post(box, &letters[0].mail));
	ck_assert(!mailbox_post(box, &letters[0].mail));
	ck_assert(mailbox_post(box, &letters[1].mail));
	ck_assert(!mailbox_post(box, &letters[0].mail));
	expect_calls(2);
	ck_assert(mailbox_post(box, &letters[0].mail));
	expect_calls(1);
	expect_calls(0);
}
END_TEST

START_TEST(again_and_again)
{
	for (int i = 0; i < 1000; i++) {
		ck_assert(mailbox_post(box, &letters[i % MAILS].mail));
		expect_calls(1);
	}
}
END_TEST

static void post_next(struct letter *l)
{
	if (l->id + 1 < MAILS)
		ck_assert(mailbox_post(box, &letters[l->id + 1].mail));
}

/* Mail from within a delivery is delivered, and needs no event from outside. */
START_TEST(a_delivery_posts_another)
{
	for (int i = 0; i < MAILS; i++)
		letters[i].then = post_next;
	ck_assert(mailbox_post(box, &letters[0].mail));
	for (int i = 0; i < 2 * MAILS && !letters[MAILS - 1].n_delivered; i++)
		ck_assert_int_eq(loop_step(loop, 0), 0);
	for (int i = 0; i < MAILS; i++)
		ck_assert_int_eq(letters[i].n_delivered, 1);
	expect_calls(0);
}
END_TEST

static void post_itself(struct letter *l)
{
	if (l->n_delivered < 100)
		ck_assert(mailbox_post(box, &l->mail));
}

/* Its flag is down before it is called; it does not keep others from their turn. */
START_TEST(a_delivery_posts_itself)
{
	letters[0].then = post_itself;
	ck_assert(mailbox_post(box, &letters[0].mail));
	ck_assert(mailbox_post(box, &letters[1].mail));
	ck_assert_int_eq(loop_step(loop, 0), 0);
	ck_assert_int_eq(letters[1].n_delivered, 1);
	for (int i = 0; i < 200 && letters[0].n_delivered < 100; i++)
		ck_assert_int_eq(loop_step(loop, 0), 0);
	ck_assert_int_eq(letters[0].n_delivered, 100);
	expect_calls(0);
}
END_TEST

struct deferred {
	struct loop_work work;
	struct letter *letter;
};

static void on_work(struct loop_work *work)
{
	ck_assert(mailbox_post(box, &container_of(work, struct deferred, work)->letter->mail));
}

/* From the loop's own thread, but not from a delivery; before and after it is
 * known to be its own. */
START_TEST(from_its_own_thread)
{
	struct deferred d = { .letter = &letters[0] };

	loop_work_init(&d.work, on_work);
	for (int i = 1; i <= 3; i++) {
		loop_work_schedule(loop, &d.work);
		for (int k = 0; k < 3 && letters[0].n_delivered < i; k++)
			ck_assert_int_eq(loop_step(loop, 0), 0);
		ck_assert_int_eq(letters[0].n_delivered, i);
	}
}
END_TEST

/* When no thread runs the loop any more. */
START_TEST(delivered_by_hand)
{
	ck_assert(!mailbox_deliver(box));
	ck_assert(mailbox_post(box, &letters[0].mail));
	letters[1].then = post_itself;
	ck_assert(mailbox_post(box, &letters[1].mail));
	ck_assert(mailbox_deliver(box));
	ck_assert_int_eq(letters[0].n_delivered, 1);
	while (mailbox_deliver(box))
		;
	ck_assert_int_eq(letters[1].n_delivered, 100);
}
END_TEST

/* What comes meanwhile is not lost, and no edge is. */
START_TEST(held)
{
	mailbox_hold(box);
	ck_assert(mailbox_post(box, &letters[0].mail));
	expect_calls(0);
	ck_assert(mailbox_post(box, &letters[1].mail));
	expect_calls(0);
	n_calls = 0;
	mailbox_release(box);
	ck_assert_int_eq(n_calls, 2);
	ck_assert_int_eq(order[0], 0);
	ck_assert(mailbox_post(box, &letters[0].mail));
	expect_calls(1);
}
END_TEST

START_TEST(leaves_no_descriptors)
{
	int before = unit_count_fds();
	struct mailbox *other;

	ck_assert_int_eq(mailbox_new(&other, loop), 0);
	ck_assert_int_gt(unit_count_fds(), before);
	mailbox_free(other);
	mailbox_free(NULL);
	ck_assert_int_eq(unit_count_fds(), before);
}
END_TEST

static atomic_int n_accepted[MAILS];		/* posts that said true */

static void *post_many(void *arg)
{
	int which = *(int *)arg;

	for (int i = 0; i < POSTS; i++) {
		struct letter *l = &letters[(which + i) % MAILS];

		atomic_fetch_add(&l->posted, 1);
		if (mailbox_post(box, &l->mail))
			atomic_fetch_add(&n_accepted[l->id], 1);
	}
	return NULL;
}

static bool is_all_seen(void)
{
	int posted = 0;

	for (int i = 0; i < MAILS; i++)
		posted += letters[i].seen;
	return posted == THREADS * POSTS;
}

/*
 * What was written before a post is seen by a delivery after it; a post that
 * said true has a delivery of its own, and no other has. The loop sleeps without
 * end in between: mail that does not wake it would never be seen.
 */
START_TEST(from_many_threads)
{
	pthread_t threads[THREADS];
	int which[THREADS];

	for (int i = 0; i < THREADS; i++) {
		which[i] = i;
		ck_assert_int_eq(pthread_create(&threads[i], NULL, post_many, &which[i]), 0);
	}
	while (!is_all_seen()) {
		ck_assert_int_eq(loop_step(loop, -1), 0);
	}
	for (int i = 0; i < THREADS; i++)
		ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
	while (mailbox_deliver(box))
		;
	for (int i = 0; i < MAILS; i++)
		ck_assert_int_eq(letters[i].n_delivered, atomic_load(&n_accepted[i]));
}
END_TEST

/* Two loops, a thread each, and one mail that goes to and fro. */
enum { ROUNDS = 20000 };

struct party {
	struct mail mail;
	struct loop *loop;
	struct mailbox *box;
	struct party *other;
	int n;
};

static void on_ball(struct mail *mail)
{
	struct party *me = container_of(mail, struct party, mail);

	if (me->n == ROUNDS) {			/* only on the way out */
		loop_stop(me->loop);
		return;
	}
	if (++me->n == ROUNDS)
		loop_stop(me->loop);
	mailbox_post(me->other->box, &me->other->mail);
}

static void *play(void *arg)
{
	loop_run(((struct party *)arg)->loop);
	return NULL;
}

START_TEST(to_and_fro)
{
	struct party parties[2];
	pthread_t threads[2];

	for (int i = 0; i < 2; i++) {
		parties[i] = (struct party){ .mail.deliver = on_ball, .other = &parties[1 - i] };
		ck_assert_int_eq(loop_new(&parties[i].loop), 0);
		ck_assert_int_eq(mailbox_new(&parties[i].box, parties[i].loop), 0);
	}
	ck_assert(mailbox_post(parties[0].box, &parties[0].mail));
	for (int i = 0; i < 2; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, play, &parties[i]), 0);
	for (int i = 0; i < 2; i++)
		ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
	while (mailbox_deliver(parties[0].box) || mailbox_deliver(parties[1].box))
		;
	for (int i = 0; i < 2; i++) {
		ck_assert_int_eq(parties[i].n, ROUNDS);
		mailbox_free(parties[i].box);
		loop_free(parties[i].loop);
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("mailbox");
	TCase *tc = tcase_create("mailbox");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, in_the_order_of_posting);
	tcase_add_test(tc, posted_twice_delivered_once);
	tcase_add_test(tc, again_and_again);
	tcase_add_test(tc, a_delivery_posts_another);
	tcase_add_test(tc, a_delivery_posts_itself);
	tcase_add_test(tc, from_its_own_thread);
	tcase_add_test(tc, delivered_by_hand);
	tcase_add_test(tc, held);
	tcase_add_test(tc, leaves_no_descriptors);
	tcase_add_test(tc, from_many_threads);
	tcase_add_test(tc, to_and_fro);
	suite_add_tcase(suite, tc);
	return unit_main(suite);
}
