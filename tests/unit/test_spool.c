/* SPDX-License-Identifier: BSD-3-Clause */
/* Records on their way to somebody slow: whole, in order, and each gap is told of. */
#include "util/spool.h"

#include <errno.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "unit.h"

enum { QUEUE_BYTES = 1024, RECORDS_MAX = 8192, BIG = 1 << 20, WAIT_MS = 20000 };

/* Whoever is to write: takes what it gets, but only as often as it is let. */
static struct {
	struct { size_t len; char *bytes; } records[RECORDS_MAX];
	atomic_int n_records;
	int fails;				/* so many of the next ones */
	unsigned n_writes;
	bool is_gated;
	sem_t begun, may_go;			/* if gated: it is in write(), it may come out of it */
	pthread_t writer;			/* of the last */
} sink;

static bool take(const struct spool_record *record)
{
	int n = atomic_load(&sink.n_records);

	if (sink.fails) {
		sink.fails--;
		return false;
	}
	ck_assert_int_lt(n, RECORDS_MAX);
	sink.records[n].len = record->len;
	sink.records[n].bytes = malloc(record->len + 1);
	memcpy(sink.records[n].bytes, record->bytes, record->len);
	sink.records[n].bytes[record->len] = '\0';
	atomic_store(&sink.n_records, n + 1);
	return true;
}

static unsigned sink_write(struct spool *s, const struct spool_record *records, unsigned n)
{
	unsigned n_lost = 0;

	ck_assert_uint_gt(n, 0);
	ck_assert_uint_le(n, s->ops->batch);
	sink.writer = pthread_self();
	sink.n_writes++;
	if (sink.is_gated) {
		sem_post(&sink.begun);
		while (sem_wait(&sink.may_go) < 0 && errno == EINTR)
			;
	}
	for (unsigned i = 0; i < n; i++)
		n_lost += !take(&records[i]);
	return n_lost;
}

static size_t sink_note(struct spool *s, char note[SPOOL_NOTE_MAX], unsigned n_lost)
{
	(void)s;
	return (size_t)snprintf(note, SPOOL_NOTE_MAX, "lost %u", n_lost);
}

static const struct spool_ops sink_ops = {
	.name = "sink", .batch = 1, .write = sink_write, .make_note = sink_note,
}, batch_ops = {
	.name = "batches", .batch = 8, .write = sink_write, .make_note = sink_note,
};

static size_t queue[QUEUE_BYTES / sizeof(size_t)];
static struct spool spool;

static void setup(void)
{
	spool = (struct spool)SPOOL_INIT(&sink_ops, queue);
	memset(&sink, 0, sizeof sink);
	sem_init(&sink.begun, 0, 0);
	sem_init(&sink.may_go, 0, 0);
}

static void teardown(void)
{
	for (int i = 0; i < RECORDS_MAX; i++)
		sem_post(&sink.may_go);
	ck_assert(spool_stop(&spool, WAIT_MS));
	for (int i = 0; i < sink.n_records; i++)
		free(sink.records[i].bytes);
}

static bool put(const char *text)
{
	return spool_put(&spool, text, strlen(text));
}

/* All that has been written, with a blank after each. */
static const char *written(void)
{
	static char text[8192];
	size_t len = 0;

	for (int i = 0; i < sink.n_records; i++)
		len += (size_t)snprintf(text + len, sizeof text - len, "%s ",
					sink.records[i].bytes);
	text[len] = '\0';
	return text;
}

/* A thread that is stuck in its first record, with the queue behind it. */
static void start_stuck(const char *record)
{
	sink.is_gated = true;
	ck_assert_int_eq(spool_start(&spool), 0);
	ck_assert(put(record));
	sem_wait(&sink.begun);
}

static void let_go(void)
{
	for (int i = 0; i < RECORDS_MAX; i++)
		sem_post(&sink.may_go);
	ck_assert(spool_stop(&spool, WAIT_MS));
}

START_TEST(caller_writes_without_a_thread)
{
	ck_assert(put("a"));
	ck_assert_int_eq(sink.n_records, 1);
	ck_assert(pthread_equal(sink.writer, pthread_self()));
	ck_assert(put(""));
	ck_assert(put("b"));
	ck_assert_str_eq(written(), "a  b ");
}
END_TEST

/* Whoever may not wait writes nothing; at the end there is a thread for what is left. _i: and
 * before that one that writes. */
