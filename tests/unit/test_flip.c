/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A guest that changes its memory between our check and our use: what packets and
 * chains are made of is read once.
 */
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "flip.h"
#include "queue.h"
#include "unit.h"
#include "vsock/pkt.h"

enum { GOOD = 64 };

#define NOWHERE 0xffffu				/* no descriptor has this index */

static enum flip_way way;			/* of the running case */

static void setup_stepped(void)
{
	way = FLIP_STEPPED;
}

static void setup_racing(void)
{
	way = FLIP_RACING;
}

static uint8_t *map(int fd, size_t size)
{
	void *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	ck_assert_ptr_ne(at, MAP_FAILED);
	return at;
}

/* The length that a header says. */
START_TEST(header)
{
	size_t size = sizeof(struct wire_vsock_hdr) + GOOD;
	int fd = memfd_create("guest", MFD_CLOEXEC);
	uint8_t *guests, *chain;
	struct flip f = { .way = way, .good = GOOD, .bad = UINT32_MAX };
	struct iovec iov;
	bool is_good;

	ck_assert_int_eq(ftruncate(fd, (off_t)size), 0);
	guests = map(fd, size);
	chain = map(fd, size);
	f.field = (void *)(guests + offsetof(struct wire_vsock_hdr, len));
	f.read_at = chain;
	iov = (struct iovec){ chain, size };
	flip_begin(&f);
	do {
		struct iov_cur cur;
		struct pkt pkt;

		iov_cur_init(&cur, &iov, 1);
		is_good = pkt_parse(&pkt, &cur) == 0;
		if (is_good)
			ck_assert_uint_eq(pkt.len, GOOD);
	} while (flip_goes_on(&f, is_good));
	flip_end(&f);
	munmap(chain, size);
	munmap(guests, size);
	close(fd);
}
END_TEST

struct field_case {
	const char *name;
	size_t at;				/* in the descriptor: 32 bits */
	uint32_t good, bad;
	bool has_tail;				/* an empty buffer: the chain is followed */
};

/* Flags, in one word with next, which is far past the ring: the end, or going on there. */
static const struct field_case field_cases[] = {
	{ "address", offsetof(struct wire_virtq_desc, addr), QUEUE_BUFS, UINT32_MAX, false },
	{ "length", offsetof(struct wire_virtq_desc, len), GOOD, UINT32_MAX, false },
	{ "flags", offsetof(struct wire_virtq_desc, flags),
	  NOWHERE << 16, VIRTQ_DESC_F_NEXT | NOWHERE << 16, false },
	{ "address, chain", offsetof(struct wire_virtq_desc, addr), QUEUE_BUFS, UINT32_MAX, true },
	{ "length, chain", offsetof(struct wire_virtq_desc, len), GOOD, UINT32_MAX, true },
	{ "flags, chain", offsetof(struct wire_virtq_desc, flags),
	  VIRTQ_DESC_F_NEXT | 1 << 16, VIRTQ_DESC_F_NEXT | NOWHERE << 16, true },
};

/* Pops the one chain, of descriptor 0, as often as @f wants. */
static void pop_while_flipped(struct flip *f, struct queue *g)
{
	static struct iovec iov[8];
	struct virtq_iovs iovs = { .iov = iov, .max = 8 };
	struct virtq_chain chain;
	struct virtq q;
	bool is_good;

	guest_ring_raw_post(&g->ring, 0);
	virtq_init(&q);
	q.config = queue_config(g);
	f->read_at = gmem_ptr_gpa(g->gmem, QUEUE_GPA, 1);
	flip_begin(f);
	do {
		if (!q.mem || q.broken)		/* it is refused now and then */
			ck_assert_int_eq(virtq_resolve(&q, g->gmem, 0), 0);
		iovs.n = 0;
		q.avail_idx = q.last_avail;	/* asked for anew, too */
		is_good = virtq_pop(&q, &iovs, &chain) == 0;
		if (!is_good)
			continue;
		ck_assert_uint_eq(q.avail_idx, 1);
		ck_assert_uint_eq(chain.head, 0);
		ck_assert_uint_eq(chain.n_out, 1);
		ck_assert_uint_eq(chain.out_len, GOOD);
		ck_assert_uint_eq(chain.iov->iov_len, GOOD);
		ck_assert_uint_eq(queue_offset(g, chain.iov), QUEUE_BUFS);
		virtq_unpop(&q, 1);
	} while (flip_goes_on(f, is_good));
	flip_end(f);
}

/* A field of the first descriptor of a chain. */
START_TEST(descriptor)
{
	const struct field_case *c = &field_cases[_i];
	struct flip f = { .way = way, .good = c->good, .bad = c->bad };
	struct queue g;

	queue_init(&g, 8, 0);
	queue_set_desc(&g, 0, QUEUE_BUFS, GOOD, c->has_tail ? VIRTQ_DESC_F_NEXT : 0,
		       c->has_tail ? 1 : NOWHERE);
	queue_set_desc(&g, 1, QUEUE_BUFS, 0, 0, 0);
	f.field = (void *)((uint8_t *)g.ring.desc + c->at);
	pop_while_flipped(&f, &g);
	queue_deinit(&g);
}
END_TEST

/* The head that the available ring names. */
START_TEST(head)
{
	struct flip f = { .way = way, .good = 0, .bad = 0xfffe };
	struct queue g;

	queue_init(&g, 8, 0);
	queue_set_desc(&g, 0, QUEUE_BUFS, GOOD, 0, 0);
	f.field = (void *)g.ring.avail->ring;
	pop_while_flipped(&f, &g);
	queue_deinit(&g);
}
END_TEST

/* How many entries it says there are. */
START_TEST(available_index)
{
	struct flip f = { .way = way, .good = 1 << 16, .bad = 5000u << 16 };
	struct queue g;

	queue_init(&g, 8, 0);
	queue_set_desc(&g, 0, QUEUE_BUFS, GOOD, 0, 0);
	f.field = (void *)g.ring.avail;		/* flags, index */
	pop_while_flipped(&f, &g);
	queue_deinit(&g);
}
END_TEST

static TCase *flip_case(Suite *suite, const char *name, void (*setup)(void))
{
	TCase *tc = tcase_create(name);

	tcase_set_timeout(tc, 30);
	tcase_add_checked_fixture(tc, setup, NULL);
	tcase_add_test(tc, header);
	tcase_add_loop_test(tc, descriptor, 0, COUNT(field_cases));
	tcase_add_test(tc, head);
	suite_add_tcase(suite, tc);
	return tc;
}

int main(void)
{
	Suite *suite = suite_create("flip");

	if (flip_can_step())
		tcase_add_test(flip_case(suite, "stepped", setup_stepped), available_index);
	flip_case(suite, "racing", setup_racing);
	return unit_main(suite);
}
