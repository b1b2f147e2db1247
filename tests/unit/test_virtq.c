/* SPDX-License-Identifier: BSD-3-Clause */
/* Taking chains off a ring: layouts, lies, batches. Giving them back is in
 * test_virtq_used.c. */
#include <string.h>

#include "queue.h"
#include "unit.h"
#include "virtq_cases.h"

#define BIT(n) (UINT64_C(1) << (n))

enum {
	NEXT = VIRTQ_DESC_F_NEXT, WRITE = VIRTQ_DESC_F_WRITE, INDIRECT = VIRTQ_DESC_F_INDIRECT,
	B = QUEUE_BUFS, T = QUEUE_TABLES, NUM = 8, IOVS = 2 * VIRTQ_CHAIN_MAX,
};

static struct queue g;
static struct virtq q;
static struct iovec iov_memory[IOVS];
static struct virtq_iovs iovs;

static void start(uint16_t num, uint64_t split, uint64_t features)
{
	queue_init(&g, num, split);
	virtq_init(&q);
	q.config = queue_config(&g);
	ck_assert_int_eq(virtq_resolve(&q, g.gmem, features), 0);
	iovs = (struct virtq_iovs){ .iov = iov_memory, .max = IOVS };
}

struct desc {
	uint64_t at;
	uint32_t len;
	uint16_t flags, next;
};

struct chain_case {
	const char *name;
	struct desc ring[NUM], table[NUM];
	size_t n_out, n_in, out_len, in_len;	/* all 0 and `broken` false: empty chain */
	bool broken, no_indirect;
	uint64_t split;
};