START_TEST(records_wait_for_a_thread)
{
	spool_set_waits(&spool, true);
	ck_assert(put("a"));
	ck_assert(put("b"));
	ck_assert_int_eq(sink.n_records, 0);
	if (_i) {
		ck_assert_int_eq(spool_start(&spool), 0);
		ck_assert(spool_stop(&spool, WAIT_MS));
		ck_assert_str_eq(written(), "a b ");
		ck_assert(put("c"));
	}
	ck_assert(spool_stop(&spool, WAIT_MS));
	ck_assert(!pthread_equal(sink.writer, pthread_self()));
	ck_assert_str_eq(written(), _i ? "a b c " : "a b ");
}
END_TEST

START_TEST(what_waits_is_bounded)
{
	unsigned n_lost = 0;

	spool_set_waits(&spool, true);
	for (int i = 0; i < QUEUE_BYTES; i++)
		n_lost += !put("x");
	ck_assert_uint_gt(n_lost, 0);
	ck_assert_uint_eq(spool_count_lost(&spool), n_lost);
	ck_assert(spool_stop(&spool, WAIT_MS));
	ck_assert_int_eq(sink.n_records + (int)n_lost, QUEUE_BYTES);
}
END_TEST

START_TEST(failure_of_the_caller_is_noted)
{
	sink.fails = 3;
	for (int i = 0; i < 3; i++)
		ck_assert(!put("gone"));
	ck_assert(put("b"));
	ck_assert(put("c"));
	ck_assert_str_eq(written(), "lost 3 b c ");
	ck_assert_uint_eq(spool_count_lost(&spool), 3);	/* also once it has been noted */
}
END_TEST

/* The note does not get through either: the record in question is lost with it. */
START_TEST(failing_note_stays_due)
{
	sink.fails = 2;
	ck_assert(!put("gone"));
	ck_assert(!put("gone too"));		/* its note fails */
	ck_assert(put("b"));
	ck_assert_str_eq(written(), "lost 2 b ");
}
END_TEST

START_TEST(thread_writes_in_order)
{
	ck_assert_int_eq(spool_start(&spool), 0);
	ck_assert(put("a"));
	ck_assert(put("b\nc"));
	ck_assert(put(""));
	ck_assert(put("d"));
	ck_assert(spool_stop(&spool, WAIT_MS));
	ck_assert_str_eq(written(), "a b\nc  d ");
	ck_assert(!pthread_equal(sink.writer, pthread_self()));

	ck_assert(put("e"));			/* the caller again */
	ck_assert(pthread_equal(sink.writer, pthread_self()));
	ck_assert_int_eq(spool_start(&spool), 0);
	ck_assert(put("f"));
	ck_assert(spool_stop(&spool, WAIT_MS));
	ck_assert_str_eq(written(), "a b\nc  d e f ");
}
END_TEST

START_TEST(failure_of_the_thread_is_noted)
{
	sink.fails = 1;
	start_stuck("gone");
	ck_assert(put("a"));			/* nobody knows by now */
	sem_post(&sink.may_go);
	sem_wait(&sink.begun);			/* now it is known */
	ck_assert(put("b"));
	let_go();
	ck_assert_str_eq(written(), "a lost 1 b ");
	ck_assert_uint_eq(spool_count_lost(&spool), 1);
}
END_TEST

/* What is queued is kept, what comes after is lost, none is there twice. */
START_TEST(full_queue_loses_the_newest)
{
	char expected[8192], text[32];
	size_t len;
	int n = 0;

	start_stuck("first");
	len = (size_t)sprintf(expected, "first ");
	for (; snprintf(text, sizeof text, "record %d", n), put(text); n++)
		len += (size_t)sprintf(expected + len, "%s ", text);
	ck_assert_int_gt(n, QUEUE_BYTES / 32);
	ck_assert(!put("no"));
	ck_assert(!put("nor this"));
	ck_assert_int_eq(sink.n_records, 0);

	for (int i = 0; i < 4; i++) {		/* room for a note, and some */
		sem_post(&sink.may_go);
		sem_wait(&sink.begun);
	}
	ck_assert(put("here"));
	let_go();
	sprintf(expected + len, "lost 3 here ");
	ck_assert_str_eq(written(), expected);
}
END_TEST

