/* SPDX-License-Identifier: BSD-3-Clause */
/* A worker's devices are looked at a portion at a time, step by step: and at each of them once,
 * whichever of them goes in between. */
#include "device/survey.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "support/deadline.h"
#include "support/scratch.h"
#include "unit.h"
#include "util/closer.h"

enum { DEVICES = 40, FIRST = 3, PORTION_US = 500 };	/* of 1 ms that a turn may wait */

static struct worker *worker;
static struct device *devices[DEVICES];
static struct survey survey;
static bool is_done, is_removed;
static int result;

static void on_hook(uint64_t cid)
{
	(void)cid;
}

static const struct device_hooks hooks = { .came = on_hook, .gone = on_hook, .over = on_hook };

static struct device *make_device(uint64_t cid)
{
	char path[256];
	struct device_config config = {
		.address = {
			.listen = path, .fd = -1,
			.access = { .mode = 0600, .uid = (uid_t)-1, .gid = (gid_t)-1 },
		},
		.hooks = &hooks, .guest_cid = cid, .queue_size = 16,
		.limits = { .tx_buffer_size = 4096, .max_connections = 4, .max_buffered = 4096 },
		.loop = worker_loop(worker), .scratch = worker_scratch(worker),
	};
	struct device *dev;

	snprintf(path, sizeof path, "%s/%d", scratch_path(), (int)cid);
	ck_assert_int_eq(device_new(&dev, &config), 0);
	ck_assert_int_eq(worker_add_device(worker, dev), 0);
	return dev;
}

static void setup(void)
{
	ck_assert_int_eq(closer_init(), 0);
	ck_assert_int_eq(worker_new(&worker), 0);
	for (int i = 0; i < DEVICES; i++)
		devices[i] = make_device(FIRST + i);
}

static void teardown(void)
{
	survey_deinit(&survey);
	worker_free(worker);
	closer_deinit();
}

static void on_done(struct survey *s, int r)
{
	ck_assert_ptr_eq(s, &survey);
	ck_assert(!is_done);
	is_done = true;
	result = r;
}

static void on_removed(struct worker_removal *removal)
{
	(void)removal;
	is_removed = true;
}

static void begin(uint64_t cid, size_t max_conns)
{
	survey = (struct survey){ .cid = cid, .max_conns = max_conns, .done = on_done };
	is_done = is_removed = false;
	survey_post(&survey, worker);
}

static size_t count(void)
{
	size_t n = 0;

	for (const struct survey_vm *vm = survey.first; vm; vm = vm->next)
		n++;
	return n;
}

/* Until so many have been looked at. */
static void step_until(size_t n)
{
	while (count() < n)
		ck_assert_int_eq(loop_step(worker_loop(worker), 0), 0);
}

static void finish(void)
{
	while (!is_done)
		ck_assert_int_eq(loop_step(worker_loop(worker), 0), 0);
	ck_assert_int_eq(result, 0);
}

START_TEST(a_portion_in_each_batch)
{
	begin(0, 0);
	step_until(1);
	ck_assert_uint_eq(count(), SURVEY_DEVICES);
	ck_assert(!is_done);
	finish();
	ck_assert_uint_eq(count(), DEVICES);
}
END_TEST

static uint64_t cpu_us(void)
{
	struct timespec ts;

	ck_assert_int_eq(clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts), 0);
	return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

/* CPU time of the longest portion. */
static uint64_t longest_us(size_t max_conns)
{
	uint64_t longest = 0, took;

	begin(0, max_conns);
	while (!is_done) {
		took = cpu_us();
		ck_assert_int_eq(loop_step(worker_loop(worker), 0), 0);
		took = cpu_us() - took;
		longest = took > longest ? took : longest;
	}
	survey_deinit(&survey);
	return longest;
}

/* What a turn may have to wait for; the best of some, since the kernel's work counts as well.
 * _i: with rows of connections. */
START_TEST(no_portion_delays_a_turn)
{
	uint64_t best = UINT64_MAX;

	for (int i = 0; i < 20; i++) {
		uint64_t us = longest_us(_i ? 10 : 0);

		best = us < best ? us : best;
	}
	ck_assert_uint_le(best, PORTION_US);
	printf("# the longest portion: %llu us\n", (unsigned long long)best);
}
END_TEST

/* One goes between the first portion and the second. */
START_TEST(one_goes_meanwhile)
{
	struct worker_removal removal = { .removed = on_removed };
	bool was_seen[DEVICES] = { false };

	begin(0, 0);
	step_until(SURVEY_DEVICES);
	worker_remove_device(worker, devices[_i], &removal);
	finish();
	while (!is_removed)
		ck_assert_int_eq(loop_step(worker_loop(worker), 0), 0);
	for (const struct survey_vm *vm = survey.first; vm; vm = vm->next) {
		size_t i = (size_t)vm->device.cid - FIRST;

		ck_assert_uint_lt(i, DEVICES);
		ck_assert(!was_seen[i]);
		was_seen[i] = true;
	}
	for (int i = 0; i < DEVICES; i++)
		ck_assert(was_seen[i] || i == _i);
}
END_TEST

