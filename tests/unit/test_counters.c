/* SPDX-License-Identifier: BSD-3-Clause */
/* What is counted of a guest's connections, and how they look to others: scripts, and all
 * that is not zero after them. And the table itself. */
#include "vsock/counters.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "unit.h"
#include "util/blob.h"
#include "vsock/mux_internal.h"
#include "vsock/conn_snapshot.h"
#include "vsock_script.h"

static struct script s;
static char text[4096];

static void setup(void)
{
	script_init(&s, 4096);
}

static void teardown(void)
{
	script_deinit(&s);
}

static void add(const char *name, const char *first, const char *second, uint64_t value)
{
	size_t len = strlen(text);

	snprintf(text + len, sizeof text - len, "%s%s%s%s%s%s=%llu", len ? " " : "", name,
		 *first ? ":" : "", first, *second ? ":" : "", second, (unsigned long long)value);
}

/* All numbers that are not zero and may be shown, but for gauges that never are. */
static const char *describe(const struct vsock_counters *c)
{
	text[0] = '\0';
	for (size_t i = 0; i < counters_num_families; i++) {
		const struct counters_family *f = &counters_families[i];
		unsigned n = counters_label_size(f->labels[1]);

		for (unsigned k = 0; k < counters_family_size(f); k++) {
			const char *first = "", *second = "";

			if (f->kind == COUNTERS_HISTOGRAM || !counters_values(c, f)[k])
				continue;
			if (f->labels[0])
				first = counters_label_value(f->labels[0], k / n);
			if (f->labels[1])
				second = counters_label_value(f->labels[1], k % n);
			if (first && second)
				add(f->name, first, second, counters_values(c, f)[k]);
		}
	}
	return text;
}

/* ---- what is counted ---- */

static const struct {
	const char *name, *words, *counted;
} scripts[] = {
	{ "a connection of the guest", "req",
	  "connections_opened:guest:stream=1 connections:guest:open=1" },
	{ "of the host", "connect",
	  "stalls:guest_answer=1 connections:host:requested=1" },
	{ "that the guest takes", "connect +5 resp",
	  "connections_opened:host:stream=1 stalls:guest_answer=1 stalled:guest_answer=5 "
	  "connections:host:open=1" },
	{ "that it refuses", "connect +7 rst",
	  "connections_ended:guest_reset=1 connects_refused:to_guest:nobody=1 "
	  "stalls:guest_answer=1 stalled:guest_answer=7" },
	{ "that it does not answer", "connect +2000",
	  "connections_ended:request_timeout=1 connects_refused:to_guest:timeout=1 "
	  "stalls:guest_answer=1 stalled:guest_answer=2000" },
	{ "no guest for the host", "stopped connect",
	  "connects_refused:to_guest:no_guest=1" },
	{ "another type", "seq req",
	  "connections_opened:guest:seqpacket=1 connections:guest:open=1" },
	{ "nobody's CID", "dst:77 req",
	  "connects_refused:to_host:no_route=1" },
	{ "an error of the system", "refuse:13 req",
	  "connects_refused:to_host:system=1" },
	{ "bytes to the host", "req rw:abc rw:de",
	  "payload:to_host=5 connections_opened:guest:stream=1 connections:guest:open=1" },
	{ "and to the guest", "req give:hello",
	  "payload:to_guest=5 connections_opened:guest:stream=1 connections:guest:open=1" },
	{ "the host does not read", "req full rw:abc +30",
	  "payload:to_host=3 connections_opened:guest:stream=1 stalls:host_read=1 "
	  "connections:guest:open=1" },
	{ "and then does", "req full rw:abc +30 takes:9",
	  "payload:to_host=3 connections_opened:guest:stream=1 stalls:host_read=1 "
	  "stalled:host_read=30 connections:guest:open=1" },
	{ "the guest has no room", "credit:3,0 req give:hello +40",
	  "payload:to_guest=3 connections_opened:guest:stream=1 stalls:guest_credit=1 "
	  "connections:guest:open=1" },
	{ "and then has", "credit:3,0 req give:hello +40 credit:3,3 update",
	  "payload:to_guest=5 connections_opened:guest:stream=1 stalls:guest_credit=1 "
	  "stalled:guest_credit=40 connections:guest:open=1" },
	{ "a reset by the guest", "req rst",
	  "connections_opened:guest:stream=1 connections_ended:guest_reset=1" },
	{ "an end in good order", "req shut:b",
	  "connections_opened:guest:stream=1 connections_ended:guest=1" },
	{ "one by the host", "req closed +3 rst",
	  "connections_opened:guest:stream=1 connections_ended:host=1 stalls:guest_answer=1 "
	  "stalled:guest_answer=3" },
	{ "a packet that must not come", "req resp",
	  "connections_opened:guest:stream=1 connections_ended:protocol=1" },
	{ "more than there is credit for", "req rw:0123456789abcdefg",
	  "connections_opened:guest:stream=1 connections_ended:credit=1" },
	{ "another's CID", "src:4 req",
	  "packets_dropped:source=1" },
	{ "a stray", "rw:abc",
	  "packets_dropped:stray=1" },
	{ "a reset of the guest", "req reset",
	  "connections_opened:guest:stream=1 connections_ended:guest_gone=1" },
	{ "two at once", "req b.req rw:a b.rw:bc rst",
	  "payload:to_host=3 connections_opened:guest:stream=2 connections_ended:guest_reset=1 "
	  "connections:guest:open=1" },
};

