/* SPDX-License-Identifier: BSD-3-Clause */
/* One connection as bytes, and back: what must not come back does not. Those that may are
 * in test_conn, where each row is run a second time with the connection moved after each
 * word. */
#include <stdlib.h>
#include <string.h>

#include "unit.h"
#include "util/blob.h"
#include "util/error.h"
#include "vsock/conn_internal.h"

enum { BUF_ALLOC = 4096 };

struct save_case {
	const char *name;
	struct conn conn;			/* to_host.len: so many bytes */
	bool is_good;
};

#define CREDIT .credit = { .buf_alloc = BUF_ALLOC }
#define BUFFERED .credit = { .buf_alloc = BUF_ALLOC, .received = 10, .fwd_cnt = 7 }, \
		 .to_host.len = 3
#define GOOD true

/* In pairs where it can be: what is just possible, and what is not any more. */
static const struct save_case cases[] = {
	{ "state beyond", { .state = CONN_NUM_STATES, CREDIT }, false },
	{ "dead", { .state = CONN_DEAD, CREDIT, .end = CONN_END_HOST }, false },

	{ "connecting", { .state = CONN_CONNECTING, CREDIT }, GOOD },
	{ "connecting, by the peer", { .state = CONN_CONNECTING, CREDIT, .from_peer = 1 }, false },
	{ "connecting, to be asked", { .state = CONN_CONNECTING, CREDIT, .request_pending = 1 },
	  false },
	{ "connecting, answered", { .state = CONN_CONNECTING, CREDIT, .response_pending = 1 },
	  false },
	{ "connecting, with data", { .state = CONN_CONNECTING, BUFFERED }, false },
	{ "connecting, shut down", { .state = CONN_CONNECTING, CREDIT, .guest_shutdown = 1 }, false },
	{ "connecting, orphaned", { .state = CONN_CONNECTING, CREDIT, .orphaned = 1 }, false },

	{ "requested", { .state = CONN_REQUESTED, CREDIT, .from_peer = 1 }, GOOD },
	{ "to be requested", { .state = CONN_REQUESTED, CREDIT, .from_peer = 1,
			       .request_pending = 1 }, GOOD },
	{ "requested, by the guest", { .state = CONN_REQUESTED, CREDIT }, false },
	{ "requested, read to the end", { .state = CONN_REQUESTED, CREDIT, .from_peer = 1,
					  .host_write_closed = 1 }, false },
	{ "requested, data was sent", { .state = CONN_REQUESTED, .from_peer = 1, .credit = {
		.buf_alloc = BUF_ALLOC, .sent_to_guest = 1, .consumed = 1, .mark = 1 } }, false },

	{ "open", { .state = CONN_OPEN, CREDIT }, GOOD },
	{ "open, with data", { .state = CONN_OPEN, BUFFERED }, GOOD },
	{ "open, to be answered", { .state = CONN_OPEN, CREDIT, .response_pending = 1 }, GOOD },
	{ "open, by the peer, to be answered", { .state = CONN_OPEN, CREDIT, .from_peer = 1,
						 .response_pending = 1 }, false },
	{ "open, to be requested", { .state = CONN_OPEN, CREDIT, .from_peer = 1,
				     .request_pending = 1 }, false },
	{ "open, orphaned", { .state = CONN_OPEN, BUFFERED, .orphaned = 1 }, false },
	{ "open, guest sends no more", { .state = CONN_OPEN, CREDIT, .guest_shutdown = 2 }, GOOD },
	{ "open, guest is done", { .state = CONN_OPEN, CREDIT, .guest_shutdown = 3 }, false },
	{ "open, guest shut down more than there is", { .state = CONN_OPEN, CREDIT,
							.guest_shutdown = 4 }, false },
	{ "open, host reads no more", { .state = CONN_OPEN, CREDIT, .host_read_closed = 1 }, GOOD },
	{ "open, data for a host that does not read", { .state = CONN_OPEN, BUFFERED,
							.host_read_closed = 1 }, false },
	{ "open, host is done", { .state = CONN_OPEN, CREDIT, .host_read_closed = 1,
				  .host_write_closed = 1 }, false },
	{ "open, host was told the end", { .state = CONN_OPEN, CREDIT, .guest_shutdown = 2,
					   .host_shut = 1 }, GOOD },
	{ "open, data after the end", { .state = CONN_OPEN, BUFFERED, .guest_shutdown = 2,
					.host_shut = 1 }, false },
	{ "open, both ends told", { .state = CONN_OPEN, CREDIT, .guest_shutdown = 2,
				    .host_shut = 1, .host_write_closed = 1 }, false },
	{ "SHUTDOWN to be sent", { .state = CONN_OPEN, CREDIT, .shutdown_pending = 2 }, GOOD },
	{ "SHUTDOWN sent", { .state = CONN_OPEN, CREDIT, .shutdown_pending = 2,
			     .shutdown_sent = 2 }, GOOD },
	{ "SHUTDOWN sent that was not to be", { .state = CONN_OPEN, CREDIT, .shutdown_pending = 2,
						.shutdown_sent = 3 }, false },
	{ "SHUTDOWN of more than there is", { .state = CONN_OPEN, CREDIT, .shutdown_pending = 4 },
	  false },

	{ "lingering", { .state = CONN_LINGERING, BUFFERED }, GOOD },
	{ "lingering, orphaned", { .state = CONN_LINGERING, BUFFERED, .orphaned = 1 }, GOOD },
	{ "lingering, for nothing", { .state = CONN_LINGERING, CREDIT }, false },
	{ "lingering, host does not read", { .state = CONN_LINGERING, BUFFERED,
					     .host_read_closed = 1 }, false },
	{ "lingering, after the end", { .state = CONN_LINGERING, BUFFERED, .host_shut = 1 }, false },

	{ "closing", { .state = CONN_CLOSING, CREDIT, .shutdown_pending = 3 }, GOOD },
	{ "closing, by half", { .state = CONN_CLOSING, CREDIT, .shutdown_pending = 2 }, false },
	{ "closing, with data", { .state = CONN_CLOSING, BUFFERED, .shutdown_pending = 3 }, false },
	{ "closing, orphaned", { .state = CONN_CLOSING, CREDIT, .shutdown_pending = 3,
				 .orphaned = 1 }, false },

	{ "reset", { .state = CONN_RESET, CREDIT, .end = CONN_END_HOST }, GOOD },
	{ "reset, for no reason", { .state = CONN_RESET, CREDIT }, false },
	{ "reset, for a reason beyond", { .state = CONN_RESET, CREDIT, .end = CONN_NUM_ENDS },
	  false },
	{ "reset, with data", { .state = CONN_RESET, BUFFERED, .end = CONN_END_HOST }, false },
	{ "reset, orphaned", { .state = CONN_RESET, CREDIT, .end = CONN_END_HOST, .orphaned = 1 },
	  false },

	{ "asked", { .state = CONN_OPEN, CREDIT, .asks = CONN_ASKS }, GOOD },
	{ "asked more than is ever", { .state = CONN_OPEN, CREDIT, .asks = CONN_ASKS + 1 }, false },
	{ "buffer as large as there is", { .state = CONN_OPEN, .credit.buf_alloc = 1u << 31 }, GOOD },
	{ "buffer larger than that", { .state = CONN_OPEN, .credit.buf_alloc = (1u << 31) + 1 },
	  false },

	{ "all of its credit used", { .state = CONN_OPEN, .to_host.len = BUF_ALLOC, .credit = {
		.buf_alloc = BUF_ALLOC, .received = 5 + BUF_ALLOC, .fwd_cnt = 5,
		.reported_fwd_cnt = 5 } }, GOOD },
	{ "more than its credit used", { .state = CONN_OPEN, .to_host.len = BUF_ALLOC, .credit = {
		.buf_alloc = BUF_ALLOC, .received = 6 + BUF_ALLOC, .fwd_cnt = 5,
		.reported_fwd_cnt = 5 } }, false },
	{ "counts that have wrapped", { .state = CONN_OPEN, .to_host.len = 5, .credit = {
		.buf_alloc = BUF_ALLOC, .received = 3, .fwd_cnt = UINT32_MAX - 1,
		.reported_fwd_cnt = UINT32_MAX - 9 } }, GOOD },
	{ "more waits than has come", { .state = CONN_OPEN, .to_host.len = 6, .credit = {
		.buf_alloc = BUF_ALLOC, .received = 3, .fwd_cnt = UINT32_MAX - 1,
		.reported_fwd_cnt = UINT32_MAX - 9 } }, false },
	{ "more passed on than has come", { .state = CONN_OPEN, .credit = {
		.buf_alloc = BUF_ALLOC, .received = 3, .fwd_cnt = 4 } }, false },
	{ "more told than passed on", { .state = CONN_OPEN, .credit = {
		.buf_alloc = BUF_ALLOC, .received = 3, .reported_fwd_cnt = 1 } }, false },
	{ "more consumed than marked", { .state = CONN_OPEN, .credit = {
		.buf_alloc = BUF_ALLOC, .sent_to_guest = 9, .consumed = 5, .mark = 4 } }, false },
	{ "marked what was not sent", { .state = CONN_OPEN, .credit = {
		.buf_alloc = BUF_ALLOC, .sent_to_guest = 9, .consumed = 5, .mark = 10 } }, false },
	{ "marked what was", { .state = CONN_OPEN, .credit = {
		.buf_alloc = BUF_ALLOC, .sent_to_guest = 9, .consumed = 5, .mark = 9,
		.packets_before = UINT32_MAX } }, GOOD },
	{ "consumed what the guest said last", { .state = CONN_OPEN, .credit = {
		.buf_alloc = BUF_ALLOC, .sent_to_guest = 9, .consumed = 5, .mark = 9,
		.guest_fwd_cnt = 5 } }, GOOD },
	{ "consumed less than the guest could say", { .state = CONN_OPEN, .credit = {
		.buf_alloc = BUF_ALLOC, .sent_to_guest = 9, .consumed = 5, .mark = 9,
		.guest_fwd_cnt = 9 } }, false },
	{ "consumed, as the guest said more", { .state = CONN_OPEN, .credit = {
		.buf_alloc = BUF_ALLOC, .sent_to_guest = 9, .consumed = 5, .mark = 9,
		.guest_fwd_cnt = 10 } }, GOOD },
	{ "consumed before it was sent", { .state = CONN_OPEN, .credit = {
		.buf_alloc = BUF_ALLOC, .sent_to_guest = 0, .consumed = 195 } }, false },
	{ "more packets than there can be", { .state = CONN_OPEN, .credit = {
		.buf_alloc = BUF_ALLOC, .sent_to_guest = 9, .consumed = 5, .mark = 9,
		.packets_before = UINT32_MAX, .packets_after = 1 } }, false },
	{ "packets that wrap", { .state = CONN_OPEN, .credit = {
		.buf_alloc = BUF_ALLOC, .sent_to_guest = 9, .consumed = 5, .mark = 9,
		.packets_before = UINT32_MAX, .packets_after = 2 } }, false },
};

