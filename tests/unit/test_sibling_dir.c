/* SPDX-License-Identifier: BSD-3-Clause */
/* Who may reach whom: exactly those that share a group. */
#include "backend/sibling.h"
#include "backend/sibling_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "unit.h"

enum { GROUPS = 4, SETS = 1 << GROUPS, MANY = 200 };

/* Sorted by strcmp(), as a plan has them: prefixes of each other, and empty. */
static char *const names[GROUPS] = { (char[]){ "" }, (char[]){ "a" }, (char[]){ "aa" },
				     (char[]){ "b" } };

struct set {
	char *groups[GROUPS];
	size_t n;
};

static struct set make_set(unsigned bits)
{
	struct set set = { .n = 0 };

	for (unsigned i = 0; i < GROUPS; i++)
		if (bits & 1u << i)
			set.groups[set.n++] = names[i];
	return set;
}

/* _i: the one's groups; the other's are all there are. */
START_TEST(all_combinations)
{
	struct set one = make_set((unsigned)_i);

	for (unsigned bits = 0; bits < SETS; bits++) {
		struct set other = make_set(bits);
		bool shares = (unsigned)_i & bits;
		struct sibling_dir *dir;

		ck_assert_int_eq(sibling_dir_new(&dir, 2), 0);
		sibling_dir_add(dir, bits % 2 ? 3 : 4, one.groups, one.n, NULL);
		sibling_dir_add(dir, bits % 2 ? 4 : 3, other.groups, other.n, NULL);
		sibling_dir_seal(dir);
		ck_assert_int_eq(sibling_dir_allows(dir, 3, 4), shares);
		ck_assert_int_eq(sibling_dir_allows(dir, 4, 3), shares);
		ck_assert(!sibling_dir_allows(dir, 3, 3));
		ck_assert(!sibling_dir_allows(dir, 4, 4));
		sibling_dir_free(dir);
	}
}
END_TEST

/* All sixteen sets in one directory, added in an order that is not theirs. */
START_TEST(all_in_one_directory)
{
	static struct set sets[SETS];
	struct sibling_dir *dir;

	ck_assert_int_eq(sibling_dir_new(&dir, SETS), 0);
	for (unsigned i = 0; i < SETS; i++) {
		unsigned bits = i * 7 % SETS;

		sets[bits] = make_set(bits);
		sibling_dir_add(dir, 3 + bits, sets[bits].groups, sets[bits].n, NULL);
	}
	sibling_dir_seal(dir);
	for (unsigned x = 0; x < SETS; x++)
		for (unsigned y = 0; y < SETS; y++)
			ck_assert_int_eq(sibling_dir_allows(dir, 3 + x, 3 + y),
					 x != y && x & y);
	sibling_dir_free(dir);
}
END_TEST

static int compare(const void *x, const void *y)
{
	return strcmp(*(char *const *)x, *(char *const *)y);
}

/* Two hundred groups each, none, one or all in common: the first or the last. */
START_TEST(two_hundred_groups)
{
	static char text[2 * MANY][16];
	char *one[MANY], *other[MANY];
	struct sibling_dir *dir;

	for (int shared = -1; shared < MANY; shared++) {
		for (int i = 0; i < MANY; i++) {
			snprintf(text[i], sizeof text[i], "g%d", i);
			snprintf(text[MANY + i], sizeof text[i], i == shared ? "g%d" : "g%d.x", i);
			one[i] = text[i];
			other[i] = text[MANY + i];
		}
		qsort(one, MANY, sizeof *one, compare);
		qsort(other, MANY, sizeof *other, compare);
		ck_assert_int_eq(sibling_dir_new(&dir, 2), 0);
		sibling_dir_add(dir, 3, one, MANY, NULL);
		sibling_dir_add(dir, 4, other, MANY, NULL);
		sibling_dir_seal(dir);
		ck_assert_int_eq(sibling_dir_allows(dir, 3, 4), shared >= 0);
		ck_assert_int_eq(sibling_dir_allows(dir, 4, 3), shared >= 0);
		sibling_dir_free(dir);
	}
}
END_TEST

/* CIDs are 64 bits wide, and anything may be asked for. */
START_TEST(finds_exactly_what_is_there)
{
	static const uint64_t cids[] = { UINT32_MAX - 1, 3, 1000, 4, UINT32_MAX - 2 };
	struct sibling_dir *dir;

	ck_assert_int_eq(sibling_dir_new(&dir, COUNT(cids)), 0);
	for (int i = 0; i < COUNT(cids); i++)
		sibling_dir_add(dir, cids[i], names, GROUPS, NULL);
	sibling_dir_seal(dir);
	for (int i = 0; i < COUNT(cids); i++) {
		ck_assert_ptr_nonnull(sibling_dir_find(dir, cids[i]));
		ck_assert_uint_eq(sibling_dir_find(dir, cids[i])->cid, cids[i]);
		ck_assert_ptr_null(sibling_dir_find(dir, cids[i] + (UINT64_C(1) << 32)));
		ck_assert(!sibling_dir_allows(dir, cids[i], 5));
		ck_assert(!sibling_dir_allows(dir, 5, cids[i]));
	}
	ck_assert_ptr_null(sibling_dir_find(dir, 0));
	ck_assert_ptr_null(sibling_dir_find(dir, UINT64_MAX));
	sibling_dir_free(dir);
}
END_TEST

START_TEST(empty)
{
	struct sibling_dir *dir;

	ck_assert_int_eq(sibling_dir_new(&dir, 0), 0);
	sibling_dir_seal(dir);
	ck_assert_ptr_null(sibling_dir_find(dir, 3));
	ck_assert(!sibling_dir_allows(dir, 3, 4));
	sibling_dir_free(dir);
	sibling_dir_free(NULL);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("sibling_dir");
	TCase *tc = tcase_create("sibling_dir");

	tcase_add_loop_test(tc, all_combinations, 0, SETS);
	tcase_add_test(tc, all_in_one_directory);
	tcase_add_test(tc, two_hundred_groups);
	tcase_add_test(tc, finds_exactly_what_is_there);
	tcase_add_test(tc, empty);
	suite_add_tcase(suite, tc);
	return unit_main(suite);
}