static void run_script(int i)
{
	script_run(&s, scripts[i].words);
	ck_assert_msg(!strcmp(describe(mux_counters(s.mux)), scripts[i].counted),
		      "%s: %s, not %s", scripts[i].name, text, scripts[i].counted);
}

START_TEST(counts)
{
	run_script(_i);
}
END_TEST

/* With another process after each word nothing is forgotten, and nothing counted twice. */
START_TEST(counts_across_processes)
{
	s.is_moving = true;
	run_script(_i);
}
END_TEST

START_TEST(a_refused_connect_is_refused_later)
{
	script_run(&s, "pending req");
	ck_assert_str_eq(describe(mux_counters(s.mux)),
			 "stalls:connect=1 connections:guest:connecting=1");
	script_run(&s, "+9 connected:111");
	ck_assert_str_eq(describe(mux_counters(s.mux)),
			 "connections_ended:refused=1 connects_refused:to_host:system=1 "
			 "stalls:connect=1 stalled:connect=9");
}
END_TEST

START_TEST(counts_handshakes)
{
	mux_count_handshake(s.mux, HANDSHAKE_LATE);
	mux_count_handshake(s.mux, HANDSHAKE_DONE);
	mux_count_handshake(s.mux, HANDSHAKE_DONE);
	ck_assert_str_eq(describe(mux_counters(s.mux)), "handshakes:done=2 handshakes:late=1");
}
END_TEST

/* ---- how connections look ---- */

static struct conn_snapshot rows[4 * CONN_SNAPSHOT_MIN];

static size_t look(void)
{
	struct conn_cursor cursor = { .at = 0 };
	size_t n = 0;

	while (!cursor.is_over)
		n += mux_snapshot_conns(s.mux, &cursor, rows + n, CONN_SNAPSHOT_MIN, s.now_ms);
	return n;
}

START_TEST(shows_a_connection)
{
	script_run(&s, "credit:100,0 req +10 full rw:abc give:hello +20");
	ck_assert_uint_eq(look(), 1);
	ck_assert_uint_eq(rows[0].guest.cid, 3);
	ck_assert_uint_eq(rows[0].guest.port, 1024);
	ck_assert_uint_eq(rows[0].peer.cid, 2);
	ck_assert_uint_eq(rows[0].peer.port, 80);
	ck_assert_int_eq(rows[0].type, VSOCK_TYPE_STREAM);
	ck_assert_int_eq(rows[0].state, CONN_OPEN);
	ck_assert_int_eq(rows[0].origin, CONN_FROM_GUEST);
	ck_assert_int_eq(rows[0].waits_for, CONN_WAITS_FOR_READER);
	ck_assert_uint_eq(rows[0].waits_ms, 20);
	ck_assert_uint_eq(rows[0].age_ms, 30);
	ck_assert_uint_eq(rows[0].to_guest, 5);
	ck_assert_uint_eq(rows[0].to_host, 3);
	ck_assert_uint_eq(rows[0].guest_buf_alloc, 100);
	ck_assert_uint_eq(rows[0].room_at_guest, 95);
	ck_assert_uint_eq(rows[0].unread_by_guest, 5);
	ck_assert_uint_eq(rows[0].buf_alloc, SCRIPT_BUF_ALLOC);
	ck_assert_uint_eq(rows[0].room_for_guest, SCRIPT_BUF_ALLOC - 3);
	ck_assert_uint_eq(rows[0].buffered, 3);
	ck_assert_int_eq(rows[0].end, CONN_END_NONE);
	ck_assert(!rows[0].is_orphaned);
}
END_TEST