static struct byte_budget *budget;
static struct blob blob;

static void setup(void)
{
	budget = byte_budget_new(1 << 20);
	ck_assert_ptr_nonnull(budget);
	blob_init(&blob, 1 << 20, 0);
}

static void teardown(void)
{
	ck_assert_uint_eq(budget->used, 0);
	byte_budget_unref(budget);
	blob_deinit(&blob);
}

/* Its to_host.len is what it is to have. */
static void save(const struct conn *template)
{
	static uint8_t bytes[2 * BUF_ALLOC];
	struct conn c = *template;

	for (size_t i = 0; i < sizeof bytes; i++)
		bytes[i] = (uint8_t)(i * 31);
	c.to_host.data = bytes;
	c.to_host.room = sizeof bytes;
	c.to_host.head = sizeof bytes - c.to_host.len / 2;	/* in two pieces */
	conn_save(&c, &blob);
	ck_assert_int_eq(blob_error(&blob), 0);
}

static int load(struct conn **out, size_t n)
{
	struct blob_reader in;
	int r;

	blob_read(&in, blob.bytes, n, NULL);
	r = conn_load(out, &in, 3, budget);
	ck_assert(r || blob_is_whole(&in));
	return r;
}

START_TEST(states)
{
	const struct save_case *t = &cases[_i];
	struct blob again;
	struct conn *c;
	int r;

	save(&t->conn);
	r = load(&c, blob.len);
	ck_assert_msg(r == (t->is_good ? 0 : CONN_E_BAD_STATE), "%s: %d", t->name, r);
	if (r)
		return;
	ck_assert_int_eq(memcmp(&c->credit, &t->conn.credit, sizeof c->credit), 0);
	ck_assert_uint_eq(c->guest.cid, 3);
	ck_assert_uint_eq(c->to_host.len, t->conn.to_host.len);
	ck_assert_uint_eq(c->to_host.size, c->credit.buf_alloc);
	ck_assert_uint_eq(budget->used, t->conn.to_host.len);	/* not a byte more */
	ck_assert_int_eq(conn_needs_stream(c), t->conn.state <= CONN_LINGERING);
	blob_init(&again, 1 << 20, 0);
	conn_save(c, &again);			/* and so all that is saved has come */
	ck_assert_uint_eq(again.len, blob.len);
	ck_assert_mem_eq(again.bytes, blob.bytes, blob.len);
	blob_deinit(&again);
	conn_free(c);
}
END_TEST

