/* SPDX-License-Identifier: BSD-3-Clause */
/* Who is to go where: numbers in, moves out, and what comes of many of them. */
#include "daemon/balance.h"

#include <string.h>

#include "unit.h"

enum { ROWS = 32, WORKERS_MAX = 8, LOOK_US = 100000, LOOKS = 10 };

/* Busy VMs, and others that use little, of each worker; each busy VM gets its part of the rest. */
struct world {
	size_t n_workers, n;
	struct balance_vm vms[ROWS];
	struct balance_row rows[ROWS];
	uint32_t wants[ROWS];			/* of BALANCE_FULL */
	uint64_t got[ROWS];			/* microseconds */
	unsigned n_moves;
};

static struct world w;

static void add(size_t worker, uint32_t wants)
{
	w.rows[w.n] = (struct balance_row){ .vm = &w.vms[w.n], .worker = worker };
	w.wants[w.n++] = wants;
}

/* A word for each worker, a letter for each of its VMs: 'b' is busy, 'l' wants a tenth. */
static void build(const char *const *workers)
{
	memset(&w, 0, sizeof w);
	for (; workers[w.n_workers]; w.n_workers++)
		for (const char *at = workers[w.n_workers]; *at; at++)
			add(w.n_workers, *at == 'b' ? BALANCE_FULL : BALANCE_FULL / 10);
}

/* Those that want less than their part get it, the others share what is left. */
static uint32_t part_of(size_t worker)
{
	uint32_t left = BALANCE_FULL, n = 0;

	for (size_t i = 0; i < w.n; i++) {
		if (w.rows[i].worker != worker)
			continue;
		if (w.wants[i] < BALANCE_FULL)
			left -= w.wants[i];
		else
			n++;
	}
	return n ? left / n : left;
}

static void live(void)
{
	for (size_t i = 0; i < w.n; i++) {
		uint32_t part = w.wants[i] < BALANCE_FULL ? w.wants[i] : part_of(w.rows[i].worker);
		uint32_t us = part * (LOOK_US / BALANCE_FULL);

		w.vms[i].busy_us += us;
		w.got[i] += us;
	}
}

static void look(bool is_first)
{
	struct balance_move m;
	bool was_turn = false;

	for (size_t i = 0; i < w.n; i++)
		balance_look(&w.vms[i], is_first ? 0 : LOOK_US);
	ck_assert_int_eq(balance_share_out(w.rows, w.n, w.n_workers, 1), 0);
	while (!was_turn && balance_choose(w.rows, w.n, w.n_workers, &m)) {
		ck_assert_uint_lt(m.row, w.n);
		ck_assert_uint_lt(m.to, w.n_workers);
		ck_assert_uint_ne(w.rows[m.row].worker, m.to);
		balance_moved(w.rows, w.n, w.n_workers, &m);
		was_turn = m.is_turn;
		ck_assert_uint_lt(++w.n_moves, 1000);
	}
}

static void run(int looks)
{
	for (int i = 0; i < looks; i++) {
		live();
		look(i == 0);
	}
}

static uint32_t count_busy(size_t worker)
{
	uint32_t n = 0;

	for (size_t i = 0; i < w.n; i++)
		n += w.rows[i].worker == worker && w.wants[i] == BALANCE_FULL;
	return n;
}

static double fairness(void)
{
	uint64_t min = UINT64_MAX, max = 0;

	for (size_t i = 0; i < w.n; i++) {
		if (w.wants[i] < BALANCE_FULL)
			continue;
		min = w.got[i] < min ? w.got[i] : min;
		max = w.got[i] > max ? w.got[i] : max;
	}
	return (double)min / (double)max;
}

/* ---- numbers that divide ---- */

static const struct {
	const char *name, *workers[WORKERS_MAX];
	unsigned n_moves;			/* at most */
} even_cases[] = {
	{ "all of them on one", { "bbbbbbbb", "" }, 4 },
	{ "of three, two have none", { "bbbbbb", "", "" }, 4 },
	{ "three and one", { "bbb", "b" }, 1 },
	{ "nine and seven", { "bbbbbbbbb", "bbbbbbb" }, 1 },
	{ "two where there is room", { "bb", "" }, 1 },
	{ "they are even", { "bb", "bb", "bb" }, 0 },
	{ "one for each", { "b", "b", "b" }, 0 },
	{ "fewer than workers", { "b", "", "" }, 0 },
	{ "none is busy", { "lll", "", "" }, 0 },
	{ "those that want little do not count", { "bl", "b" }, 0 },
};

START_TEST(even)
{
	uint32_t least = UINT32_MAX, most = 0;

	build(even_cases[_i].workers);
	run(4);
	for (size_t i = 0; i < w.n_workers; i++) {
		uint32_t n = count_busy(i);

		least = n < least ? n : least;
		most = n > most ? n : most;
	}
	ck_assert_msg(w.n_moves <= even_cases[_i].n_moves, "%s: %u moves", even_cases[_i].name,
		      w.n_moves);
	ck_assert_msg(most <= least + 1, "%s: %u and %u", even_cases[_i].name, least, most);
	run(LOOKS);
	ck_assert_msg(w.n_moves <= even_cases[_i].n_moves, "%s: goes on", even_cases[_i].name);
}
END_TEST

/* ---- numbers that do not ---- */