/* It keeps its age with another process. */
START_TEST(shows_the_same_after_a_move)
{
	struct conn_snapshot before;

	script_run(&s, "credit:3,0 req give:hello +50");
	ck_assert_uint_eq(look(), 1);
	before = rows[0];
	script_run(&s, "move");
	ck_assert_uint_eq(look(), 1);
	ck_assert_uint_eq(rows[0].age_ms, before.age_ms);
	ck_assert_uint_eq(rows[0].waits_ms, 50);
	ck_assert_int_eq(rows[0].waits_for, CONN_WAITS_FOR_CREDIT);
}
END_TEST

START_TEST(shows_who_lacks_buffers)
{
	script_run(&s, "req starve give:hello +15");
	ck_assert_uint_eq(look(), 1);
	ck_assert_int_eq(rows[0].waits_for, CONN_WAITS_FOR_BUFFERS);
	ck_assert_uint_eq(rows[0].waits_ms, 15);
	script_run(&s, "feed:9");
	ck_assert_uint_eq(look(), 1);
	ck_assert_int_eq(rows[0].waits_for, CONN_WAITS_FOR_NOTHING);
}
END_TEST

START_TEST(shows_what_drains)
{
	script_run(&s, "req full rw:abc rst +5");
	ck_assert_uint_eq(look(), 1);
	ck_assert(rows[0].is_orphaned);
	ck_assert_int_eq(rows[0].state, CONN_LINGERING);
	ck_assert_int_eq(rows[0].end, CONN_END_GUEST_RST);
	ck_assert_int_eq(rows[0].waits_for, CONN_WAITS_FOR_READER);
}
END_TEST

/* All that drain may be many: a portion does not look at each. _i: so many are before it, or
 * one more. */
START_TEST(looks_at_few_that_drain)
{
	size_t n = CONN_SNAPSHOT_DRAINING - 1 + (size_t)_i;
	struct conn *others = calloc(n, sizeof *others);

	ck_assert_ptr_nonnull(others);
	for (size_t i = 0; i < n; i++)
		list_append(&s.mux->timers[CONN_TIMER_LINGER], &others[i].mux.timer_node);
	script_run(&s, "stay req full rw:abc rst");
	ck_assert_uint_eq(look(), !_i);
	for (size_t i = 0; i < n; i++)
		list_remove(&others[i].mux.timer_node);
	ck_assert_uint_eq(look(), 1);
	free(others);
}
END_TEST

/* More than 2^32 bytes. */
START_TEST(counts_on_beyond_32_bits)
{
	struct conn *c;

	script_run(&s, "req");
	c = conn_table_next(&s.mux->table, NULL);
	c->credit.received = c->credit.fwd_cnt = c->credit.reported_fwd_cnt = UINT32_MAX - 1;
	c->credit.sent_to_guest = c->credit.guest_fwd_cnt = c->credit.consumed =
		c->credit.mark = UINT32_MAX - 1;
	script_run(&s, "credit:100,4294967294 rw:abc give:hello move");
	ck_assert_uint_eq(look(), 1);
	ck_assert_uint_eq(rows[0].to_host, (UINT64_C(1) << 32) + 1);
	ck_assert_uint_eq(rows[0].to_guest, (UINT64_C(1) << 32) + 3);
	ck_assert_uint_eq(mux_counters(s.mux)->payload[COUNTERS_TO_GUEST], 5);
}
END_TEST

