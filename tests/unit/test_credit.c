/* SPDX-License-Identifier: BSD-3-Clause */
/* The credit of one connection: what each side may send, whatever the guest says. */
#include "vsock/credit.h"

#include "unit.h"

enum { ALLOC = 4096, COST = CREDIT_PACKET_COST, MIN = CREDIT_PACKETS_MIN };

struct room_case {
	const char *name;
	uint32_t sent, buf_alloc, fwd_cnt;	/* towards the guest, as it says */
	uint32_t room;
};

static const struct room_case room_cases[] = {
	{ "nothing sent", 0, 100, 0, 100 },
	{ "no buffer", 0, 0, 0, 0 },
	{ "some on the way", 60, 100, 0, 40 },
	{ "some consumed", 60, 100, 50, 90 },
	{ "all of it on the way", 100, 100, 0, 0 },
	{ "its buffer shrank", 100, 40, 0, 0 },
	{ "its buffer shrank by a byte", 101, 100, 0, 0 },
	{ "its buffer shrank to what is on the way", 100, 40, 60, 0 },
	{ "the largest buffer", 5, UINT32_MAX, 5, UINT32_MAX },
	{ "the counts wrap", 10, 100, UINT32_MAX - 9, 80 },
	{ "the counts wrap, full", 90, 100, UINT32_MAX - 9, 0 },
	{ "it has consumed more than was sent", 10, 100, 11, 0 },
	{ "it has consumed half of the world", 10, 100, 10 + (1u << 31), 0 },
	{ "... and has a buffer for all of it", 10, UINT32_MAX, 11, 0 },
};

START_TEST(room)
{
	const struct room_case *c = &room_cases[_i];
	struct credit credit = {
		.sent_to_guest = c->sent, .guest_buf_alloc = c->buf_alloc,
		.guest_fwd_cnt = c->fwd_cnt,
	};

	ck_assert_msg(credit_room(&credit) == c->room, "%s: %u", c->name, credit_room(&credit));
	ck_assert_uint_le(credit_room(&credit), c->buf_alloc);
}
END_TEST

/* _i: where the counts begin: some bytes before they wrap, or after. */
static const uint32_t starts[] = { 0, UINT32_MAX, UINT32_MAX - ALLOC / 2, 1u << 31 };

static struct credit begin(uint32_t at)
{
	return (struct credit){
		.buf_alloc = ALLOC, .received = at, .fwd_cnt = at, .reported_fwd_cnt = at,
	};
}

/* The guest may send what it was told, to the byte, and nothing moves when it sends more. */
START_TEST(receive)
{
	struct credit c = begin(starts[_i]);

	ck_assert(!credit_receive(&c, ALLOC + 1));
	ck_assert(!credit_receive(&c, UINT32_MAX));
	ck_assert(credit_receive(&c, ALLOC - 1));
	ck_assert(!credit_receive(&c, 2));
	ck_assert(credit_receive(&c, 1));
	ck_assert(credit_receive(&c, 0));
	ck_assert_uint_eq(c.received, starts[_i] + ALLOC);
	ck_assert(!credit_receive(&c, 1));
	c.fwd_cnt += 100;			/* passed on, but the guest does not know */
	ck_assert(!credit_receive(&c, 1));
	c.reported_fwd_cnt = c.fwd_cnt;
	ck_assert(!credit_receive(&c, 101));
	ck_assert(credit_receive(&c, 100));
	ck_assert_uint_eq(c.received, starts[_i] + ALLOC + 100);
}
END_TEST

/* It is told by a quarter of the buffer, long before it is used up. */
START_TEST(is_due)
{
	struct credit c = begin(starts[_i]);

	ck_assert(!credit_is_due(&c));
	c.fwd_cnt += ALLOC / 4 - 1;
	ck_assert(!credit_is_due(&c));
	c.fwd_cnt++;
	ck_assert(credit_is_due(&c));
	c.reported_fwd_cnt = c.fwd_cnt;
	ck_assert(!credit_is_due(&c));
	c.buf_alloc = 3;			/* of which no quarter is a byte */
	ck_assert(!credit_is_due(&c));
	c.fwd_cnt++;
	ck_assert(credit_is_due(&c));
}
END_TEST