/* Room for the note alone is no room: else each gap would grow by its own note. */
START_TEST(note_and_record_come_together)
{
	char large[QUEUE_BYTES / 2];

	memset(large, 'x', sizeof large);
	start_stuck("first");
	ck_assert(spool_put(&spool, large, sizeof large));
	for (int i = 0; i < 5; i++)
		ck_assert(!spool_put(&spool, large, sizeof large));
	ck_assert(put("small"));
	let_go();
	ck_assert_int_eq(sink.n_records, 4);
	ck_assert_str_eq(sink.records[2].bytes, "lost 5");
	ck_assert_str_eq(sink.records[3].bytes, "small");
}
END_TEST

START_TEST(record_of_any_size_or_none)
{
	static char bytes[BIG];
	size_t largest = QUEUE_BYTES - sizeof(size_t);

	ck_assert_int_eq(spool_start(&spool), 0);
	ck_assert(spool_put(&spool, bytes, largest));
	ck_assert(spool_stop(&spool, WAIT_MS));
	ck_assert_uint_eq(sink.records[0].len, largest);

	ck_assert_int_eq(spool_start(&spool), 0);
	ck_assert(!spool_put(&spool, bytes, largest + 1));
	ck_assert(!spool_put(&spool, bytes, sizeof bytes));
	ck_assert(put("a"));
	ck_assert(spool_stop(&spool, WAIT_MS));
	ck_assert_uint_eq(sink.records[1].len, strlen("lost 2"));
	ck_assert_str_eq(sink.records[2].bytes, "a");
}
END_TEST

/* One record after another, of all lengths, round and round: with a full queue and with
 * one that is nearly empty. */
START_TEST(records_stay_whole)
{
	char record[200];
	int n_put = 0, n_lost = 0, n_noted = 0, next = 0;

	start_stuck("first");
	for (int i = 0; i < 1500; i++) {
		size_t len = (size_t)(i * 37 % 180) + sizeof i;

		memset(record, 'a' + i % 26, len);
		memcpy(record, &i, sizeof i);
		if (spool_put(&spool, record, len))
			n_put++;
		else
			n_lost++;
		if (_i ? n_lost % 8 == 7 || i % 3 : i > 2) {
			sem_post(&sink.may_go);
			sem_wait(&sink.begun);
		}
	}
	let_go();
	for (int k = 1; k < sink.n_records; k++) {
		const char *bytes = sink.records[k].bytes;
		int i, lost;

		if (sscanf(bytes, "lost %d", &lost) == 1) {
			n_noted += lost;
			next += lost;
			continue;
		}
		memcpy(&i, bytes, sizeof i);
		ck_assert_int_eq(i, next);
		ck_assert_uint_eq(sink.records[k].len, (size_t)(i * 37 % 180) + sizeof i);
		for (size_t at = sizeof i; at < sink.records[k].len; at++)
			ck_assert_int_eq(bytes[at], 'a' + i % 26);
		next++;
		n_put--;
	}
	ck_assert_int_eq(n_put, 0);
	ck_assert_int_eq(n_lost - n_noted, 1500 - next);	/* after the last that got through */
	ck_assert_int_eq(n_lost > 0, _i);
}
END_TEST

/* What waits is written together, as much as may be; also around the end of the array. */
START_TEST(records_in_batches)
{
	char expected[8192] = "first ", text[32];
	size_t len = strlen(expected);

	spool.ops = &batch_ops;
	start_stuck("first");
	for (int round = 0; round < 20; round++) {
		for (int i = 0; i < 20; i++) {
			snprintf(text, sizeof text, "%d.%d", round, i);
			len += (size_t)sprintf(expected + len, "%s ", text);
			ck_assert(put(text));
		}
		for (int i = 0; i < 3; i++) {	/* the last one is stuck again */
			sem_post(&sink.may_go);
			sem_wait(&sink.begun);
		}
	}
	let_go();
	ck_assert_str_eq(written(), expected);
	ck_assert_uint_eq(sink.n_writes, 1 + 20 * 3);
}
END_TEST