START_TEST(resets_one)
{
	const struct vsock_addr peer = { 2, 80 }, other = { 2, 81 };

	script_run(&s, "req b.req");
	ck_assert(!mux_reset_conn(s.mux, VSOCK_TYPE_SEQPACKET, 1024, &peer, s.now_ms));
	ck_assert(!mux_reset_conn(s.mux, VSOCK_TYPE_STREAM, 1024, &other, s.now_ms));
	ck_assert(!mux_reset_conn(s.mux, VSOCK_TYPE_STREAM, 1026, &peer, s.now_ms));
	ck_assert(mux_reset_conn(s.mux, VSOCK_TYPE_STREAM, 1024, &peer, s.now_ms));
	ck_assert(!mux_reset_conn(s.mux, VSOCK_TYPE_STREAM, 1024, &peer, s.now_ms));
	script_run(&s, "+1");
	ck_assert_str_eq(script_trace(&s), "RESPONSE b.RESPONSE close RST");
	ck_assert(!s.streams[0].is_orderly);
	ck_assert_uint_eq(look(), 1);
	ck_assert_uint_eq(mux_counters(s.mux)->connections_ended[CONN_END_OPERATOR], 1);
}
END_TEST

/* ---- a walk over a table that changes ---- */

enum { N_OLD = 3000, N_NEW = 20000 };

START_TEST(walks_a_growing_table)
{
	struct conn *conns = calloc(N_OLD + N_NEW, sizeof *conns);
	unsigned *n_seen = calloc(N_OLD + N_NEW, sizeof *n_seen);
	struct conn_table t;
	uint64_t cursor = 0;
	size_t n = N_OLD;

	ck_assert(conns && n_seen);
	ck_assert_int_eq(conn_table_init(&t, 42), 0);
	for (size_t i = 0; i < N_OLD + N_NEW; i++)
		conns[i].guest.port = (uint32_t)i;
	for (size_t i = 0; i < N_OLD; i++)
		conn_table_add(&t, &conns[i]);
	do {
		for (struct conn *c = conn_table_scan(&t, &cursor); c; c = c->mux.hash_next)
			n_seen[c - conns]++;
		for (int k = 0; k < 7 && n < N_OLD + N_NEW; k++)
			conn_table_add(&t, &conns[n++]);
	} while (cursor);
	for (size_t i = 0; i < N_OLD; i++)
		ck_assert_uint_eq(n_seen[i], 1);
	for (size_t i = N_OLD; i < n; i++)
		ck_assert_uint_le(n_seen[i], 1);
	conn_table_deinit(&t);
	free(conns);
	free(n_seen);
}
END_TEST

/* ---- as bytes ---- */

static struct vsock_counters some_counters(void)
{
	struct vsock_counters c;
	uint64_t *numbers = (uint64_t *)&c;

	for (size_t i = 0; i < sizeof c / sizeof *numbers; i++)
		numbers[i] = i * UINT64_C(0x123456789) + 1;
	return c;
}

static struct blob saved(const struct vsock_counters *c)
{
	struct blob b;

	blob_init(&b, 1 << 20, 0);
	counters_save(c, &b);
	ck_assert_int_eq(blob_error(&b), 0);
	return b;
}

static bool load(struct vsock_counters *c, const void *bytes, size_t n)
{
	struct blob_reader in;

	blob_read(&in, bytes, n, NULL);
	return counters_load(c, &in);
}

/* All but gauges, which stay. */
START_TEST(saves_and_loads)
{
	const struct vsock_counters before = some_counters();
	struct vsock_counters after = { .connections = { 77 } };
	struct blob b = saved(&before);

	ck_assert(load(&after, b.bytes, b.len));
	ck_assert_uint_eq(after.connections[0], 77);
	for (size_t i = 0; i < counters_num_families; i++) {
		const struct counters_family *f = &counters_families[i];
		size_t n = f->kind == COUNTERS_HISTOGRAM ? HISTOGRAM_BUCKETS + 1 :
			counters_family_size(f);

		if (f->kind != COUNTERS_GAUGE)
			ck_assert_msg(!memcmp(counters_values(&before, f), counters_values(&after, f),
					      n * sizeof(uint64_t)), "%s", f->name);
	}
	blob_deinit(&b);
}
END_TEST