/* Where a message has begun: as soon as half of the buffer is used, and there is anything to tell. */
START_TEST(is_due_to_finish)
{
	struct credit c = begin(starts[_i]);

	ck_assert(credit_receive(&c, ALLOC / 2 - 1));
	c.fwd_cnt++;
	ck_assert(!credit_is_due_to_finish(&c));
	ck_assert(credit_receive(&c, 1));
	ck_assert(credit_is_due_to_finish(&c));
	c.reported_fwd_cnt = c.fwd_cnt;
	ck_assert(!credit_is_due_to_finish(&c));
	ck_assert(credit_receive(&c, ALLOC / 2));
	ck_assert(!credit_is_due_to_finish(&c));	/* nothing to tell */
	c.fwd_cnt++;
	ck_assert(credit_is_due_to_finish(&c));
}
END_TEST

/* A guest that sends no more ahead than its own buffer holds waits for less. */
START_TEST(is_due_to_a_small_guest)
{
	struct credit c = begin(starts[_i]);

	c.guest_buf_alloc = ALLOC / 10;
	c.fwd_cnt += ALLOC / 40 - 1;
	ck_assert(!credit_is_due(&c));
	c.fwd_cnt++;
	ck_assert(credit_is_due(&c));
	c.guest_buf_alloc = 2 * ALLOC;
	ck_assert(!credit_is_due(&c));
	c.guest_buf_alloc = 0;			/* says nothing of what it sends */
	ck_assert(!credit_is_due(&c));
	c.received = c.fwd_cnt;
	ck_assert(!credit_is_due_to_finish(&c));
	c.guest_buf_alloc = ALLOC / 20;
	ck_assert(credit_is_due_to_finish(&c));
}
END_TEST

struct consumed_case {
	const char *name;
	uint32_t says;				/* fwd_cnt; 1000 were sent, 400 consumed */
	uint32_t consumed;			/* as we believe */
};

static const struct consumed_case consumed_cases[] = {
	{ "the same", 400, 400 },
	{ "one more", 401, 401 },
	{ "all", 1000, 1000 },
	{ "more than was sent", 1001, 400 },
	{ "less than before", 399, 400 },
	{ "nothing at all", 0, 400 },
	{ "far beyond", 400 + (1u << 31), 400 },
};

START_TEST(consumed)
{
	const struct consumed_case *c = &consumed_cases[_i];

	for (int i = 0; i < COUNT(starts); i++) {
		uint32_t at = starts[i];
		struct credit credit = {
			.guest_buf_alloc = ALLOC, .guest_fwd_cnt = at, .sent_to_guest = at,
			.consumed = at, .mark = at,
		};

		credit_sent(&credit, 1000, 1);
		ck_assert(credit_update(&credit, ALLOC, at + 400));
		ck_assert_uint_eq(credit_unconsumed(&credit), 600);
		ck_assert(credit_update(&credit, ALLOC, at + c->says) == (c->says != 400));
		ck_assert_msg(credit.consumed == at + c->consumed, "%s", c->name);
		ck_assert_uint_eq(credit_unconsumed(&credit), 1000 - c->consumed);
	}
}
END_TEST

START_TEST(update_tells_a_change)
{
	struct credit c = { 0 };

	ck_assert(!credit_update(&c, 0, 0));
	ck_assert(credit_update(&c, 100, 0));
	ck_assert(!credit_update(&c, 100, 0));
	ck_assert(credit_update(&c, 50, 0));
	credit_sent(&c, 10, 1);
	ck_assert(credit_update(&c, 50, 10));
	ck_assert(!credit_update(&c, 50, 10));
}
END_TEST

struct packets_case {
	uint32_t buf_alloc, packets;		/* with none on the way */
};

static const struct packets_case packets_cases[] = {
	{ 0, MIN }, { 1, MIN }, { MIN * COST, MIN }, { (MIN + 1) * COST - 1, MIN },
	{ (MIN + 1) * COST, MIN + 1 }, { 256 * 1024, 455 }, { UINT32_MAX, UINT32_MAX / COST },
};