static const struct chain_case chain_cases[] = {
	{ "one out", { { B, 44, 0, 0 } }, .n_out = 1, .out_len = 44 },
	{ "one in", { { B, 44, WRITE, 0 } }, .n_in = 1, .in_len = 44 },
	{ "header and data", { { B, 44, NEXT, 1 }, { B + 100, 4096, 0, 0 } },
	  .n_out = 2, .out_len = 4140 },
	{ "out and in", { { B, 44, NEXT, 3 }, [3] = { B + 100, 7, NEXT | WRITE, 1 },
	  [1] = { B + 200, 9, WRITE, 0 } }, .n_out = 1, .n_in = 2, .out_len = 44, .in_len = 16 },
	{ "whole ring", { { B, 1, NEXT, 1 }, { B, 1, NEXT, 2 }, { B, 1, NEXT, 3 },
	  { B, 1, NEXT, 4 }, { B, 1, NEXT, 5 }, { B, 1, NEXT, 6 }, { B, 1, NEXT, 7 },
	  { B, 1, 0, 0 } }, .n_out = 8, .out_len = 8 },
	{ "next without the flag", { { B, 44, 0, 5 } }, .n_out = 1, .out_len = 44 },
	{ "empty buffers", { { B, 0, NEXT, 1 }, { B, 44, NEXT, 2 }, { 0, 0, 0, 0 } },
	  .n_out = 1, .out_len = 44 },
	{ "nothing but an empty one", { { B, 0, 0, 0 } }, .n_out = 0 },
	{ "empty one outside memory", { { QUEUE_SIZE, 0, 0, 0 } }, .n_out = 0 },
	{ "last byte of memory", { { QUEUE_SIZE - 1, 1, 0, 0 } }, .n_out = 1, .out_len = 1 },
	{ "all memory", { { 0, QUEUE_SIZE, 0, 0 } }, .n_out = 1, .out_len = QUEUE_SIZE },
	{ "one byte behind it", { { QUEUE_SIZE - 1, 2, 0, 0 } }, .broken = true },
	{ "outside memory", { { QUEUE_SIZE, 1, 0, 0 } }, .broken = true },
	{ "wraps around", { { UINT64_MAX - QUEUE_GPA, 44, 0, 0 } }, .broken = true },
	{ "second outside", { { B, 44, NEXT, 1 }, { QUEUE_SIZE, 1, 0, 0 } }, .broken = true },
	{ "out behind in", { { B, 44, WRITE | NEXT, 1 }, { B, 44, 0, 0 } }, .broken = true },
	{ "4 GiB of the same memory", { { 0, UINT32_MAX, NEXT, 1 }, { 0, UINT32_MAX, 0, 0 } },
	  .broken = true },
	{ "loop of one", { { B, 1, NEXT, 0 } }, .broken = true },
	{ "loop of empty ones", { { B, 0, NEXT, 1 }, { B, 0, NEXT, 0 } }, .broken = true },
	{ "loop behind others", { { B, 1, NEXT, 1 }, { B, 1, NEXT, 2 }, { B, 1, NEXT, 1 } },
	  .broken = true },
	{ "next past the ring", { { B, 1, NEXT, NUM } }, .broken = true },
	{ "next far past the ring", { { B, 1, NEXT, UINT16_MAX } }, .broken = true },
	{ "crosses regions", { { B, 100, 0, 0 } }, .n_out = 2, .out_len = 100, .split = B + 4 },
	{ "up to the border", { { B, 4, NEXT, 1 }, { B + 4, 4, WRITE, 0 } },
	  .n_out = 1, .n_in = 1, .out_len = 4, .in_len = 4, .split = B + 4 },
	{ "indirect", { { T, 32, INDIRECT, 0 } }, { { B, 44, NEXT, 1 }, { B, 9, WRITE, 0 } },
	  .n_out = 1, .n_in = 1, .out_len = 44, .in_len = 9 },
	{ "indirect, not in order", { { T, 48, INDIRECT, 0 } },
	  { { B, 44, NEXT, 2 }, { B, 2, 0, 0 }, { B, 3, NEXT, 1 } }, .n_out = 3, .out_len = 49 },
	{ "indirect behind a buffer", { { B, 10, NEXT, 1 }, { T, 16, INDIRECT, 0 } },
	  { { B, 44, 0, 0 } }, .n_out = 2, .out_len = 54 },
	{ "indirect, WRITE means nothing", { { T, 16, INDIRECT | WRITE, 0 } },
	  { { B, 44, 0, 0 } }, .n_out = 1, .out_len = 44 },
	{ "indirect, odd address", { { T + 1, 16, INDIRECT, 0 } }, { { B, 44, 0, 0 } },
	  .n_out = 1, .out_len = 44 },
	{ "indirect, table crosses regions", { { T, 48, INDIRECT, 0 } },
	  { { B, 44, NEXT, 1 }, { B, 1, NEXT, 2 }, { B, 1, 0, 0 } },
	  .n_out = 3, .out_len = 46, .split = T + 16 },
	{ "indirect, descriptor crosses regions", { { T, 48, INDIRECT, 0 } },
	  { { B, 44, NEXT, 1 }, { B, 1, NEXT, 2 }, { B, 1, 0, 0 } },
	  .n_out = 3, .out_len = 46, .split = T + 21 },
	{ "indirect, not negotiated", { { T, 16, INDIRECT, 0 } }, { { B, 44, 0, 0 } },
	  .broken = true, .no_indirect = true },
	{ "indirect with NEXT", { { T, 16, INDIRECT | NEXT, 1 }, { B, 1, 0, 0 } },
	  { { B, 44, 0, 0 } }, .broken = true },
	{ "indirect in indirect", { { T, 16, INDIRECT, 0 } }, { { T, 16, INDIRECT, 0 } },
	  .broken = true },
	{ "indirect, no table", { { T, 0, INDIRECT, 0 } }, .broken = true },
	{ "indirect, odd length", { { T, 17, INDIRECT, 0 } }, { { B, 44, 0, 0 } },
	  .broken = true },
	{ "indirect, less than one", { { T, 15, INDIRECT, 0 } }, { { B, 44, 0, 0 } },
	  .broken = true },
	{ "indirect, next past its table", { { T, 16, INDIRECT, 0 } }, { { B, 44, NEXT, 1 } },
	  .broken = true },
	{ "indirect, loop", { { T, 32, INDIRECT, 0 } }, { { B, 1, NEXT, 1 }, { B, 1, NEXT, 0 } },
	  .broken = true },
	{ "indirect, too long", { { T, (VIRTQ_CHAIN_MAX + 1) * 16, INDIRECT, 0 } },
	  { { B, 44, 0, 0 } }, .broken = true },
	{ "indirect, half outside memory", { { QUEUE_SIZE - 16, 32, INDIRECT, 0 } },
	  { { B, 1, NEXT, 1 } }, .broken = true },
	{ "indirect, outside memory", { { QUEUE_SIZE, 32, INDIRECT, 0 } }, .broken = true },
	{ "indirect, wraps around", { { UINT64_MAX - QUEUE_GPA - 15, 32, INDIRECT, 0 } },
	  .broken = true },
	{ "indirect, buffer outside", { { T, 16, INDIRECT, 0 } }, { { QUEUE_SIZE, 1, 0, 0 } },
	  .broken = true },
};