START_TEST(loads_nothing_of_what_is_cut)
{
	const struct vsock_counters before = some_counters();
	struct blob b = saved(&before);

	for (size_t n = 0; n < b.len; n++) {
		struct vsock_counters after = { .payload = { 5, 6 } };

		ck_assert(!load(&after, b.bytes, n));
		ck_assert_uint_eq(after.payload[0], 5);
		ck_assert_uint_eq(after.payload[1], 6);
	}
	blob_deinit(&b);
}
END_TEST

static void put_family(struct blob *b, const char *name, uint16_t n_rows, uint16_t columns)
{
	blob_put_u8(b, (uint8_t)strlen(name));
	blob_put_bytes(b, name, strlen(name));
	blob_put_u16(b, n_rows);
	blob_put_u16(b, columns);
	for (uint64_t i = 0; i < (uint64_t)n_rows * columns; i++)
		blob_put_u64(b, i + 1);
}

/* Of a build that knew others, and fewer or more values of labels. */
START_TEST(loads_what_another_build_has_saved)
{
	struct vsock_counters c = { .payload = { 0 } };
	struct blob b;
	size_t section;

	blob_init(&b, 1 << 20, 0);
	section = blob_open(&b, BLOB_TAG('C', 'N', 'T', 'R'), 1);
	put_family(&b, "never_heard_of", 3, 5);
	put_family(&b, "packets_dropped", 1, 2);
	put_family(&b, "connections", 3, 6);	/* a gauge */
	put_family(&b, "connects_refused", 2, 3);
	put_family(&b, "ring_kicks", 1, 9);
	put_family(&b, "turn", 1, 5);		/* other buckets */
	blob_close(&b, section);
	ck_assert(load(&c, b.bytes, b.len));
	ck_assert_str_eq(describe(&c),
			 "connects_refused:to_guest:system=1 connects_refused:to_guest:no_route=3 "
			 "connects_refused:to_host:system=4 connects_refused:to_host:no_route=6 "
			 "packets_dropped:short=1 packets_dropped:body=2 "
			 "ring_kicks:rx=1 ring_kicks:tx=2 ring_kicks:event=3");
	ck_assert_uint_eq(c.turn.buckets[0] + c.turn.sum, 0);
	blob_deinit(&b);
}
END_TEST

/* ---- the table ---- */

/* Arrays are as large as their labels say, and nothing lies between them. */
START_TEST(the_table_is_the_struct)
{
	size_t at = 0;

	for (size_t i = 0; i < counters_num_families; i++) {
		const struct counters_family *f = &counters_families[i];

		ck_assert_msg(f->offset == at, "%s", f->name);
		at += f->kind == COUNTERS_HISTOGRAM ? sizeof(struct histogram) :
			counters_family_size(f) * sizeof(uint64_t);
	}
	ck_assert_uint_eq(at, sizeof(struct vsock_counters));
}
END_TEST

static bool is_name(const char *name)
{
	for (const char *c = name; *c; c++)
		if (!islower((unsigned char)*c) && *c != '_')
			return false;
	return *name;
}

/* Names that Prometheus takes, each once; help that needs no escaping. */
START_TEST(the_table_is_sound)
{
	for (size_t i = 0; i < counters_num_families; i++) {
		const struct counters_family *f = &counters_families[i];

		ck_assert_msg(is_name(f->name), "%s", f->name);
		ck_assert(strchr(f->help, '.') == f->help + strlen(f->help) - 1);
		ck_assert_ptr_null(strpbrk(f->help, "\\\n"));
		for (size_t k = 0; k < i; k++)
			ck_assert_str_ne(f->name, counters_families[k].name);
	}
	for (unsigned label = LABEL_DIRECTION; label < NUM_LABELS; label++) {
		unsigned n = 0;

		ck_assert(is_name(counters_label_name(label)));
		for (unsigned i = 0; i < counters_label_size(label); i++) {
			const char *value = counters_label_value(label, i);

			ck_assert(!value || is_name(value));
			n += value != NULL;
		}
		ck_assert_uint_gt(n, 0);
	}
}
END_TEST