START_TEST(packets)
{
	const struct packets_case *p = &packets_cases[_i];
	struct credit c = { .guest_buf_alloc = p->buf_alloc };

	ck_assert_uint_eq(credit_packets(&c), p->packets);
	credit_sent(&c, 1, 1);
	ck_assert_uint_eq(credit_packets(&c), p->packets - 1);
	credit_sent(&c, 10, p->packets - 1);
	ck_assert_uint_eq(credit_packets(&c), 0);
	credit_update(&c, 0, 0);		/* its buffer shrank: there are too many now */
	ck_assert_uint_eq(credit_packets(&c), 0);
}
END_TEST

/* Packets on the way to a guest that consumes byte by byte, as it has them. */
struct flight {
	uint32_t lens[4096];
	unsigned first, end;
	uint32_t fwd_cnt;
};

static void consume(struct flight *f, uint32_t n)
{
	f->fwd_cnt += n;
	while (n) {
		uint32_t here = n < f->lens[f->first] ? n : f->lens[f->first];

		f->lens[f->first] -= here;
		n -= here;
		f->first += !f->lens[f->first];
	}
}

static uint32_t next_random(uint32_t *state)
{
	*state = *state * 1664525 + 1013904223;
	return *state >> 8;
}

/* _i: a seed. However packets and news of them mix, no more are on the way than the guest
 * can keep books of; and once all are consumed, as many as ever may go. */
START_TEST(packets_on_the_way)
{
	static struct flight f;
	struct credit c = { .guest_buf_alloc = 40 * COST };
	uint32_t max = credit_packets(&c), state = (uint32_t)_i;

	f = (struct flight){ .first = 0 };
	for (int i = 0; i < 3000; i++) {
		uint32_t len = 1 + next_random(&state) % 100;

		if (credit_packets(&c) && credit_room(&c) >= len) {
			credit_sent(&c, len, 1);
			f.lens[f.end++] = len;
		}
		ck_assert_uint_le(f.end - f.first, max);
		ck_assert_uint_ge(max - credit_packets(&c), f.end - f.first);
		if (next_random(&state) % 8 == 0) {
			consume(&f, next_random(&state) % (credit_unconsumed(&c) + 1));
			credit_update(&c, c.guest_buf_alloc, f.fwd_cnt);
		}
	}
	ck_assert_uint_gt(f.end, max * 3);	/* it never got stuck */
	consume(&f, credit_unconsumed(&c));
	credit_update(&c, c.guest_buf_alloc, f.fwd_cnt);
	ck_assert_uint_eq(credit_packets(&c), max);
	ck_assert_uint_eq(credit_unconsumed(&c), 0);
}
END_TEST

/* A guest with a buffer of 4 GiB that consumes more than half of that at once, past the mark:
 * the packets up to it are not on the way any more. */
START_TEST(far_past_the_mark)
{
	struct credit c = { .guest_buf_alloc = UINT32_MAX };

	credit_sent(&c, 10, 10);
	credit_update(&c, UINT32_MAX, 1);
	credit_sent(&c, 10, 10);
	credit_update(&c, UINT32_MAX, 10);	/* the mark is at 20 */
	ck_assert_uint_eq(c.mark, 20);
	credit_sent(&c, UINT32_MAX - 20, 5);
	ck_assert(credit_is_sound(&c, 0));
	credit_update(&c, UINT32_MAX, UINT32_MAX - 100);
	ck_assert(credit_is_sound(&c, 0));
	ck_assert_uint_eq(c.mark, c.sent_to_guest);
	ck_assert_uint_eq(c.packets_before + c.packets_after, 5);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("credit");
	TCase *tc = tcase_create("credit");

	tcase_add_loop_test(tc, room, 0, COUNT(room_cases));
	tcase_add_loop_test(tc, receive, 0, COUNT(starts));
	tcase_add_loop_test(tc, is_due, 0, COUNT(starts));
	tcase_add_loop_test(tc, is_due_to_finish, 0, COUNT(starts));
	tcase_add_loop_test(tc, is_due_to_a_small_guest, 0, COUNT(starts));
	tcase_add_loop_test(tc, consumed, 0, COUNT(consumed_cases));
	tcase_add_test(tc, update_tells_a_change);
	tcase_add_loop_test(tc, packets, 0, COUNT(packets_cases));
	tcase_add_loop_test(tc, packets_on_the_way, 0, 20);
	tcase_add_test(tc, far_past_the_mark);
	suite_add_tcase(suite, tc);
	return unit_main(suite);
}
