/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A guest that changes its memory between our check and our use: another process
 * flips a field for as long as we read it. Whatever is accepted must be
 * one of the two values and have passed its check; a field that is read twice is
 * sooner or later seen as one first and as the other then.
 */
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "guest.h"
#include "unit.h"
#include "vsock/pkt.h"

enum { CHANGES = 100000, SECONDS = 5, LOOK_EVERY = 1024, GOOD = 64 };

#define NOWHERE 0xffffu				/* no descriptor has this index */

struct flip {
	volatile uint32_t *field;		/* in shared memory */
	uint32_t good, bad;
	int rounds, changes;			/* of what the reader saw */
	time_t until;				/* monotonic seconds */
	bool was_good;
	pid_t guest;
};

static _Noreturn void flip_run(const struct flip *f)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (;;) {
		*f->field = f->bad;
		*f->field = f->good;
	}
}

static time_t now_s(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec;
}

static void flip_begin(struct flip *f)
{
	f->until = now_s() + SECONDS;
	*f->field = f->good;
	f->guest = fork();
	ck_assert_int_ge(f->guest, 0);
	if (f->guest == 0)
		flip_run(f);
}

/* After each reading: go on, until it was seen to change often enough? On a single
 * CPU that is once in a time slice. */
static bool flip_goes_on(struct flip *f, bool is_good)
{
	f->changes += is_good != f->was_good;
	f->was_good = is_good;
	if (++f->rounds % LOOK_EVERY == 0 && now_s() >= f->until)
		return false;
	return f->changes < CHANGES;
}

static void flip_end(struct flip *f)
{
	kill(f->guest, SIGKILL);
	ck_assert_int_eq(waitpid(f->guest, NULL, 0), f->guest);
}

/* The length that a header says. */
START_TEST(header)
{
	size_t size = sizeof(struct wire_vsock_hdr) + GOOD;
	uint8_t *chain = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct flip f = {
		.field = (void *)(chain + offsetof(struct wire_vsock_hdr, len)),
		.good = GOOD, .bad = UINT32_MAX,
	};
	struct iovec iov = { chain, size };
	bool is_good;

	ck_assert_ptr_ne(chain, MAP_FAILED);
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
}
END_TEST

struct field_case {
	const char *name;
	size_t at;				/* in the descriptor: 32 bits */
	uint32_t good, bad;
};

/* Flags, in one word with next, which is far past the ring: the end, or going on there. */
static const struct field_case field_cases[] = {
	{ "address", offsetof(struct wire_virtq_desc, addr), GUEST_BUFS, UINT32_MAX },
	{ "length", offsetof(struct wire_virtq_desc, len), GOOD, UINT32_MAX },
	{ "flags", offsetof(struct wire_virtq_desc, flags),
	  NOWHERE << 16, VIRTQ_DESC_F_NEXT | NOWHERE << 16 },
};

/* Pops the one chain, of descriptor 0, as often as @f wants. */
static void pop_while_flipped(struct flip *f, struct guest *g)
{
	static struct iovec iov[8];
	struct virtq_iovs iovs = { .iov = iov, .max = 8 };
	struct virtq_chain chain;
	struct virtq q;
	bool is_good;

	guest_make_available(g, 0);
	virtq_init(&q);
	q.config = guest_config(g);
	flip_begin(f);
	do {
		if (!q.mem || q.broken)		/* it is refused now and then */
			ck_assert_int_eq(virtq_resolve(&q, g->gmem, 0), 0);
		iovs.n = 0;
		is_good = virtq_pop(&q, &iovs, &chain) == 0;
		if (!is_good)
			continue;
		ck_assert_uint_eq(chain.head, 0);
		ck_assert_uint_eq(chain.n_out, 1);
		ck_assert_uint_eq(chain.out_len, GOOD);
		ck_assert_uint_eq(chain.iov->iov_len, GOOD);
		ck_assert_uint_eq(guest_offset(g, chain.iov), GUEST_BUFS);
		virtq_unpop(&q, 1);
	} while (flip_goes_on(f, is_good));
	flip_end(f);
}

/* A field of the one descriptor of a chain. */
START_TEST(descriptor)
{
	const struct field_case *c = &field_cases[_i];
	struct flip f = { .good = c->good, .bad = c->bad };
	struct guest g;

	guest_init(&g, 8, 0);
	guest_set_desc(&g, 0, GUEST_BUFS, GOOD, 0, NOWHERE);
	f.field = (void *)((uint8_t *)g.desc + c->at);
	pop_while_flipped(&f, &g);
	guest_deinit(&g);
}
END_TEST

/* The head that the available ring names. */
START_TEST(head)
{
	struct flip f = { .good = 0, .bad = 0xfffe };
	struct guest g;

	guest_init(&g, 8, 0);
	guest_set_desc(&g, 0, GUEST_BUFS, GOOD, 0, 0);
	f.field = (void *)g.avail->ring;
	pop_while_flipped(&f, &g);
	guest_deinit(&g);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("flip");
	TCase *tc = tcase_create("flip");

	tcase_set_timeout(tc, 30);
	tcase_add_test(tc, header);
	tcase_add_loop_test(tc, descriptor, 0, COUNT(field_cases));
	tcase_add_test(tc, head);
	suite_add_tcase(suite, tc);
	return unit_main(suite);
}
