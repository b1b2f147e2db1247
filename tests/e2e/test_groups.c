/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Groups: guests reach each other exactly when they share one. The rule itself
 * is a table of all combinations in the unit tests; here it goes the whole way,
 * from the command line to the guests.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "e2e/sibs.h"

enum { VMS = 3, MANY = 200 };

static char many[4096], many_others[4096];

static const struct {
	const char *groups[VMS];
	bool reach[VMS];			/* 0 and 1, 1 and 2, 0 and 2 */
} cases[] = {
	{ { NULL, NULL, NULL }, { true, true, true } },
	{ { "default", NULL, "other" }, { true, false, false } },
	{ { "a", "a", "a" }, { true, true, true } },
	{ { "a", "b", "c" }, { false, false, false } },
	{ { "a+b", "b+c", "c+a" }, { true, true, true } },
	{ { "a+b", "b+c", "c+d" }, { true, true, false } },
	{ { "a+b", "c+d", "b+c" }, { false, true, true } },
	{ { "b+a+b", "z+a", "zz+A" }, { true, false, false } },
	{ { "a", "aa", "a+aa" }, { false, true, true } },
	{ { many, "g199", "g200" }, { true, false, false } },
	{ { many, many_others, "h0+g0" }, { false, true, true } },
};

static void check(struct sib *x, struct sib *y, bool reach)
{
	uint64_t before = y->d.n_rx_pkts;
	struct sock *s;

	if (reach) {
		struct sib_pair p = sibs_connect(x, y);

		sibs_check_talks(p);
		sibs_close(p);
		return;
	}
	sock_listen(&y->d, PORT);
	s = sock_dial_to(&x->d, y->cid, PORT);
	ck_assert(!sock_wait_open(s));
	sock_free(s);
	ck_assert(driver_is_quiet(&y->d, 20));
	ck_assert_uint_eq(y->d.n_rx_pkts, before);
}

static void write_many(char *to, size_t size, char letter)
{
	size_t len = 0;

	for (int i = 0; i < MANY; i++)
		len += (size_t)snprintf(to + len, size - len, "%s%c%d", i ? "+" : "", letter, i);
}

START_TEST(exactly_with_a_group_in_common)
{
	static const int pairs[VMS][2] = { { 0, 1 }, { 1, 2 }, { 0, 2 } };

	write_many(many, sizeof many, 'g');
	write_many(many_others, sizeof many_others, 'h');
	sibs_spawn(VMS, cases[_i].groups);
	for (int i = 0; i < VMS; i++)
		sib_up(&sibs[i], NULL);
	for (int i = 0; i < VMS; i++) {
		struct sib *x = &sibs[pairs[i][0]], *y = &sibs[pairs[i][1]];

		while (!driver_is_quiet(&x->d, 10) || !driver_is_quiet(&y->d, 10))
			;
		check(x, y, cases[_i].reach[i]);
		while (!driver_is_quiet(&x->d, 10) || !driver_is_quiet(&y->d, 10))
			;
		check(y, x, cases[_i].reach[i]);
	}
	for (int i = 0; i < VMS; i++)
		sib_check_host(&sibs[i]);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("groups");
	TCase *tc = e2e_case_with(s, "groups", e2e_setup_bare, sibs_teardown, 60);

	tcase_add_loop_test(tc, exactly_with_a_group_in_common, 0,
			    (int)(sizeof cases / sizeof *cases));
	return e2e_run(s);
}