static void write_case(const struct chain_case *c)
{
	for (uint16_t i = 0; i < NUM; i++) {
		const struct desc *d = &c->ring[i], *t = &c->table[i];

		queue_set_desc(&g, i, d->at, d->len, d->flags, d->next);
		if (t->at || t->len)
			queue_set_indirect(&g, c->ring[c->ring[0].flags & NEXT ? 1 : 0].at, i,
					   t->at, t->len, t->flags, t->next);
	}
}

static size_t total(const struct iovec *iov, size_t n)
{
	size_t len = 0;

	for (size_t i = 0; i < n; i++) {
		ck_assert_uint_gt(iov[i].iov_len, 0);
		queue_offset(&g, &iov[i]);
		len += iov[i].iov_len;
	}
	return len;
}

START_TEST(chains)
{
	const struct chain_case *c = &chain_cases[_i];
	struct virtq_chain chain = { .head = 4711 };
	int r;

	start(NUM, c->split, c->no_indirect ? 0 : BIT(VIRTIO_F_INDIRECT_DESC));
	write_case(c);
	guest_ring_raw_post(&g.ring, 0);
	r = virtq_pop(&q, &iovs, &chain);
	ck_assert_msg(r == (c->broken ? VIRTQ_E_BROKEN : 0), "%s: %d %s", c->name, r, q.broken);
	if (c->broken) {
		ck_assert_ptr_nonnull(q.broken);
		ck_assert_uint_eq(chain.head, 4711);
		ck_assert_uint_eq(iovs.n, 0);
		ck_assert_int_eq(virtq_pop(&q, &iovs, &chain), VIRTQ_E_BROKEN);
	} else {
		ck_assert_uint_eq(chain.head, 0);
		ck_assert_uint_eq(chain.n_out, c->n_out);
		ck_assert_uint_eq(chain.n_in, c->n_in);
		ck_assert_uint_eq(chain.out_len, c->out_len);
		ck_assert_uint_eq(chain.in_len, c->in_len);
		ck_assert_uint_eq(total(chain.iov, c->n_out), c->out_len);
		ck_assert_uint_eq(total(chain.iov + c->n_out, c->n_in), c->in_len);
		ck_assert_int_eq(virtq_pop(&q, &iovs, &chain), VIRTQ_E_EMPTY);
	}
	queue_deinit(&g);
}
END_TEST

/* The bytes are those of the buffers, in order. */
START_TEST(chain_content)
{
	struct virtq_chain chain;

	start(NUM, B + 3, 0);
	queue_write(&g, B, "header", 6);
	queue_write(&g, B + 100, "data", 4);
	queue_set_desc(&g, 0, B, 6, NEXT, 1);
	queue_set_desc(&g, 1, B + 100, 4, 0, 0);
	guest_ring_raw_post(&g.ring, 0);
	ck_assert_int_eq(virtq_pop(&q, &iovs, &chain), 0);
	ck_assert_uint_eq(chain.n_out, 3);
	ck_assert_mem_eq(chain.iov[0].iov_base, "hea", 3);
	ck_assert_mem_eq(chain.iov[1].iov_base, "der", 3);
	ck_assert_mem_eq(chain.iov[2].iov_base, "data", 4);
	queue_deinit(&g);
}
END_TEST

START_TEST(longest_indirect)
{
	struct virtq_chain chain;

	start(NUM, 0, BIT(VIRTIO_F_INDIRECT_DESC));
	for (uint16_t i = 0; i < VIRTQ_CHAIN_MAX; i++)
		queue_set_indirect(&g, T, i, B + i, 1,
				   i + 1 < VIRTQ_CHAIN_MAX ? NEXT : 0, (uint16_t)(i + 1));
	queue_set_desc(&g, 0, T, VIRTQ_CHAIN_MAX * 16, INDIRECT, 0);
	guest_ring_raw_post(&g.ring, 0);
	ck_assert_int_eq(virtq_pop(&q, &iovs, &chain), 0);
	ck_assert_uint_eq(chain.n_out, VIRTQ_CHAIN_MAX);
	queue_deinit(&g);
}
END_TEST