/* Each flag by itself, where any may be. */
START_TEST(flags)
{
	struct conn template = { .state = CONN_OPEN, CREDIT }, *c;

	template.credit_asked = _i == 0;
	template.news_asked = _i == 1;
	template.news_came = _i == 2;
	template.credit_update_pending = _i == 3;
	template.host_failed = _i == 4;
	template.host_lost_data = _i == 5;
	template.host_write_closed = _i == 6;
	template.from_peer = _i == 7;
	template.response_pending = _i == 8;
	save(&template);
	ck_assert_int_eq(load(&c, blob.len), 0);
	ck_assert_int_eq(c->credit_asked, _i == 0);
	ck_assert_int_eq(c->news_asked, _i == 1);
	ck_assert_int_eq(c->news_came, _i == 2);
	ck_assert_int_eq(c->credit_update_pending, _i == 3);
	ck_assert_int_eq(c->host_failed, _i == 4);
	ck_assert_int_eq(c->host_lost_data, _i == 5);
	ck_assert_int_eq(c->host_write_closed, _i == 6);
	ck_assert_int_eq(c->from_peer, _i == 7);
	ck_assert_int_eq(c->response_pending, _i == 8);
	conn_free(c);
}
END_TEST

START_TEST(unknown_flag)
{
	const struct conn template = { .state = CONN_OPEN, CREDIT };
	const size_t flags_at = BLOB_SECTION_BYTES + 4 + 8 + 4 + 6;
	struct conn *c;

	save(&template);
	ck_assert_uint_eq(blob.bytes[flags_at + 1], 0);
	blob.bytes[flags_at + 1] = 1 << 5;	/* the first of those that there are not yet */
	ck_assert_int_eq(load(&c, blob.len), CONN_E_BAD_STATE);
}
END_TEST

