/* SPDX-License-Identifier: BSD-3-Clause */
/* Scattered memory: whatever the cut, the bytes are the same. */
#include "util/iov.h"

#include "unit.h"

#define TEXT "0123456789"
enum { LEN = sizeof TEXT - 1 };

/* The text in three pieces, with an empty one in front, between and behind. */
struct cut {
	char text[LEN];
	struct iovec iov[7];
};

static void cut_at(struct cut *c, size_t a, size_t b)
{
	memcpy(c->text, TEXT, LEN);
	for (size_t i = 0; i < 7; i++)
		c->iov[i] = (struct iovec){ c->text, 0 };
	c->iov[1] = (struct iovec){ c->text, a };
	c->iov[3] = (struct iovec){ c->text + a, b - a };
	c->iov[5] = (struct iovec){ c->text + b, LEN - b };
}

/* Loop index to two cuts, the second not before the first. */
enum { CUTS = (LEN + 1) * (LEN + 1) };

static bool cut_by_index(struct cut *c, int i)
{
	size_t a = (size_t)i / (LEN + 1), b = (size_t)i % (LEN + 1);

	if (a > b)
		return false;
	cut_at(c, a, b);
	return true;
}

START_TEST(get_any_cut)
{
	struct cut c;

	if (!cut_by_index(&c, _i))
		return;
	for (size_t first = 0; first <= LEN; first++) {
		struct iov_cur cur;
		char out[LEN + 1] = "";

		iov_cur_init(&cur, c.iov, COUNT(c.iov));
		ck_assert_uint_eq(cur.left, LEN);
		ck_assert(iov_cur_get(&cur, out, first));
		ck_assert_uint_eq(cur.left, LEN - first);
		ck_assert(iov_cur_get(&cur, out + first, LEN - first));
		ck_assert_str_eq(out, TEXT);
		ck_assert_uint_eq(cur.left, 0);
	}
}
END_TEST

START_TEST(get_past_the_end_does_nothing)
{
	struct iov_cur cur;
	char out[LEN + 1] = "unchanged";
	struct cut c;

	cut_at(&c, 3, 7);
	iov_cur_init(&cur, c.iov, COUNT(c.iov));
	ck_assert(!iov_cur_get(&cur, out, LEN + 1));
	ck_assert_str_eq(out, "unchanged");
	ck_assert_uint_eq(cur.left, LEN);
	ck_assert(iov_cur_get(&cur, out, LEN));
	ck_assert_str_eq(out, TEXT);
	ck_assert(!iov_cur_get(&cur, out, 1));
	ck_assert(iov_cur_get(&cur, out, 0));
}
END_TEST

/* Slices of every size, with room for every number of iovecs, give all bytes. */
START_TEST(slice_any_cut)
{
	struct cut c;

	if (!cut_by_index(&c, _i))
		return;
	for (size_t step = 1; step <= LEN + 1; step++) {
		for (size_t max = 1; max <= 4; max++) {
			struct iovec out[4];
			struct iov_cur cur;
			size_t at = 0, here, n;

			iov_cur_init(&cur, c.iov, COUNT(c.iov));
			while (cur.left) {
				size_t total = 0;

				n = iov_cur_slice(&cur, step, out, max, &here);
				ck_assert_uint_gt(n, 0);
				ck_assert_uint_le(n, max);
				ck_assert_uint_le(here, step);
				for (size_t i = 0; i < n; i++) {
					ck_assert_uint_gt(out[i].iov_len, 0);
					ck_assert_mem_eq(out[i].iov_base, &TEXT[at + total],
							 out[i].iov_len);
					total += out[i].iov_len;
				}
				ck_assert_uint_eq(total, here);
				at += total;
			}
			ck_assert_uint_eq(at, LEN);
			ck_assert_uint_eq(iov_cur_slice(&cur, step, out, max, &here), 0);
			ck_assert_uint_eq(here, 0);
		}
	}
}
END_TEST

START_TEST(slice_without_room)
{
	struct iovec out[1];
	struct iov_cur cur;
	struct cut c;
	size_t here;

	cut_at(&c, 3, 7);
	iov_cur_init(&cur, c.iov, COUNT(c.iov));
	ck_assert_uint_eq(iov_cur_slice(&cur, 5, out, 0, &here), 0);
	ck_assert_uint_eq(here, 0);
	ck_assert_uint_eq(cur.left, LEN);
}
END_TEST

START_TEST(copy_to_any_cut)
{
	struct cut c;

	if (!cut_by_index(&c, _i))
		return;
	for (size_t len = 0; len <= LEN; len++) {
		memset(c.text, '.', LEN);
		iov_copy_to(c.iov, COUNT(c.iov), TEXT, len);
		ck_assert_mem_eq(c.text, TEXT, len);
		for (size_t i = len; i < LEN; i++)
			ck_assert_int_eq(c.text[i], '.');
	}
}
END_TEST

START_TEST(no_iovecs)
{
	struct iov_cur cur;
	char byte;

	iov_cur_init(&cur, NULL, 0);
	ck_assert_uint_eq(cur.left, 0);
	ck_assert(!iov_cur_get(&cur, &byte, 1));
	iov_copy_to(NULL, 0, "", 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("iov");
	TCase *tc = tcase_create("iov");

	tcase_add_loop_test(tc, get_any_cut, 0, CUTS);
	tcase_add_test(tc, get_past_the_end_does_nothing);
	tcase_add_loop_test(tc, slice_any_cut, 0, CUTS);
	tcase_add_test(tc, slice_without_room);
	tcase_add_loop_test(tc, copy_to_any_cut, 0, CUTS);
	tcase_add_test(tc, no_iovecs);
	suite_add_tcase(suite, tc);
	return unit_main(suite);
}
