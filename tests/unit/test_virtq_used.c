/* SPDX-License-Identifier: BSD-3-Clause */
/* Giving chains back, who is notified when, and what makes a ring. */
#include <string.h>

#include "queue.h"
#include "unit.h"
#include "util/blob.h"
#include "virtq_cases.h"

#define BIT(n) (UINT64_C(1) << (n))

enum { B = QUEUE_BUFS, NUM = 8 };

static struct queue g;
static struct virtq q;
static struct iovec iov_memory[64];

static void start(uint64_t features)
{
	queue_init(&g, NUM, 0);
	virtq_init(&q);
	q.config = queue_config(&g);
	ck_assert_int_eq(virtq_resolve(&q, g.gmem, features), 0);
	for (uint16_t i = 0; i < NUM; i++)
		queue_set_desc(&g, i, B, 8, VIRTQ_DESC_F_WRITE, 0);
}

/* Takes @n chains and gives them back, unpublished. */
static void work(unsigned n)
{
	struct virtq_iovs iovs = { .iov = iov_memory, .max = COUNT(iov_memory) };
	struct virtq_chain chain;

	for (unsigned i = 0; i < n; i++) {
		guest_ring_raw_post(&g.ring, (uint16_t)(g.ring.avail_idx % NUM));
		ck_assert_int_eq(virtq_pop(&q, &iovs, &chain), 0);
		virtq_push(&q, &chain, i);
	}
}

START_TEST(seen_at_publish)
{
	start(0);
	ck_assert(!virtq_publish(&q));
	work(3);
	ck_assert_uint_eq(guest_ring_used_idx(&g.ring), 0);
	ck_assert(virtq_publish(&q));
	ck_assert_uint_eq(guest_ring_used_idx(&g.ring), 3);
	for (uint32_t i = 0; i < 3; i++) {	/* in the order of the available ring */
		ck_assert_uint_eq(le32_get(g.ring.used->ring[i].id), i);
		ck_assert_uint_eq(le32_get(g.ring.used->ring[i].len), i);
	}
	ck_assert(!virtq_publish(&q));
	queue_deinit(&g);
}
END_TEST

/* Until something is made available, and not again when the index has come round. */
START_TEST(untouched)
{
	start(0);
	ck_assert(virtq_is_untouched(&q));
	work(1);
	ck_assert(!virtq_is_untouched(&q));
	for (unsigned n = 1; n < 1 << 16; n++) {
		virtq_publish(&q);
		work(1);
	}
	ck_assert_uint_eq(q.last_avail, 0);
	ck_assert(!virtq_is_untouched(&q));
	virtq_set_base(&q, 1);
	ck_assert(!virtq_is_untouched(&q));
	queue_deinit(&g);
}
END_TEST

/* What the guest writes to the used ring does not matter to us. */
START_TEST(used_index_is_ours)
{
	start(0);
	work(2);
	g.ring.used->idx = le16_of(4711);
	virtq_publish(&q);
	ck_assert_uint_eq(guest_ring_used_idx(&g.ring), 2);
	g.ring.used->idx = le16_of(4711);
	work(1);
	virtq_publish(&q);
	ck_assert_uint_eq(guest_ring_used_idx(&g.ring), 3);
	ck_assert_int_eq(virtq_resolve(&q, g.gmem, 0), 0);
	work(1);
	virtq_publish(&q);
	ck_assert_uint_eq(guest_ring_used_idx(&g.ring), 4);
	queue_deinit(&g);
}
END_TEST

struct call_case {
	const char *name;
	uint64_t features;
	uint16_t flags, used_event;
	uint16_t before, n, more;		/* published, now pushed, still available */
	bool call;
};

#define EVENT	BIT(VIRTIO_F_EVENT_IDX)
#define EMPTY	BIT(VIRTIO_F_NOTIFY_ON_EMPTY)