/* Of those that are written together some are lost. */
START_TEST(part_of_a_batch_is_lost)
{
	spool.ops = &batch_ops;
	start_stuck("first");
	for (int i = 0; i < 4; i++)
		ck_assert(put("a"));
	sem_post(&sink.may_go);
	sem_wait(&sink.begun);
	sink.fails = 3;
	ck_assert(put("b"));			/* nobody knows yet */
	sem_post(&sink.may_go);
	sem_wait(&sink.begun);
	ck_assert(put("c"));
	let_go();
	ck_assert_str_eq(written(), "first a b lost 3 c ");
	ck_assert_uint_eq(spool_count_lost(&spool), 3);
}
END_TEST

/* Who never comes back holds up the end for no longer than it is said. */
START_TEST(stuck_thread_does_not_stall_the_end)
{
	start_stuck("first");
	ck_assert(put("second"));
	ck_assert(!spool_stop(&spool, 1));
	ck_assert(put("third"));		/* it is still the thread's */
	ck_assert_int_eq(sink.n_records, 0);
	let_go();
	ck_assert_str_eq(written(), "first second third ");
}
END_TEST

START_TEST(stuck_thread_goes_on_after_a_new_start)
{
	start_stuck("first");
	ck_assert(!spool_stop(&spool, 0));
	ck_assert_int_eq(spool_start(&spool), 0);
	ck_assert(put("second"));
	let_go();
	ck_assert_str_eq(written(), "first second ");
}
END_TEST

enum { PUTTERS = 4, PUTS = 900 };

static atomic_uint n_not_taken;

static void *put_many(void *arg)
{
	for (unsigned i = 0; i < PUTS; i++) {
		char text[32];

		snprintf(text, sizeof text, "%c %u", (char)(intptr_t)arg, i);
		if (!put(text))
			atomic_fetch_add(&n_not_taken, 1);
	}
	return NULL;
}

/* _i: a thread takes their records, or comes and goes meanwhile. */
START_TEST(many_put_at_once)
{
	pthread_t putters[PUTTERS];
	unsigned next[PUTTERS] = { 0 }, n_taken = 0, lost = 0, n, i;
	char who;

	atomic_store(&n_not_taken, 0);
	ck_assert_int_eq(spool_start(&spool), 0);
	for (intptr_t k = 0; k < PUTTERS; k++)
		ck_assert_int_eq(pthread_create(&putters[k], NULL, put_many, (void *)('A' + k)), 0);
	for (int k = 0; _i && k < 20; k++) {
		ck_assert(spool_stop(&spool, WAIT_MS));
		ck_assert_int_eq(spool_start(&spool), 0);
	}
	for (int k = 0; k < PUTTERS; k++)
		pthread_join(putters[k], NULL);
	ck_assert(spool_stop(&spool, WAIT_MS));
	ck_assert(put("Z 0"));			/* brings the last note, if one is due */
	for (int k = 0; k < sink.n_records - 1; k++) {
		if (sscanf(sink.records[k].bytes, "lost %u", &n) == 1) {
			lost += n;
			continue;
		}
		ck_assert_int_eq(sscanf(sink.records[k].bytes, "%c %u", &who, &i), 2);
		ck_assert_uint_ge(i, next[who - 'A']);
		next[who - 'A'] = i + 1;
		n_taken++;
	}
	ck_assert_uint_eq(lost, atomic_load(&n_not_taken));
	ck_assert_uint_eq(n_taken + lost, PUTTERS * PUTS);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("spool");
	TCase *tc = tcase_create("spool");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, caller_writes_without_a_thread);
	tcase_add_loop_test(tc, records_wait_for_a_thread, 0, 2);
	tcase_add_test(tc, what_waits_is_bounded);
	tcase_add_test(tc, failure_of_the_caller_is_noted);
	tcase_add_test(tc, failing_note_stays_due);
	tcase_add_test(tc, thread_writes_in_order);
	tcase_add_test(tc, failure_of_the_thread_is_noted);
	tcase_add_test(tc, full_queue_loses_the_newest);
	tcase_add_test(tc, note_and_record_come_together);
	tcase_add_test(tc, record_of_any_size_or_none);
	tcase_add_loop_test(tc, records_stay_whole, 0, 2);
	tcase_add_test(tc, records_in_batches);
	tcase_add_test(tc, part_of_a_batch_is_lost);
	tcase_add_test(tc, stuck_thread_does_not_stall_the_end);
	tcase_add_test(tc, stuck_thread_goes_on_after_a_new_start);
	tcase_add_loop_test(tc, many_put_at_once, 0, 2);
	suite_add_tcase(suite, tc);
	return unit_main(suite);
}