static const struct {
	const char *name, *workers[WORKERS_MAX];
} odd_cases[] = {
	{ "eight on three", { "bbb", "bbb", "bb" } },
	{ "eight on three, all on one at first", { "bbbbbbbb", "", "" } },
	{ "three on two", { "bb", "b" } },
	{ "five on two", { "bbb", "bb" } },
	{ "five on four", { "bb", "b", "b", "b" } },
	{ "seven on five", { "bb", "bb", "b", "b", "b" } },
	{ "ten on three, beside others", { "bbbbll", "bbbl", "bbbl" } },
};

START_TEST(goes_round)
{
	build(odd_cases[_i].workers);
	run(LOOKS);
	memset(w.got, 0, sizeof w.got);
	w.n_moves = 0;
	run(2 * LOOKS);
	ck_assert_msg(fairness() >= 0.9, "%s: %.3f", odd_cases[_i].name, fairness());
	ck_assert_uint_le(w.n_moves, 2 * LOOKS);
}
END_TEST

/* ---- rules ---- */

/* Workers that have more to do than others; but all VMs have all that they want, and use the same. */
static const struct {
	size_t n_vms, n_workers;
	uint32_t wants;
} content_cases[] = {
	{ 3, 2, 3500 }, { 5, 2, 2500 }, { 9, 4, 3100 }, { 7, 3, 3300 },
};

START_TEST(nobody_lacks_anything)
{
	memset(&w, 0, sizeof w);
	w.n_workers = content_cases[_i].n_workers;
	for (size_t i = 0; i < content_cases[_i].n_vms; i++)
		add(i % w.n_workers, content_cases[_i].wants);
	run(10 * LOOKS);
	ck_assert_uint_eq(w.n_moves, 0);
}
END_TEST

/* Each is busy for 300 ms and then not, at different times: on average the workers have the same. To
 * follow them about would make them wait for each other where they meet. */
START_TEST(bursts_are_not_followed)
{
	unsigned n_early = 0;

	memset(&w, 0, sizeof w);
	w.n_workers = 4;
	for (size_t i = 0; i < ROWS; i++)
		add(i % w.n_workers, 0);
	for (unsigned at = 0; at < 20 * LOOKS; at++) {
		for (size_t i = 0; i < ROWS; i++)
			w.wants[i] = (at + i * 7) / 3 % 2 ? BALANCE_FULL : BALANCE_FULL / 50;
		live();
		look(at == 0);
		if (at == 4 * LOOKS)
			n_early = w.n_moves;
	}
	ck_assert_msg(w.n_moves - n_early < 16 * LOOKS / 4, "%u moves", w.n_moves - n_early);
}
END_TEST

/* Nobody waits there, so nobody leaves. */
START_TEST(who_is_not_busy_is_left)
{
	static const char *const workers[] = { "lllll", "", NULL };

	build(workers);
	run(LOOKS);
	ck_assert_uint_eq(w.n_moves, 0);
}
END_TEST

START_TEST(who_cannot_is_left_alone)
{
	static const char *const workers[] = { "bbb", "", NULL };
	struct balance_move m;

	build(workers);
	live();
	for (size_t i = 0; i < w.n; i++)
		balance_look(&w.vms[i], 0);
	live();
	for (size_t i = 0; i < w.n; i++)
		balance_look(&w.vms[i], LOOK_US);
	balance_stays(&w.rows[0]);
	balance_stays(&w.rows[2]);
	ck_assert(balance_choose(w.rows, w.n, w.n_workers, &m));
	ck_assert_uint_eq(m.row, 1);
	w.vms[1].rest = 1;
	ck_assert(!balance_choose(w.rows, w.n, w.n_workers, &m));
	balance_look(&w.vms[1], LOOK_US);
	ck_assert_uint_eq(w.vms[1].rest, 0);
}
END_TEST

/* What was used in a time of which nothing is known says nothing. */
START_TEST(after_a_pause)
{
	struct balance_vm vm = { .used = 5000, .got = 100000 };

	atomic_store(&vm.busy_us, 123456);
	balance_look(&vm, 0);
	ck_assert_uint_eq(vm.used, 0);
	ck_assert_uint_eq(vm.got, 0);
	atomic_store(&vm.busy_us, 123456 + LOOK_US / 2);
	balance_look(&vm, LOOK_US);
	ck_assert_uint_eq(vm.used, BALANCE_FULL / 2);
}
END_TEST

/* 32 bits of microseconds are full after an hour. */
START_TEST(the_counter_wraps)
{
	struct balance_vm vm = { .seen_us = UINT32_MAX - 10 };

	atomic_store(&vm.busy_us, LOOK_US / 4 - 11);
	balance_look(&vm, LOOK_US);
	ck_assert_uint_eq(vm.used, BALANCE_FULL / 4);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("balance");
	TCase *tc = tcase_create("balance");

	tcase_add_loop_test(tc, even, 0, COUNT(even_cases));
	tcase_add_loop_test(tc, goes_round, 0, COUNT(odd_cases));
	tcase_add_loop_test(tc, nobody_lacks_anything, 0, COUNT(content_cases));
	tcase_add_test(tc, bursts_are_not_followed);
	tcase_add_test(tc, who_is_not_busy_is_left);
	tcase_add_test(tc, who_cannot_is_left_alone);
	tcase_add_test(tc, after_a_pause);
	tcase_add_test(tc, the_counter_wraps);
	suite_add_tcase(s, tc);
	return unit_main(s);
}
