/* SPDX-License-Identifier: BSD-3-Clause */
/* The RX ring as the packet core borrows from it. */
#include "device/rx_window.h"

#include <stdlib.h>

#include "device/scratch.h"
#include "queue.h"
#include "unit.h"

enum { NUM = 256, B = QUEUE_BUFS, LEN = 1500, WRITE = VIRTQ_DESC_F_WRITE, NEXT = VIRTQ_DESC_F_NEXT };

static struct queue g;
static struct virtq q;
static struct device_scratch *scratch;
static struct rx_window w;
static struct rx_sink sink;
static const struct rx_buf *bufs;

static uint64_t place_of(uint16_t i)
{
	return B + i * UINT64_C(2048);
}

static void setup(void)
{
	queue_init(&g, NUM, 0);
	virtq_init(&q);
	q.config = queue_config(&g);
	ck_assert_int_eq(virtq_resolve(&q, g.gmem, 0), 0);
	scratch = calloc(1, sizeof *scratch);
	ck_assert_ptr_nonnull(scratch);
	for (uint16_t i = 0; i < NUM; i++)
		queue_set_desc(&g, i, place_of(i), LEN, WRITE, 0);
	rx_window_open(&w, &q, scratch);
	sink = rx_window_sink(&w);
}

static void teardown(void)
{
	free(scratch);
	queue_deinit(&g);
}

/* The guest gives the next @n buffers; their heads go round. */
static void give(unsigned n)
{
	while (n--)
		guest_ring_raw_post(&g.ring, (uint16_t)(g.ring.avail_idx % NUM));
}

static size_t borrow(size_t want)
{
	return sink.borrow(sink.ctx, want, &bufs);
}

static void use(size_t n, uint32_t len)
{
	uint32_t lens[RX_BORROW_MAX];

	for (size_t i = 0; i < n; i++)
		lens[i] = len + (uint32_t)i;
	sink.used(sink.ctx, lens, n);
}

static void check_buf(size_t i, uint16_t desc)
{
	ck_assert_uint_eq(bufs[i].n, 1);
	ck_assert_uint_eq(bufs[i].len, LEN);
	ck_assert_uint_eq(queue_offset(&g, bufs[i].iov), place_of(desc));
}

/* The guest sees used entries from @at on, of these heads and lengths. */
static void check_used(uint16_t at, uint16_t head, uint32_t len)
{
	ck_assert_uint_eq(le32_get(g.ring.used->ring[at % NUM].id), head);
	ck_assert_uint_eq(le32_get(g.ring.used->ring[at % NUM].len), len);
}

START_TEST(in_order)
{
	give(5);
	ck_assert_uint_eq(borrow(3), 3);
	for (uint16_t i = 0; i < 3; i++)
		check_buf(i, i);
	use(2, 100);
	ck_assert_uint_eq(borrow(3), 3);	/* the third one, and two more */
	for (uint16_t i = 0; i < 3; i++)
		check_buf(i, (uint16_t)(i + 2));
	use(3, 200);
	ck_assert_uint_eq(borrow(1), 0);
	ck_assert(!w.is_broken);
	rx_window_close(&w);
	virtq_publish(&q);
	ck_assert_uint_eq(guest_ring_used_idx(&g.ring), 5);
	for (uint16_t i = 0; i < 5; i++)
		check_used(i, i, i < 2 ? 100u + i : 198u + i);
}
END_TEST

START_TEST(as_many_as_there_are)
{
	ck_assert_uint_eq(borrow(10), 0);
	give(4);
	ck_assert_uint_eq(borrow(10), 4);
	ck_assert_uint_eq(borrow(10), 4);	/* the same ones */
	check_buf(0, 0);
	ck_assert_uint_eq(borrow(2), 2);
	check_buf(1, 1);
	give(1);
	ck_assert_uint_eq(borrow(10), 5);
	check_buf(4, 4);
}
END_TEST

/* What was borrowed and not used is at the front of the ring for the next turn. */
START_TEST(given_back)
{
	give(10);
	ck_assert_uint_eq(borrow(8), 8);
	use(3, LEN);
	rx_window_close(&w);
	rx_window_close(&w);			/* the second time there is nothing */
	virtq_publish(&q);
	ck_assert_uint_eq(guest_ring_used_idx(&g.ring), 3);
	rx_window_open(&w, &q, scratch);
	ck_assert_uint_eq(borrow(100), 7);
	check_buf(0, 3);
	check_buf(6, 9);
}
END_TEST

