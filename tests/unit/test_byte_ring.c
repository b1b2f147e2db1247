/* SPDX-License-Identifier: BSD-3-Clause */
/* The byte ring: what goes in comes out, at every position and fill. */
#include "util/byte_ring.h"

#include <errno.h>
#include <string.h>

#include "unit.h"

enum { SIZE = 8 };

static const char text[] = "abcdefgh";

/* An iovec of @len bytes of the text; iovecs have no const. */
static struct iovec piece(size_t at, size_t len)
{
	static char copy[SIZE];

	memcpy(copy, text, SIZE);
	return (struct iovec){ copy + at, len };
}

/* Empties the ring and compares. */
static void expect(struct byte_ring *ring, const char *what, size_t len)
{
	struct iovec out[2];
	char got[SIZE + 1] = "";
	size_t n = byte_ring_peek(ring, out), total = 0;

	for (size_t i = 0; i < n; i++) {
		memcpy(got + total, out[i].iov_base, out[i].iov_len);
		total += out[i].iov_len;
	}
	ck_assert_uint_eq(total, len);
	ck_assert_uint_eq(ring->len, len);
	ck_assert_mem_eq(got, what, len);
}

/* Moves head to @at while leaving one byte in, so that the memory stays. */
static void move_head(struct byte_ring *ring, size_t at)
{
	struct iovec one = piece(0, 1);

	ck_assert_int_eq(byte_ring_append(ring, &one, 1, 0), 0);
	for (size_t i = 0; i < at; i++) {
		ck_assert_int_eq(byte_ring_append(ring, &one, 1, 0), 0);
		byte_ring_drop(ring, 1);
	}
	ck_assert_uint_eq(ring->head, at);
}

static struct byte_budget budget = { .max = SIZE };

/* _i: where the head is. Every length, taken out at every point. */
START_TEST(wraps)
{
	for (size_t len = 1; len < SIZE; len++) {
		for (size_t taken = 0; taken <= len; taken++) {
			struct iovec iov = piece(1, len);
			struct byte_ring ring;

			byte_ring_init(&ring, SIZE, &budget);
			move_head(&ring, (size_t)_i);
			ck_assert_int_eq(byte_ring_append(&ring, &iov, 1, 0), 0);
			expect(&ring, text, len + 1);
			byte_ring_drop(&ring, taken);
			expect(&ring, text + taken, len + 1 - taken);
			byte_ring_drop(&ring, len + 1 - taken);
			ck_assert_ptr_null(ring.data);
			byte_ring_deinit(&ring);
		}
	}
}
END_TEST

/* _i: bytes skipped of the text in pieces of 0, 3, 0, 5. */
/* The last bytes go; what comes after takes their place. _i: where the head is. */
START_TEST(cuts)
{
	for (size_t len = 1; len < SIZE; len++) {
		for (size_t cut = 0; cut <= len; cut++) {
			struct iovec iov = piece(1, len), more;
			struct byte_ring ring;

			byte_ring_init(&ring, SIZE, &budget);
			move_head(&ring, (size_t)_i);
			ck_assert_int_eq(byte_ring_append(&ring, &iov, 1, 0), 0);
			byte_ring_cut(&ring, cut);
			expect(&ring, text, len + 1 - cut);
			more = piece(len + 1 - cut, cut);
			ck_assert_int_eq(byte_ring_append(&ring, &more, 1, 0), 0);
			expect(&ring, text, len + 1);
			byte_ring_cut(&ring, len + 1);
			ck_assert_ptr_null(ring.data);
			ck_assert_uint_eq(budget.used, 0);
		}
	}
}
END_TEST

START_TEST(append_skips)
{
	struct iovec iov[] = { piece(0, 0), piece(0, 3), piece(3, 0), piece(3, 5) };
	struct byte_ring ring;

	byte_ring_init(&ring, SIZE, &budget);
	ck_assert_int_eq(byte_ring_append(&ring, iov, COUNT(iov), (size_t)_i), 0);
	expect(&ring, text + _i, SIZE - (size_t)_i);
	byte_ring_deinit(&ring);
}
END_TEST

/* Several rings share what one and a half of them would need. */
START_TEST(budget_is_shared_and_given_back)
{
	struct byte_budget both = { .max = SIZE + SIZE / 2 };
	struct iovec all = piece(0, SIZE);
	struct byte_ring a, b;

	byte_ring_init(&a, SIZE, &both);
	byte_ring_init(&b, SIZE, &both);
	ck_assert_int_eq(byte_ring_append(&a, &all, 1, 0), 0);
	ck_assert_int_eq(byte_ring_append(&b, &all, 1, 0), -ENOBUFS);
	ck_assert_ptr_null(b.data);
	byte_ring_drop(&a, SIZE);
	ck_assert_uint_eq(both.used, 0);
	ck_assert_int_eq(byte_ring_append(&b, &all, 1, 0), 0);
	byte_ring_deinit(&b);
	ck_assert_uint_eq(both.used, 0);
}
END_TEST

/* One buffer there always is, or no guest could ever be slow. */
START_TEST(budget_below_one_ring)
{
	struct byte_budget tiny = { .max = 1 };
	struct iovec all = piece(0, SIZE);
	struct byte_ring a, b;

	byte_ring_init(&a, SIZE, &tiny);
	byte_ring_init(&b, SIZE, &tiny);
	ck_assert_int_eq(byte_ring_append(&a, &all, 1, 0), 0);
	ck_assert_int_eq(byte_ring_append(&b, &all, 1, 0), -ENOBUFS);
	byte_ring_deinit(&a);
}
END_TEST

