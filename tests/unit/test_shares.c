/* SPDX-License-Identifier: BSD-3-Clause */
/* vsock/shares: which sibling may begin how many connections. */
#include "unit.h"
#include "vsock/shares.h"

enum { MAX = 16 };

static struct shares shares;
static struct conn conns[4 * MAX];
static size_t n_conns;

static void begin(size_t n_siblings)
{
	n_conns = 0;
	shares_init(&shares, MAX);
	shares_set_siblings(&shares, n_siblings);
}

static bool connects(uint64_t cid)
{
	struct conn *c = &conns[n_conns];
	enum share share = shares_find(&shares, cid);

	if (share == SHARE_NONE)
		return false;
	*c = (struct conn){ .peer = { cid, 1024 } };
	list_init(&c->mux.share_node);
	shares_take(&shares, c, share);
	n_conns++;
	return true;
}

static unsigned connects_all_it_can(uint64_t cid)
{
	unsigned n = 0;

	while (connects(cid))
		n++;
	return n;
}

static void ends(uint64_t cid)
{
	for (size_t i = n_conns; i-- > 0; ) {
		if (conns[i].peer.cid != cid || conns[i].mux.share == SHARE_NONE)
			continue;
		shares_give(&shares, &conns[i]);
		return;
	}
	ck_abort_msg("no connection of %llu", (unsigned long long)cid);
}

static const struct row {
	size_t n_siblings;
	unsigned first, others;			/* connections: of the greedy one; of each other */
} rows[] = {
	{ 0, 16, 0 }, { 1, 16, 0 },
	{ 2, 8 + 4, 4 }, { 3, 8 + 2, 2 }, { 4, 8 + 2, 2 },
	{ 5, 8 + 1, 1 }, { 8, 8 + 1, 1 },
};

START_TEST(one_takes_all_it_can)
{
	const struct row *row = &rows[_i];

	begin(row->n_siblings);
	ck_assert_uint_eq(connects_all_it_can(100), row->first);
	for (size_t i = 1; i < row->n_siblings; i++)
		ck_assert_uint_eq(connects_all_it_can(100 + i), row->others);
	ck_assert_uint_eq(connects_all_it_can(100), 0);
}
END_TEST

/* More siblings than connections: who comes first. */
START_TEST(more_siblings_than_shares)
{
	begin(1000);
	ck_assert_uint_eq(connects_all_it_can(100), 8 + 1);
	for (uint64_t i = 1; i < 8; i++)
		ck_assert_uint_eq(connects_all_it_can(100 + i), 1);
	ck_assert(!connects(200));
}
END_TEST

START_TEST(what_ends_comes_back)
{
	begin(2);
	ck_assert_uint_eq(connects_all_it_can(100), 12);
	ck_assert_uint_eq(connects_all_it_can(101), 4);
	ends(101);
	ck_assert(!connects(100));
	ck_assert(connects(101));
	ends(100);				/* of its own share, the last that it took */
	ck_assert(!connects(101));
	ck_assert(connects(100));
	for (int i = 0; i < 12; i++)
		ends(100);
	for (int i = 0; i < 4; i++)
		ends(101);
	ck_assert_uint_eq(connects_all_it_can(101), 12);
}
END_TEST

/* Its share is its own also while others hold the common part. */
START_TEST(common_part_comes_first)
{
	begin(2);
	for (int i = 0; i < 8; i++)
		ck_assert(connects(101));
	for (int i = 0; i < 4; i++)
		ck_assert(connects(100));
	ck_assert(!connects(100));
	ck_assert_uint_eq(connects_all_it_can(101), 4);
}
END_TEST

/* A sibling comes: who has more than is its share now keeps it, and gets no more. */
START_TEST(another_sibling_comes)
{
	begin(1);
	ck_assert_uint_eq(connects_all_it_can(100), 16);
	shares_set_siblings(&shares, 2);
	ck_assert_uint_eq(connects_all_it_can(101), 0);
	for (int i = 0; i < 4; i++)
		ends(100);			/* of the last that it took: its own share */
	ck_assert_uint_eq(connects_all_it_can(100), 0);
	ck_assert_uint_eq(connects_all_it_can(101), 4);
}
END_TEST

/* One goes: its share is the others'. */
START_TEST(a_sibling_goes)
{
	begin(2);
	ck_assert_uint_eq(connects_all_it_can(100), 12);
	shares_set_siblings(&shares, 1);
	ck_assert_uint_eq(connects_all_it_can(100), 4);
	shares_set_siblings(&shares, 0);	/* nobody is left to connect */
	for (int i = 0; i < 16; i++)
		ends(100);
}
END_TEST

/* More or fewer connections in all. */
START_TEST(another_maximum)
{
	begin(2);
	ck_assert_uint_eq(connects_all_it_can(100), 12);
	shares_set_max(&shares, MAX / 2);
	ck_assert_uint_eq(connects_all_it_can(100) + connects_all_it_can(101), 0);
	for (int i = 0; i < 8; i++)
		ends(100);
	ck_assert_uint_eq(connects_all_it_can(100), 2);	/* besides 4 of the common part */
	ck_assert_uint_eq(connects_all_it_can(101), 2);
	shares_set_max(&shares, 2 * MAX);
	ck_assert_uint_eq(connects_all_it_can(101), 12 + 8 - 2);
	ck_assert_uint_eq(connects_all_it_can(100), 8 - 2);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("shares");
	TCase *tc = tcase_create("shares");

	tcase_add_loop_test(tc, one_takes_all_it_can, 0, COUNT(rows));
	tcase_add_test(tc, more_siblings_than_shares);
	tcase_add_test(tc, what_ends_comes_back);
	tcase_add_test(tc, common_part_comes_first);
	tcase_add_test(tc, another_sibling_comes);
	tcase_add_test(tc, a_sibling_goes);
	tcase_add_test(tc, another_maximum);
	suite_add_tcase(s, tc);
	return unit_main(s);
}