static const struct call_case call_cases[] = {
	{ "plain", 0, 0, 0, 2, 1, 0, true },
	{ "no interrupt", 0, 1, 0, 2, 1, 0, false },
	{ "other flag bits", 0, 2, 0, 2, 1, 0, true },
	{ "used_event means nothing", 0, 0, 99, 2, 1, 0, true },
	{ "nothing pushed", 0, 0, 0, 2, 0, 0, false },
	{ "nothing pushed, on empty", EMPTY, 0, 0, 2, 0, 0, false },
	{ "on empty, no interrupt", EMPTY, 1, 0, 2, 1, 0, true },
	{ "on empty, more there", EMPTY, 1, 0, 2, 1, 1, false },
	{ "on empty, event far off", EMPTY | EVENT, 0, 99, 2, 1, 0, true },
	{ "on empty, more there, event far off", EMPTY | EVENT, 0, 99, 2, 1, 1, false },
	{ "event reached", EVENT, 0, 2, 2, 1, 0, true },
	{ "event passed by this batch", EVENT, 0, 3, 2, 3, 0, true },
	{ "event at its end", EVENT, 0, 4, 2, 3, 0, true },
	{ "event beyond it", EVENT, 0, 5, 2, 3, 0, false },
	{ "event passed before", EVENT, 0, 1, 2, 3, 0, false },
	{ "event far ahead", EVENT, 0, 40000, 2, 3, 0, false },
	{ "event, flags mean nothing", EVENT, 1, 2, 2, 1, 0, true },
	{ "first ever is always told", EVENT, 0, 40000, 0, 1, 0, true },
};

START_TEST(calls)
{
	const struct call_case *c = &call_cases[_i];

	start(c->features);
	work(c->before);
	virtq_publish(&q);
	g.ring.avail->flags = le16_of(c->flags);
	guest_ring_set_used_event(&g.ring, c->used_event);
	work(c->n);
	for (int i = 0; i < c->more; i++)
		guest_ring_raw_post(&g.ring, 0);
	ck_assert_msg(virtq_publish(&q) == c->call, "%s", c->name);
	queue_deinit(&g);
}
END_TEST

/* The event index counts modulo 2^16. */
START_TEST(event_wraps)
{
	start(EVENT);
	g.ring.used->idx = le16_of(65534);
	guest_ring_raw_avail_idx(&g.ring, 65534);
	virtq_set_base(&q, 65534);
	ck_assert_int_eq(virtq_resolve(&q, g.gmem, EVENT), 0);
	work(1);
	ck_assert(virtq_publish(&q));
	guest_ring_set_used_event(&g.ring, 0);
	work(1);
	ck_assert(!virtq_publish(&q));
	work(1);
	ck_assert(virtq_publish(&q));
	queue_deinit(&g);
}
END_TEST

/* _i: with EVENT_IDX. */
START_TEST(kicks)
{
	start(_i ? EVENT : 0);
	virtq_disable_notify(&q);
	ck_assert_uint_eq(le16_get(g.ring.used->flags), _i ? 0 : VIRTQ_USED_F_NO_NOTIFY);
	work(2);
	ck_assert(!virtq_enable_notify(&q));
	ck_assert_uint_eq(le16_get(g.ring.used->flags), 0);
	ck_assert_uint_eq(guest_ring_avail_event(&g.ring), _i ? 2 : 0);
	guest_ring_raw_post(&g.ring, 0);
	ck_assert(virtq_enable_notify(&q));
	queue_deinit(&g);
}
END_TEST

enum part { DESC, AVAIL, USED };

struct resolve_case {
	const char *name;
	enum part part;
	uint64_t at;				/* offset of that part */
	uint32_t num;
	bool good;
};

/* Parts must lie in one region over their full size: 16n, 6+2n, 6+8n. */
static const struct resolve_case resolve_cases[] = {
	{ "size 1", DESC, 0, 1, true },
	{ "size 1024", DESC, 0, 1024, true },
	{ "largest size", DESC, 0, 32768, true },
	{ "size 0", DESC, 0, 0, false },
	{ "no power of two", DESC, 0, 6, false },
	{ "too large", DESC, 0, 65536, false },
	{ "descriptors end with memory", DESC, QUEUE_SIZE - 128, 8, true },
	{ "descriptors end behind it", DESC, QUEUE_SIZE - 112, 8, false },
	{ "descriptors outside", DESC, QUEUE_SIZE, 8, false },
	{ "descriptors wrap", DESC, UINT64_MAX - QUEUE_UADDR - 63, 8, false },
	{ "descriptors across regions", DESC, 0x80000 - 64, 8, false },
	{ "descriptors up to a border", DESC, 0x80000 - 128, 8, true },
	{ "descriptors not aligned", DESC, 4, 8, false },
	{ "available ends with memory", AVAIL, QUEUE_SIZE - 22, 8, true },
	{ "its event word behind it", AVAIL, QUEUE_SIZE - 20, 8, false },
	{ "available not aligned", AVAIL, 0x1001, 8, false },
	{ "used ends with memory", USED, QUEUE_SIZE - 72, 8, true },
	{ "its event word behind it", USED, QUEUE_SIZE - 68, 8, false },
	{ "used not aligned", USED, 0x1002, 8, false },
};