START_TEST(cut_at_every_byte)
{
	const struct conn template = { .state = CONN_OPEN, BUFFERED };
	struct conn *c;

	save(&template);
	for (size_t n = 0; n < blob.len; n++)
		ck_assert_int_eq(load(&c, n), CONN_E_BAD_STATE);
}
END_TEST

/* What was there before stays, but it counts. */
START_TEST(over_budget)
{
	const struct conn template = { .state = CONN_OPEN, BUFFERED };
	struct conn *c;

	save(&template);
	ck_assert(byte_budget_take(budget, 1 << 20));
	ck_assert_int_eq(load(&c, blob.len), 0);
	ck_assert_uint_eq(budget->used, (1 << 20) + 3);
	ck_assert(!byte_budget_take(budget, 1));
	ck_assert_int_eq(byte_ring_append(&c->to_host, &(struct iovec){ "x", 1 }, 1, 0), -ENOBUFS);
	conn_free(c);
	byte_budget_give(budget, 1 << 20);
}
END_TEST

/* ---- of type SEQPACKET ---- */

enum { EOM = VSOCK_SEQ_EOM, EOR = VSOCK_SEQ_EOR, ENDS = 4 };

struct message_case {
	const char *name;
	struct conn conn;			/* as above */
	struct conn_message ends[ENDS];
	size_t n_ends;
	uint32_t begun, n_rest, rest_flags, rest_sent;
	bool is_good;
};

/* 10 bytes wait for the host. */
#define WAIT .credit = { .buf_alloc = BUF_ALLOC, .received = 17, .fwd_cnt = 7 }, .to_host.len = 10