/* _i: a size as a power of two; a few rounds, so that the indices go round. */
START_TEST(sizes)
{
	uint16_t num = (uint16_t)(1 << _i);
	struct virtq_chain chain;

	start(num, 0, 0);
	for (unsigned i = 0; i < 3u * num + 1; i++) {
		uint16_t head = (uint16_t)(i * 7 % num);

		queue_set_desc(&g, head, B + i, 8, 0, 0);
		guest_ring_raw_post(&g.ring, head);
		iovs.n = 0;
		ck_assert_int_eq(virtq_pop(&q, &iovs, &chain), 0);
		ck_assert_uint_eq(chain.head, head);
		ck_assert_uint_eq(queue_offset(&g, chain.iov), B + i);
		virtq_push(&q, &chain, 0);
		virtq_publish(&q);
		ck_assert_uint_eq(guest_ring_used_idx(&g.ring), i + 1);
		ck_assert_uint_eq(le32_get(g.ring.used->ring[i % num].id), head);
	}
	queue_deinit(&g);
}
END_TEST

START_TEST(index_wraps)
{
	struct virtq_chain chain;

	start(NUM, 0, 0);
	guest_ring_raw_avail_idx(&g.ring, 65533);
	g.ring.used->idx = le16_of(65533);
	virtq_set_base(&q, 65533);
	ck_assert_int_eq(virtq_resolve(&q, g.gmem, 0), 0);
	for (uint16_t i = 0; i < NUM; i++) {
		queue_set_desc(&g, i, B, 8, 0, 0);
		guest_ring_raw_post(&g.ring, i);
	}
	for (uint16_t i = 0; i < NUM; i++) {
		ck_assert_int_eq(virtq_pop(&q, &iovs, &chain), 0);
		ck_assert_uint_eq(chain.head, i);
		virtq_push(&q, &chain, 0);
	}
	ck_assert_int_eq(virtq_pop(&q, &iovs, &chain), VIRTQ_E_EMPTY);
	ck_assert(virtq_publish(&q));
	ck_assert_uint_eq(guest_ring_used_idx(&g.ring), 5);
	ck_assert_uint_eq(q.last_avail, 5);
	queue_deinit(&g);
}
END_TEST

struct jump_case {
	uint16_t to;				/* from 0 */
	bool broken;
};

static const struct jump_case jump_cases[] = {
	{ 1, false }, { NUM, false }, { NUM + 1, true }, { 32768, true }, { 65535, true },
};

START_TEST(index_jumps)
{
	const struct jump_case *c = &jump_cases[_i];
	struct virtq_chain chain;

	start(NUM, 0, 0);
	guest_ring_raw_avail_idx(&g.ring, c->to);
	ck_assert_int_eq(virtq_pop(&q, &iovs, &chain), c->broken ? VIRTQ_E_BROKEN : 0);
	queue_deinit(&g);
}
END_TEST

START_TEST(head_past_the_ring)
{
	struct virtq_chain chain;

	start(NUM, 0, 0);
	queue_set_desc(&g, NUM, B, 8, 0, 0);
	guest_ring_raw_post(&g.ring, (uint16_t)_i);
	ck_assert_int_eq(virtq_pop(&q, &iovs, &chain), _i < NUM ? 0 : VIRTQ_E_BROKEN);
	queue_deinit(&g);
}
END_TEST

START_TEST(unpopped_are_popped_anew)
{
	struct virtq_chain chain;

	start(NUM, 0, 0);
	for (uint16_t i = 0; i < NUM; i++) {
		queue_set_desc(&g, i, B + 100u * i, 8, 0, 0);
		guest_ring_raw_post(&g.ring, i);
	}
	for (uint16_t i = 0; i < NUM; i++)
		ck_assert_int_eq(virtq_pop(&q, &iovs, &chain), 0);
	ck_assert_int_eq(virtq_pop(&q, &iovs, &chain), VIRTQ_E_EMPTY);
	virtq_unpop(&q, NUM - 2);
	ck_assert(virtq_enable_notify(&q));
	queue_set_desc(&g, 2, B + 5, 8, 0, 0);	/* the guest has changed it meanwhile */
	ck_assert_int_eq(virtq_pop(&q, &iovs, &chain), 0);
	ck_assert_uint_eq(chain.head, 2);
	ck_assert_uint_eq(queue_offset(&g, chain.iov), B + 5);
	virtq_unpop(&q, 0);
	ck_assert_int_eq(virtq_pop(&q, &iovs, &chain), 0);
	ck_assert_uint_eq(chain.head, 3);
	queue_deinit(&g);
}
END_TEST