START_TEST(resolves)
{
	const struct resolve_case *c = &resolve_cases[_i];

	queue_init(&g, NUM, 0x80000);
	virtq_init(&q);
	q.config = (struct virtq_config){
		.num = c->num, .desc_uaddr = QUEUE_UADDR, .avail_uaddr = QUEUE_UADDR + 0x1000,
		.used_uaddr = QUEUE_UADDR + 0x2000,
	};
	if (c->num > 8)				/* else they do not fit one behind the other */
		q.config.avail_uaddr = q.config.used_uaddr = QUEUE_UADDR + 0x80000;
	*(c->part == DESC ? &q.config.desc_uaddr : c->part == AVAIL ? &q.config.avail_uaddr :
	  &q.config.used_uaddr) = QUEUE_UADDR + c->at;
	if (c->num == 32768)
		q.config.desc_uaddr = QUEUE_UADDR;
	ck_assert_msg(virtq_resolve(&q, g.gmem, 0) == (c->good ? 0 : VIRTQ_E_BROKEN),
		      "%s", c->name);
	ck_assert_int_eq(q.broken != NULL, !c->good);
	queue_deinit(&g);
}
END_TEST

START_TEST(another_chance)
{
	struct virtq_iovs iovs = { .iov = iov_memory, .max = COUNT(iov_memory) };
	struct virtq_chain chain;

	start(0);
	ck_assert_int_eq(virtq_resolve(&q, NULL, 0), VIRTQ_E_BROKEN);
	ck_assert_int_eq(virtq_pop(&q, &iovs, &chain), VIRTQ_E_BROKEN);
	ck_assert_int_eq(virtq_resolve(&q, g.gmem, 0), 0);
	ck_assert_int_eq(virtq_pop(&q, &iovs, &chain), VIRTQ_E_EMPTY);
	queue_deinit(&g);
}
END_TEST

/* What another process that loads what is saved now has. */
static struct virtq reload(void)
{
	struct virtq other;
	struct blob_reader in;
	struct blob saved;

	blob_init(&saved, 4096, 0);
	virtq_save(&q, &saved);
	ck_assert_int_eq(blob_error(&saved), 0);
	for (size_t n = 0; n < saved.len; n++) {	/* cut anywhere: none */
		blob_read(&in, saved.bytes, n, NULL);
		ck_assert_int_eq(virtq_load(&other, &in), VIRTQ_E_STATE);
	}
	blob_read(&in, saved.bytes, saved.len, NULL);
	ck_assert_int_eq(virtq_load(&other, &in), 0);
	ck_assert(blob_is_whole(&in));
	blob_deinit(&saved);
	return other;
}

/* Saved before the last entries were used, or even resolved: where it stands is where the
 * used index stands, at the distance that it had from the start. */
START_TEST(goes_on_elsewhere)
{
	struct virtq other;

	start(0);
	g.ring.used->idx = le16_of(65534);
	guest_ring_raw_avail_idx(&g.ring, 1000);
	virtq_set_base(&q, 1000);
	ck_assert_uint_eq(reload().last_avail, 1000);
	ck_assert(!reload().has_distance);
	ck_assert_int_eq(virtq_resolve(&q, g.gmem, 0), 0);
	other = reload();
	work(5);
	virtq_publish(&q);
	work(2);				/* not published: not seen, so not done */
	q = other;
	q = reload();				/* and once more, before it is resolved */
	ck_assert_int_eq(virtq_resolve(&q, g.gmem, 0), 0);
	ck_assert_uint_eq(q.last_avail, 1005);
	ck_assert_uint_eq(q.used_idx, 3);
	g.ring.avail_idx = 1005;
	work(1);
	virtq_publish(&q);
	ck_assert_uint_eq(guest_ring_used_idx(&g.ring), 4);
	ck_assert_uint_eq(reload().distance, (uint16_t)(1006 - 4));
	virtq_set_base(&q, 77);			/* a new start is a new distance */
	ck_assert(!reload().has_distance);
	ck_assert_uint_eq(reload().last_avail, 77);
	queue_deinit(&g);
}
END_TEST

void add_used_cases(Suite *suite)
{
	TCase *tc = tcase_create("used");

	tcase_add_test(tc, seen_at_publish);
	tcase_add_test(tc, untouched);
	tcase_add_test(tc, used_index_is_ours);
	tcase_add_loop_test(tc, calls, 0, COUNT(call_cases));
	tcase_add_test(tc, event_wraps);
	tcase_add_loop_test(tc, kicks, 0, 2);
	tcase_add_loop_test(tc, resolves, 0, COUNT(resolve_cases));
	tcase_add_test(tc, another_chance);
	tcase_add_test(tc, goes_on_elsewhere);
	suite_add_tcase(suite, tc);
}