static const struct message_case message_cases[] = {
	{ "connecting", { .state = CONN_CONNECTING, CREDIT }, .is_good = true },
	{ "connecting, an empty message", { .state = CONN_CONNECTING, CREDIT }, {{ 0, 0 }}, .n_ends = 1 },
	{ "connecting, a rest", { .state = CONN_CONNECTING, CREDIT }, .n_rest = 1,
	  .rest_flags = EOM },
	{ "requested", { .state = CONN_REQUESTED, CREDIT, .from_peer = 1 }, .is_good = true },
	{ "requested, an empty message", { .state = CONN_REQUESTED, CREDIT, .from_peer = 1 },
	  {{ 0, 0 }}, .n_ends = 1 },
	{ "open", { .state = CONN_OPEN, CREDIT }, .is_good = true },
	{ "open, messages wait", { .state = CONN_OPEN, WAIT }, {{ 3, 0 }, { 0, EOR }, { 7, EOR }}, .n_ends = 3,
	  .is_good = true },
	{ "and one has begun", { .state = CONN_OPEN, WAIT }, {{ 3, 0 }}, .n_ends = 1, .begun = 7,
	  .is_good = true },
	{ "one has begun", { .state = CONN_OPEN, WAIT }, .begun = 10, .is_good = true },
	{ "empty ones wait", { .state = CONN_OPEN, CREDIT }, {{ 0, 0 }, { 0, 0 }}, .n_ends = 2,
	  .is_good = true },
	{ "a byte is nobody's", { .state = CONN_OPEN, WAIT }, {{ 3, 0 }, { 6, 0 }}, .n_ends = 2 },
	{ "there is a byte too few", { .state = CONN_OPEN, WAIT }, {{ 3, 0 }, { 8, 0 }}, .n_ends = 2 },
	{ "so that more than all has begun", { .state = CONN_OPEN, WAIT }, {{ 3, 0 }}, .n_ends = 1, .begun = 8 },
	{ "they add up modulo 2^32", { .state = CONN_OPEN, WAIT }, {{ UINT32_MAX, 0 }, { 11, 0 }}, .n_ends = 2 },
	{ "with what has begun", { .state = CONN_OPEN, WAIT }, {{ 11, 0 }}, .n_ends = 1, .begun = UINT32_MAX },
	{ "of no length at all", { .state = CONN_OPEN, WAIT }, .is_good = false },
	{ "a flag that there is not", { .state = CONN_OPEN, WAIT }, {{ 10, 4 }}, .n_ends = 1 },
	{ "EOM of what is an end", { .state = CONN_OPEN, WAIT }, {{ 10, EOM }}, .n_ends = 1 },
	{ "a flag of an empty one", { .state = CONN_OPEN, WAIT }, {{ 10, 0 }, { 0, 1u << 31 }}, .n_ends = 2 },
	{ "a rest", { .state = CONN_OPEN, CREDIT }, .n_rest = 5, .rest_flags = EOM | EOR,
	  .rest_sent = 20, .is_good = true },
	{ "a rest without an end", { .state = CONN_OPEN, CREDIT }, .n_rest = 5, .rest_flags = EOR },
	{ "a rest with flags beyond", { .state = CONN_OPEN, CREDIT }, .n_rest = 5,
	  .rest_flags = EOM | 4 },
	{ "flags of no rest", { .state = CONN_OPEN, CREDIT }, .rest_flags = EOM, .is_good = true },
	{ "a rest behind the host's end", { .state = CONN_OPEN, CREDIT, .host_write_closed = 1 },
	  .n_rest = 5, .rest_flags = EOM },
	{ "messages after the end", { .state = CONN_OPEN, CREDIT, .guest_shutdown = 2, .host_shut = 1 },
	  {{ 0, 0 }}, .n_ends = 1 },
	{ "the end, messages wait", { .state = CONN_OPEN, WAIT, .guest_shutdown = 2 }, {{ 10, 0 }}, .n_ends = 1,
	  .is_good = true },
	{ "the end, one has begun", { .state = CONN_OPEN, WAIT, .guest_shutdown = 2 }, {{ 3, 0 }}, .n_ends = 1,
	  .begun = 7 },
	{ "host reads no more", { .state = CONN_OPEN, CREDIT, .host_read_closed = 1 },
	  .is_good = true },
	{ "host reads no more, an empty one waits", { .state = CONN_OPEN, CREDIT,
						      .host_read_closed = 1 }, {{ 0, 0 }}, .n_ends = 1 },
	{ "lingering", { .state = CONN_LINGERING, WAIT, .guest_shutdown = 3 }, {{ 10, 0 }}, .n_ends = 1,
	  .is_good = true },
	{ "lingering, with a rest", { .state = CONN_LINGERING, WAIT, .guest_shutdown = 3 },
	  {{ 10, 0 }}, .n_ends = 1, .n_rest = 5, .rest_flags = EOM, .is_good = true },
	{ "lingering for an empty one", { .state = CONN_LINGERING, CREDIT, .guest_shutdown = 3 },
	  {{ 0, 0 }}, .n_ends = 1, .is_good = true },
	{ "lingering for nothing", { .state = CONN_LINGERING, CREDIT, .guest_shutdown = 3 }, .is_good = false },
	{ "lingering for what will never be whole", { .state = CONN_LINGERING, WAIT,
						      .guest_shutdown = 3 }, .begun = 10 },
	{ "lingering, one has begun", { .state = CONN_LINGERING, WAIT, .guest_shutdown = 3 },
	  {{ 3, 0 }}, .n_ends = 1, .begun = 7 },
	{ "closing", { .state = CONN_CLOSING, CREDIT, .shutdown_pending = 3 }, .is_good = true },
	{ "closing, an empty one waits", { .state = CONN_CLOSING, CREDIT, .shutdown_pending = 3 },
	  {{ 0, 0 }}, .n_ends = 1 },
	{ "closing, a rest", { .state = CONN_CLOSING, CREDIT, .shutdown_pending = 3 }, .n_rest = 1,
	  .rest_flags = EOM },
	{ "reset", { .state = CONN_RESET, CREDIT, .end = CONN_END_TOO_LONG_FOR_GUEST },
	  .is_good = true },
	{ "reset, an empty one waits", { .state = CONN_RESET, CREDIT, .end = CONN_END_TOO_LONG },
	  {{ 0, 0 }}, .n_ends = 1 },
	{ "reset, a rest", { .state = CONN_RESET, CREDIT, .end = CONN_END_TOO_LONG }, .n_rest = 1,
	  .rest_flags = EOM },
	{ "reset, for a reason beyond", { .state = CONN_RESET, CREDIT, .end = CONN_NUM_ENDS }, .is_good = false },
};