START_TEST(memory_only_while_needed)
{
	struct iovec all = piece(0, SIZE), out[2];
	struct byte_ring ring;

	byte_ring_init(&ring, SIZE, &budget);
	ck_assert_ptr_null(ring.data);
	ck_assert_uint_eq(byte_ring_peek(&ring, out), 0);
	for (int round = 0; round < 3; round++) {
		ck_assert_int_eq(byte_ring_append(&ring, &all, 1, 0), 0);
		ck_assert_ptr_nonnull(ring.data);
		expect(&ring, text, SIZE);
		byte_ring_drop(&ring, SIZE - 1);
		ck_assert_ptr_nonnull(ring.data);
		byte_ring_drop(&ring, 1);
		ck_assert_ptr_null(ring.data);
		ck_assert_uint_eq(byte_ring_peek(&ring, out), 0);
	}
	byte_ring_deinit(&ring);
	byte_ring_deinit(&ring);
}
END_TEST

/* What a slow receiver needs, and the whole size only where it is needed; the bytes stay
 * in order when they move, wherever the head is. */
START_TEST(grows_with_what_it_holds)
{
	enum { LARGE = 1 << 20, STEP = 1000 };
	struct byte_budget large = { .max = LARGE };
	uint8_t bytes[STEP];
	struct iovec iov = { bytes, STEP }, out[2];
	struct byte_ring ring;
	uint32_t in = 0, at = 0, largest = 0;
	size_t n;

	byte_ring_init(&ring, LARGE, &large);
	while (ring.len + STEP <= LARGE) {
		for (int i = 0; i < STEP; i++)
			bytes[i] = (uint8_t)(in++ % 251);
		ck_assert_int_eq(byte_ring_append(&ring, &iov, 1, 0), 0);
		ck_assert_uint_eq(large.used, ring.room);
		ck_assert_uint_le(ring.room, 4096 > 2 * ring.len ? 4096 : 2 * ring.len);
		if (in % 3000 == 0) {
			byte_ring_drop(&ring, 700);
			at += 700;
		}
		largest = ring.room;
	}
	ck_assert_uint_eq(largest, LARGE);
	n = byte_ring_peek(&ring, out);
	for (size_t i = 0; i < n; i++)
		for (size_t k = 0; k < out[i].iov_len; k++, at++)
			ck_assert_uint_eq(((uint8_t *)out[i].iov_base)[k], at % 251);
	ck_assert_uint_eq(at, in);
	byte_ring_deinit(&ring);
	ck_assert_uint_eq(large.used, 0);
}
END_TEST

/* Refused growth changes nothing. */
START_TEST(growth_refused)
{
	struct byte_budget small = { .max = 5000 };
	struct byte_ring a, b;
	char bytes[4000] = { 'x' };
	struct iovec iov = { bytes, sizeof bytes }, out[2];

	byte_ring_init(&a, 1 << 20, &small);
	byte_ring_init(&b, 1 << 20, &small);
	iov.iov_len = 10;
	ck_assert_int_eq(byte_ring_append(&a, &iov, 1, 0), 0);
	ck_assert_int_eq(byte_ring_append(&b, &iov, 1, 0), -ENOBUFS);
	iov.iov_len = sizeof bytes;
	ck_assert_int_eq(byte_ring_append(&a, &iov, 1, 0), 0);	/* alone, it may have more */
	ck_assert_int_eq(byte_ring_append(&b, &iov, 1, 0), -ENOBUFS);
	ck_assert_uint_eq(byte_ring_peek(&a, out), 1);
	ck_assert_uint_eq(out->iov_len, 10 + sizeof bytes);
	byte_ring_deinit(&a);
	byte_ring_deinit(&b);
	ck_assert_uint_eq(small.used, 0);
}
END_TEST

/* What was there before has exactly the memory that it needs, also where the budget is used
 * up, and goes on as any other. */
START_TEST(fills)
{
	struct byte_budget small = { .max = 4 };
	struct iovec more = piece(3, 2);
	struct byte_ring ring;

	byte_ring_init(&ring, SIZE, &small);
	ck_assert_int_eq(byte_ring_fill(&ring, NULL, 0), 0);
	ck_assert_ptr_null(ring.data);
	ck_assert(byte_budget_take(&small, 4));
	ck_assert_int_eq(byte_ring_fill(&ring, text, 3), 0);
	ck_assert_uint_eq(ring.room, 3);
	ck_assert_uint_eq(small.used, 7);
	ck_assert_int_eq(byte_ring_append(&ring, &more, 1, 0), -ENOBUFS);
	byte_budget_give(&small, 4);
	ck_assert_int_eq(byte_ring_append(&ring, &more, 1, 0), 0);
	expect(&ring, "abcde", 5);
	byte_ring_drop(&ring, 5);
	ck_assert_uint_eq(small.used, 0);
	ck_assert_int_eq(byte_ring_fill(&ring, text, SIZE), 0);
	expect(&ring, text, SIZE);
	byte_ring_deinit(&ring);
	ck_assert_uint_eq(small.used, 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("ring");
	TCase *tc = tcase_create("ring");

	tcase_set_timeout(tc, 60);
	tcase_add_loop_test(tc, wraps, 0, SIZE);
	tcase_add_loop_test(tc, cuts, 0, SIZE);
	tcase_add_loop_test(tc, append_skips, 0, SIZE + 1);
	tcase_add_test(tc, budget_is_shared_and_given_back);
	tcase_add_test(tc, budget_below_one_ring);
	tcase_add_test(tc, memory_only_while_needed);
	tcase_add_test(tc, grows_with_what_it_holds);
	tcase_add_test(tc, growth_refused);
	tcase_add_test(tc, fills);
	suite_add_tcase(suite, tc);
	return unit_main(suite);
}