/* ... while its connections are looked at; or one before it, or after it. */
START_TEST(one_goes_while_rows_are_taken)
{
	struct worker_removal removal = { .removed = on_removed };
	int at = _i - 1;

	begin(0, 10);
	step_until(5);				/* the rows of the fifth are missing */
	ck_assert_ptr_nonnull(survey.vm);
	worker_remove_device(worker, devices[4 + at], &removal);
	finish();
	ck_assert_uint_ge(count(), DEVICES - 1);
	for (const struct survey_vm *vm = survey.first; vm; vm = vm->next)
		for (const struct survey_vm *next = vm->next; next; next = next->next)
			ck_assert_uint_ne(vm->device.cid, next->device.cid);
}
END_TEST

START_TEST(one_of_them)
{
	begin(FIRST + DEVICES - 1, 0);
	finish();
	ck_assert(survey.was_found);
	ck_assert_uint_eq(count(), 1);
	ck_assert_uint_eq(survey.first->device.cid, FIRST + DEVICES - 1);
}
END_TEST

START_TEST(one_that_is_not_there)
{
	begin(1000, 0);
	finish();
	ck_assert(!survey.was_found);
	ck_assert_uint_eq(count(), 0);
}
END_TEST

static unsigned n_gone;

static void on_gone(void *ctx)
{
	ck_assert_ptr_eq(ctx, &survey);
	n_gone++;
}

static void on_packet(void *ctx, const struct pkt *pkt, const struct iov_cur *payload)
{
	(void)ctx, (void)pkt, (void)payload;
}

static void begin_tap(struct device_tap *tap, uint64_t cid)
{
	*tap = (struct device_tap){ .packet = on_packet, .gone = on_gone, .ctx = &survey };
	list_init(&tap->node);
	is_done = false;
	survey = (struct survey){ .cid = cid, .tap = tap, .done = on_done };
	survey_post(&survey, worker);
	finish();
}

/* It is of one device, and hears when that goes; or it is removed, and does not. */
START_TEST(who_looks_on)
{
	static struct device_tap tap, other;

	begin_tap(&tap, 1000);
	ck_assert(!survey.was_found && list_is_empty(&tap.node));
	device_remove_tap(&tap);
	begin_tap(&tap, FIRST);
	ck_assert(survey.was_found && !list_is_empty(&tap.node));
	ck_assert_uint_eq(count(), 0);
	begin_tap(&other, FIRST);
	device_remove_tap(&other);
	ck_assert(list_is_empty(&other.node) && !list_is_empty(&tap.node));
	ck_assert_uint_eq(n_gone, 0);
	worker_remove_device(worker, devices[0], &(struct worker_removal){ .removed = on_removed });
	for (int i = 0; i < 100 && !n_gone; i++)
		ck_assert_int_eq(loop_step(worker_loop(worker), 0), 0);
	ck_assert_uint_eq(n_gone, 1);
	ck_assert(list_is_empty(&tap.node));
	begin_tap(&tap, FIRST + 1);		/* which goes with the worker */
}
END_TEST

START_TEST(nobody_wants_it_any_more)
{
	begin(0, 0);
	step_until(SURVEY_DEVICES);
	survey.is_abandoned = true;
	ck_assert_int_eq(loop_step(worker_loop(worker), 0), 0);
	ck_assert(is_done);
	ck_assert_int_lt(result, 0);
	ck_assert_uint_eq(count(), SURVEY_DEVICES);
}
END_TEST

START_TEST(the_worker_is_stopped)
{
	begin(0, 0);
	step_until(SURVEY_DEVICES);
	worker_stop(worker);
	ck_assert(is_done);
	ck_assert_int_lt(result, 0);
	survey_deinit(&survey);
	begin(0, 0);
	ck_assert(worker_deliver_mail(worker));
	ck_assert(is_done);
	ck_assert_int_lt(result, 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("survey");
	TCase *tc = tcase_create("survey");

	scratch_begin();
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, a_portion_in_each_batch);
	tcase_add_loop_test(tc, no_portion_delays_a_turn, 0, 2);
	tcase_add_loop_test(tc, one_goes_meanwhile, 0, DEVICES);
	tcase_add_loop_test(tc, one_goes_while_rows_are_taken, 0, 3);
	tcase_add_test(tc, one_of_them);
	tcase_add_test(tc, one_that_is_not_there);
	tcase_add_test(tc, who_looks_on);
	tcase_add_test(tc, nobody_wants_it_any_more);
	tcase_add_test(tc, the_worker_is_stopped);
	suite_add_tcase(suite, tc);
	return unit_main(suite);
}