static void fill_ring(struct byte_ring *ring, uint8_t *bytes, size_t room, size_t len, size_t head)
{
	ring->data = bytes;
	ring->room = (uint32_t)room;
	ring->len = (uint32_t)len;
	ring->head = (uint32_t)head;
}

/* What waits goes round in its memory. */
static void save_messages(const struct message_case *t)
{
	static uint8_t ends[8 * sizeof *t->ends], rest[64];
	struct conn_messages m = {
		.begun = t->begun, .to_guest_flags = t->rest_flags, .to_guest_sent = t->rest_sent,
	};
	struct conn c = t->conn;

	for (size_t i = 0; i < t->n_ends; i++)
		memcpy(ends + (7 + i) % 8 * sizeof *t->ends, &t->ends[i], sizeof *t->ends);
	fill_ring(&m.ends, ends, sizeof ends, t->n_ends * sizeof *t->ends, 7 * sizeof *t->ends);
	for (uint8_t i = 0; i < t->n_rest; i++)
		rest[(62 + i) % sizeof rest] = i;
	fill_ring(&m.to_guest, rest, sizeof rest, t->n_rest, 62);
	c.messages = &m;
	save(&c);
}

static void check_loaded(const struct conn *c, const struct message_case *t)
{
	const struct conn_messages *m = c->messages;
	struct blob again;

	ck_assert_int_eq(conn_type(c), VSOCK_TYPE_SEQPACKET);
	ck_assert_uint_eq(m->ends.len, t->n_ends * sizeof *t->ends);
	ck_assert_uint_eq(m->begun, t->begun);
	ck_assert_uint_eq(m->to_guest.len, t->n_rest);
	ck_assert_uint_eq(budget->used, c->to_host.len + m->ends.len + m->to_guest.len);
	blob_init(&again, 1 << 20, 0);
	conn_save(c, &again);
	ck_assert_uint_eq(again.len, blob.len);
	ck_assert_mem_eq(again.bytes, blob.bytes, blob.len);
	blob_deinit(&again);
}

START_TEST(messages)
{
	const struct message_case *t = &message_cases[_i];
	struct conn *c;
	int r;

	save_messages(t);
	r = load(&c, blob.len);
	ck_assert_msg(r == (t->is_good ? 0 : CONN_E_BAD_STATE), "%s: %d", t->name, r);
	if (r)
		return;
	check_loaded(c, t);
	conn_free(c);
}
END_TEST