/* A new reason has a value here, unless it is one of those that are never counted. */
START_TEST(each_reason_has_a_value)
{
	for (unsigned i = CONN_END_NONE + 1; i < CONN_NUM_ENDS; i++)
		ck_assert_msg(counters_label_value(LABEL_END, i), "%s", conn_str_end(i));
	for (unsigned i = 1; i < BACKEND_NUM_E; i++)
		if (i != BACKEND_E_PENDING && i != BACKEND_E_BAD_STATE)
			ck_assert_msg(counters_label_value(LABEL_REFUSAL, i), "%s",
				      backend_str_error((int)i));
	for (unsigned i = 0; i < CONN_NUM_WAITS; i++) {
		ck_assert(is_name(conn_wait_name(i)));
		ck_assert(*conn_str_wait(i));
	}
}
END_TEST

static const struct {
	unsigned shift;
	uint64_t value;
	unsigned bucket;
} values[] = {
	{ 1, 0, 0 }, { 1, 1, 0 }, { 1, 2, 1 }, { 1, 3, 2 }, { 1, 4, 2 }, { 1, 5, 3 },
	{ 1, 1024, 10 }, { 1, 1025, 11 }, { 1, UINT64_MAX, 11 },
	{ 2, 1, 0 }, { 2, 2, 1 }, { 2, 4, 1 }, { 2, 5, 2 }, { 2, 16, 2 }, { 2, 17, 3 },
	{ 2, 1 << 20, 10 }, { 2, (1 << 20) + 1, 11 },
};

START_TEST(finds_the_bucket)
{
	struct histogram h = { .sum = 0 };

	histogram_add(&h, values[_i].shift, values[_i].value);
	ck_assert_uint_eq(h.buckets[values[_i].bucket], 1);
	ck_assert_uint_eq(h.sum, values[_i].value);
	for (size_t i = 0; i < counters_num_families; i++) {
		const struct counters_family *f = &counters_families[i];
		unsigned shift = f->unit == UNIT_US ? HISTOGRAM_SHIFT_US : HISTOGRAM_SHIFT_PACKETS;

		if (f->kind != COUNTERS_HISTOGRAM || shift != values[_i].shift)
			continue;
		ck_assert_uint_le(values[_i].value, counters_bound(f, values[_i].bucket));
		if (values[_i].bucket)
			ck_assert_uint_gt(values[_i].value,
					  counters_bound(f, values[_i].bucket - 1));
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("counters");
	TCase *tc = tcase_create("counters");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_loop_test(tc, counts, 0, COUNT(scripts));
	tcase_add_loop_test(tc, counts_across_processes, 0, COUNT(scripts));
	tcase_add_test(tc, a_refused_connect_is_refused_later);
	tcase_add_test(tc, counts_handshakes);
	tcase_add_test(tc, shows_a_connection);
	tcase_add_test(tc, shows_the_same_after_a_move);
	tcase_add_test(tc, shows_who_lacks_buffers);
	tcase_add_test(tc, shows_what_drains);
	tcase_add_loop_test(tc, looks_at_few_that_drain, 0, 2);
	tcase_add_test(tc, counts_on_beyond_32_bits);
	tcase_add_test(tc, resets_one);
	tcase_add_test(tc, walks_a_growing_table);
	tcase_add_test(tc, saves_and_loads);
	tcase_add_test(tc, loads_nothing_of_what_is_cut);
	tcase_add_test(tc, loads_what_another_build_has_saved);
	tcase_add_test(tc, the_table_is_the_struct);
	tcase_add_test(tc, the_table_is_sound);
	tcase_add_test(tc, each_reason_has_a_value);
	tcase_add_loop_test(tc, finds_the_bucket, 0, COUNT(values));
	suite_add_tcase(suite, tc);
	return unit_main(suite);
}