/* More in one turn than are ever borrowed at once, so that the window moves along. */
START_TEST(moves_along)
{
	uint16_t next = 0;

	give(NUM);
	while (next < NUM) {
		size_t want = next + RX_BORROW_MAX <= NUM ? RX_BORROW_MAX : (size_t)(NUM - next);

		ck_assert_uint_eq(borrow(want), want);
		for (size_t i = 0; i < want; i++)
			check_buf(i, (uint16_t)(next + i));
		use(want / 3 + 1, 50);
		next = (uint16_t)(next + want / 3 + 1);
	}
	ck_assert_uint_eq(borrow(1), 0);
	virtq_publish(&q);
	ck_assert_uint_eq(guest_ring_used_idx(&g.ring), NUM);
}
END_TEST

START_TEST(of_several_descriptors)
{
	queue_set_desc(&g, 0, place_of(0), 10, NEXT, 1);	/* ours to read: left alone */
	queue_set_desc(&g, 1, place_of(1), 30, WRITE | NEXT, 2);
	queue_set_desc(&g, 2, place_of(2), 70, WRITE, 0);
	guest_ring_raw_post(&g.ring, 0);
	ck_assert_uint_eq(borrow(1), 1);
	ck_assert_uint_eq(bufs->n, 2);
	ck_assert_uint_eq(bufs->len, 100);
	ck_assert_uint_eq(queue_offset(&g, &bufs->iov[0]), place_of(1));
	ck_assert_uint_eq(queue_offset(&g, &bufs->iov[1]), place_of(2));
}
END_TEST

/* _i: which of three buffers has no room for a header. It comes back unused, and in its
 * turn; what lies behind it is borrowed. */
START_TEST(too_small)
{
	queue_set_desc(&g, (uint16_t)_i, place_of((uint16_t)_i), PKT_HDR_SIZE - 1, WRITE, 0);
	give(3);
	for (size_t got = 0; got < 2; got++) {
		ck_assert_uint_ge(borrow(3), 1);
		check_buf(0, (uint16_t)(got < (size_t)_i ? got : got + 1));
		use(1, 99);
	}
	ck_assert_uint_eq(borrow(1), 0);
	ck_assert(!w.is_broken);
	rx_window_close(&w);
	virtq_publish(&q);
	ck_assert_uint_eq(guest_ring_used_idx(&g.ring), 3);
	for (uint16_t i = 0; i < 3; i++)
		check_used(i, i, i == _i ? 0 : 99);
}
END_TEST

START_TEST(just_large_enough)
{
	queue_set_desc(&g, 0, place_of(0), PKT_HDR_SIZE, WRITE, 0);
	give(1);
	ck_assert_uint_eq(borrow(1), 1);
	ck_assert_uint_eq(bufs->len, PKT_HDR_SIZE);
}
END_TEST

/* All of them are too small: it ends, in this turn or a later one, with each given back. */
START_TEST(all_too_small)
{
	for (uint16_t i = 0; i < NUM; i++)
		queue_set_desc(&g, i, place_of(i), 1, WRITE, 0);
	give(NUM);
	for (int turn = 0; turn < NUM && guest_ring_used_idx(&g.ring) < NUM; turn++) {
		rx_window_open(&w, &q, scratch);
		ck_assert_uint_eq(borrow(RX_BORROW_MAX), 0);
		rx_window_close(&w);
		virtq_publish(&q);
	}
	ck_assert_uint_eq(guest_ring_used_idx(&g.ring), NUM);
	ck_assert(!w.is_broken);
}
END_TEST

/* The ring breaks behind two good buffers: these are still there. */
START_TEST(broken)
{
	queue_set_desc(&g, 2, QUEUE_SIZE, LEN, WRITE, 0);
	give(3);
	ck_assert_uint_eq(borrow(3), 2);
	ck_assert(w.is_broken);
	check_buf(1, 1);
	use(2, 77);
	ck_assert_uint_eq(borrow(1), 0);
	ck_assert(w.is_broken);
	rx_window_close(&w);
	virtq_publish(&q);
	ck_assert_uint_eq(guest_ring_used_idx(&g.ring), 2);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("rx_window");
	TCase *tc = tcase_create("rx_window");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, in_order);
	tcase_add_test(tc, as_many_as_there_are);
	tcase_add_test(tc, given_back);
	tcase_add_test(tc, moves_along);
	tcase_add_test(tc, of_several_descriptors);
	tcase_add_loop_test(tc, too_small, 0, 3);
	tcase_add_test(tc, just_large_enough);
	tcase_add_test(tc, all_too_small);
	tcase_add_test(tc, broken);
	suite_add_tcase(suite, tc);
	return unit_main(suite);
}