static const struct message_case many = {
	"all there is", { .state = CONN_OPEN, WAIT }, {{ 3, 0 }, { 0, EOR }, { 2, EOR }}, .n_ends = 3,
	.begun = 5, .n_rest = 9, .rest_flags = EOM | EOR, .rest_sent = 20, .is_good = true,
};

START_TEST(messages_cut_at_every_byte)
{
	struct conn *c;

	save_messages(&many);
	for (size_t n = 0; n < blob.len; n++)
		ck_assert_int_eq(load(&c, n), CONN_E_BAD_STATE);
	ck_assert_int_eq(load(&c, blob.len), 0);
	conn_free(c);
}
END_TEST

/* What is believed is sound: it can be saved again, and is the same. */
START_TEST(messages_with_every_byte_changed)
{
	static const uint8_t changes[] = { 1, 0x80, 0xff };

	save_messages(&many);
	for (size_t i = 0; i < blob.len; i++) {
		for (size_t k = 0; k < COUNT(changes); k++) {
			struct blob again;
			struct conn *c;
			int r;

			blob.bytes[i] ^= changes[k];
			r = load(&c, blob.len);
			ck_assert(r == 0 || r == CONN_E_BAD_STATE);
			if (r == 0) {
				blob_init(&again, 1 << 20, 0);
				conn_save(c, &again);
				ck_assert_uint_eq(again.len, blob.len);
				ck_assert_mem_eq(again.bytes, blob.bytes, blob.len);
				blob_deinit(&again);
				conn_free(c);
			}
			blob.bytes[i] ^= changes[k];
			ck_assert_uint_eq(budget->used, 0);
		}
	}
}
END_TEST

/* As many as the window and CONN_EMPTY_MESSAGES_MAX allow, and one more; and a part of one. */
START_TEST(as_many_messages_as_there_can_be)
{
	static uint8_t ends[(BUF_ALLOC + CONN_EMPTY_MESSAGES_MAX + 1) * sizeof(struct conn_message)];
	const size_t less[] = { sizeof(struct conn_message), 0, 2 * sizeof(struct conn_message) - 1 };
	struct conn c = { .state = CONN_OPEN, CREDIT }, *loaded;
	struct conn_messages m = { .begun = 0 };

	c.messages = &m;
	fill_ring(&m.ends, ends, sizeof ends, sizeof ends - less[_i], 0);
	save(&c);
	ck_assert_int_eq(load(&loaded, blob.len), _i == 0 ? 0 : CONN_E_BAD_STATE);
	if (_i == 0)
		conn_free(loaded);
}
END_TEST

/* Of a stream's state only the version is another: it has no messages behind it. */
START_TEST(version_without_messages)
{
	const struct conn template = { .state = CONN_OPEN, BUFFERED };
	struct message_case none = { .conn = { .state = CONN_OPEN, CREDIT } };
	struct conn *c;

	save(&template);
	ck_assert_int_eq(blob.bytes[4], 1);
	blob.bytes[4] = 2;
	ck_assert_int_eq(load(&c, blob.len), CONN_E_BAD_STATE);
	blob.bytes[4] = 3;
	ck_assert_int_eq(load(&c, blob.len), CONN_E_BAD_STATE);
	blob_deinit(&blob);
	blob_init(&blob, 1 << 20, 0);
	save_messages(&none);
	ck_assert_int_eq(blob.bytes[4], 2);
	blob.bytes[4] = 1;
	ck_assert_int_eq(load(&c, blob.len), CONN_E_BAD_STATE);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("conn_save");
	TCase *tc = tcase_create("conn_save");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_loop_test(tc, states, 0, COUNT(cases));
	tcase_add_loop_test(tc, flags, 0, 9);
	tcase_add_test(tc, unknown_flag);
	tcase_add_test(tc, cut_at_every_byte);
	tcase_add_test(tc, over_budget);
	tcase_add_loop_test(tc, messages, 0, COUNT(message_cases));
	tcase_add_test(tc, messages_cut_at_every_byte);
	tcase_add_test(tc, messages_with_every_byte_changed);
	tcase_add_loop_test(tc, as_many_messages_as_there_can_be, 0, 3);
	tcase_add_test(tc, version_without_messages);
	suite_add_tcase(suite, tc);
	return unit_main(suite);
}