/* _i: room for so many iovecs; chains of three. */
START_TEST(full_batch)
{
	size_t fit = (size_t)_i / 3;
	struct virtq_chain chain;

	start(NUM, 0, 0);
	iovs.max = (size_t)_i;
	queue_set_desc(&g, 0, B, 8, NEXT, 1);
	queue_set_desc(&g, 1, B, 8, NEXT, 2);
	queue_set_desc(&g, 2, B, 8, WRITE, 0);
	for (int i = 0; i < NUM; i++)
		guest_ring_raw_post(&g.ring, 0);
	for (size_t i = 0; i < fit; i++)
		ck_assert_int_eq(virtq_pop(&q, &iovs, &chain), 0);
	ck_assert_int_eq(virtq_pop(&q, &iovs, &chain), fit ? VIRTQ_E_FULL : VIRTQ_E_BROKEN);
	ck_assert_uint_eq(iovs.n, fit * 3);
	ck_assert_uint_eq(q.last_avail, fit);
	iovs.n = 0;
	if (fit)
		ck_assert_int_eq(virtq_pop(&q, &iovs, &chain), 0);
	queue_deinit(&g);
}
END_TEST

START_TEST(full_batch_of_plain_ones)
{
	struct virtq_chain chain;

	start(NUM, 0, 0);
	iovs.max = 2;
	queue_set_desc(&g, 0, B, 8, WRITE, 0);
	for (int i = 0; i < NUM; i++)
		guest_ring_raw_post(&g.ring, 0);
	for (int i = 0; i < 2; i++)
		ck_assert_int_eq(virtq_pop(&q, &iovs, &chain), 0);
	ck_assert_int_eq(virtq_pop(&q, &iovs, &chain), VIRTQ_E_FULL);
	ck_assert_uint_eq(iovs.n, 2);
	ck_assert_uint_eq(q.last_avail, 2);
	queue_deinit(&g);
}
END_TEST

/* A bad chain behind good ones may first look like a full batch; alone, it is
 * what it is. */
START_TEST(bad_chain_behind_good_ones)
{
	struct virtq_chain chain;
	int r;

	start(NUM, 0, 0);
	iovs.max = 4;
	queue_set_desc(&g, 0, B, 8, 0, 0);
	queue_set_desc(&g, 1, QUEUE_SIZE, 8, 0, 0);
	guest_ring_raw_post(&g.ring, 0);
	guest_ring_raw_post(&g.ring, 1);
	ck_assert_int_eq(virtq_pop(&q, &iovs, &chain), 0);
	r = virtq_pop(&q, &iovs, &chain);
	if (r == VIRTQ_E_FULL) {
		iovs.n = 0;
		r = virtq_pop(&q, &iovs, &chain);
	}
	ck_assert_int_eq(r, VIRTQ_E_BROKEN);
	virtq_push(&q, &chain, 0);		/* the good one is still given back */
	virtq_publish(&q);
	ck_assert_uint_eq(guest_ring_used_idx(&g.ring), 1);
	queue_deinit(&g);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("virtq");
	TCase *tc = tcase_create("pop");

	tcase_add_loop_test(tc, chains, 0, COUNT(chain_cases));
	tcase_add_test(tc, chain_content);
	tcase_add_test(tc, longest_indirect);
	tcase_add_loop_test(tc, sizes, 0, 11);
	tcase_add_test(tc, index_wraps);
	tcase_add_loop_test(tc, index_jumps, 0, COUNT(jump_cases));
	tcase_add_loop_test(tc, head_past_the_ring, NUM - 1, NUM + 2);
	tcase_add_test(tc, unpopped_are_popped_anew);
	tcase_add_loop_test(tc, full_batch, 1, 13);
	tcase_add_test(tc, full_batch_of_plain_ones);
	tcase_add_test(tc, bad_chain_behind_good_ones);
	suite_add_tcase(suite, tc);
	add_used_cases(suite);
	return unit_main(suite);
}
