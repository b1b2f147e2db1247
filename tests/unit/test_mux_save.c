/* SPDX-License-Identifier: BSD-3-Clause */
/* All connections of a guest, handed over: what must be as before (that each goes on by
 * itself is in test_conn), and what was saved by somebody who means harm. */
#include <endian.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "unit.h"
#include "util/blob.h"
#include "util/error.h"
#include "vsock/mux_internal.h"
#include "vsock_script.h"

static struct script s;

static struct blob blob;

/* Another mux, that is to take over from the script's. */
static struct mux *other;
static struct mux_config config;

static void setup(void)
{
	script_init(&s, 4096);
	config = s.mux->config;
	config.hash_seed++;
	config.first_port++;
	blob_init(&blob, 1 << 20, 0);
}

static void teardown(void)
{
	blob_deinit(&blob);
	script_deinit(&s);
}

static void expect(const char *trace)
{
	ck_assert_str_eq(script_trace(&s), trace);
	s.trace.len = 0;
	s.trace.text[0] = '\0';
}

static void save(void)
{
	blob_deinit(&blob);
	blob_init(&blob, 1 << 20, 0);
	mux_save(s.mux, &blob);
	ck_assert_int_eq(blob_error(&blob), 0);
}

/* Loads the first @n bytes into the other mux. */
static int load(size_t n)
{
	struct blob_reader in;

	for (int i = 0; i < SCRIPT_STREAMS; i++) {
		s.streams[i].base.conn = NULL;
		s.streams[i].is_closed = false;
	}
	ck_assert_int_eq(mux_new(&other, &config), 0);
	mux_add_backend(other, &s.backend.base);
	mux_set_running(other, true);
	blob_read(&in, blob.bytes, n, NULL);
	return mux_load(other, &in, s.now_ms);
}

/* The script's goes on. @streams: as they were before the other had them. */
static void leave(const struct fake_stream *streams)
{
	mux_free(other);
	memcpy(s.streams, streams, sizeof s.streams);
}

/* Loading has failed: nothing is left, and every stream that was made is closed again. */
static void expect_nothing(void)
{
	struct mux_stats stats;

	mux_get_stats(other, &stats);
	ck_assert_uint_eq(stats.conns + stats.stray + stats.refused + stats.bad_source, 0);
	ck_assert_uint_eq(mux_budget(other)->used, 0);
	ck_assert_uint_eq(mux_next_deadline(other), UINT64_MAX);
	ck_assert(!mux_has_output(other));
	ck_assert_uint_eq(other->table.n + other->shares.n_common + other->shares.n_own, 0);
	for (int i = 0; i < SCRIPT_STREAMS; i++)
		ck_assert(!s.streams[i].base.conn || s.streams[i].is_closed);
}

/* ---- what is as before ---- */

/* What came while nobody looked is seen, though no event tells of it. */
START_TEST(looks_at_streams)
{
	script_run(&s, "req full rw:abc b.req");
	memcpy(s.streams[1].give, "hello", 5);
	s.streams[1].n_give = 5;
	s.streams[0].takes = 2;
	s.backend.ready_after_load = STREAM_IN | STREAM_OUT;
	script_run(&s, "move");
	expect("RESPONSE b.RESPONSE <ab b.RW(hello)");
	ck_assert_uint_eq(s.streams[0].waits_for, STREAM_IN | STREAM_OUT);
	script_run(&s, "takes:9 rw:d b.closed rst");
	expect("<c <d CREDIT_UPDATE b.close b.SHUTDOWN(b) close");
}
END_TEST

/* Loading by itself touches no stream. */
START_TEST(loads_in_silence)
{
	static struct fake_stream before[SCRIPT_STREAMS];

	script_run(&s, "req full rw:abc b.req starve b.give:x");
	expect("RESPONSE b.RESPONSE");
	save();
	memcpy(before, s.streams, sizeof before);
	for (int i = 0; i < 2; i++) {
		s.streams[i].waits_for = 99;
		s.streams[i].takes = SIZE_MAX;
	}
	s.backend.ready_after_load = STREAM_IN | STREAM_OUT;
	ck_assert_int_eq(load(blob.len), 0);
	expect("");
	for (int i = 0; i < 2; i++) {
		ck_assert_uint_eq(s.streams[i].waits_for, 99);
		ck_assert_uint_eq(s.streams[i].write_calls, before[i].write_calls);
		ck_assert_uint_eq(s.streams[i].read_calls, before[i].read_calls);
	}
	mux_resume(other, s.now_ms);
	expect("<abc");
	ck_assert_uint_eq(s.streams[1].waits_for, STREAM_IN);
	leave(before);
}
END_TEST

/* So does a mux that is given up after all: whatever its connections were about to do. */
START_TEST(gives_up_in_silence)
{
	static struct fake_stream before[SCRIPT_STREAMS];
	static const struct vsock_addr peer = { VSOCK_CID_HOST, 80 };
	struct conn *c;

	script_run(&s, "req full rw:abc rst req full rw:abc b.req b.full b.rw:x starve rw:");
	c = conn_table_find(&s.mux->table, 1025, &peer);
	c->mux.ending = ENDING_GUEST_GONE;
	list_append(&s.mux->ending, &c->mux.ready_node);
	mux_conn_leave(s.mux, c);
	save();
	memcpy(before, s.streams, sizeof before);
	s.backend.ready_after_load = STREAM_IN | STREAM_OUT;
	ck_assert_int_eq(load(blob.len), 0);
	ck_assert_uint_eq(other->n_conns, 3);
	for (int i = 0; i < 3; i++)
		s.streams[i].takes = SIZE_MAX;
	mux_free(other);
	for (int i = 0; i < 3; i++) {
		ck_assert(s.streams[i].is_closed && !s.streams[i].is_orderly);
		ck_assert_uint_eq(s.streams[i].n_written, before[i].n_written);
		ck_assert_uint_eq(s.streams[i].write_calls, before[i].write_calls);
		ck_assert_uint_eq(s.streams[i].read_calls, before[i].read_calls);
	}
	memcpy(s.streams, before, sizeof before);
}
END_TEST

START_TEST(keeps_turns)
{
	script_run(&s, "req b.req starve b.give:1 give:2 move feed:9");
	expect("RESPONSE b.RESPONSE b.RW(1) RW(2)");
	script_run(&s, "starve give:2 b.give:1 move feed:9");
	expect("RW(2) b.RW(1)");
}
END_TEST

START_TEST(keeps_deadlines)
{
	script_run(&s, "connect +500 b.connect +500 move +999");
	expect("REQUEST b.REQUEST");
	script_run(&s, "+1");
	expect("close");
	script_run(&s, "move +499");
	expect("");
	script_run(&s, "+1");
	expect("b.close");
	/* The other way round, whatever the order in which they were saved. */
	script_run(&s, "b.connect +500 connect +500 move +1000");
	expect("b.REQUEST REQUEST b.close");
	script_run(&s, "move +500");
	expect("close");
}
END_TEST

/* A deadline may be a lie, but not a long one. */
START_TEST(bounds_deadlines)
{
	static struct fake_stream before[SCRIPT_STREAMS];
	uint64_t deadline_ms;
	size_t at = 0;

	script_run(&s, "connect");
	save();
	deadline_ms = htole64(s.now_ms + SCRIPT_REQUEST_MS);
	while (memcmp(blob.bytes + at, &deadline_ms, sizeof deadline_ms) != 0)
		ck_assert_uint_lt(at++, blob.len - sizeof deadline_ms);
	memset(blob.bytes + at, 0xff, sizeof deadline_ms);
	memcpy(before, s.streams, sizeof before);
	ck_assert_int_eq(load(blob.len), 0);
	ck_assert_uint_eq(mux_next_deadline(other), s.now_ms + SCRIPT_REQUEST_MS);
	leave(before);
}
END_TEST

/* RSTs that wait, and the ports of host programs. */
START_TEST(keeps_what_is_no_connections)
{
	struct script_conn *c = &s.conns[0];
	uint32_t port;

	script_run(&s, "starve rw:x type:2 b.rw:x type:1 move feed:9");
	expect("RST b.RST");
	ck_assert_uint_eq(s.rx.last.type, 2);
	ck_assert_uint_eq(s.rx.last.dst.port, 1025);
	script_run(&s, "connect rst");
	port = c->peer.port;
	script_run(&s, "move connect");
	ck_assert_uint_eq(c->peer.port, port + 1);
}
END_TEST

START_TEST(stays_clogged)
{
	script_run(&s, "starve");
	for (int i = 0; i < REPLIES_MAX; i++)
		script_run(&s, "rw:x");
	ck_assert(mux_is_clogged(s.mux));
	script_run(&s, "move");
	ck_assert(mux_is_clogged(s.mux));
	script_run(&s, "feed:1");
	ck_assert(!mux_is_clogged(s.mux));
	script_run(&s, "feed:1000");
	ck_assert_uint_eq(s.rx.n_ops[VSOCK_OP_RST], REPLIES_MAX);
}
END_TEST

struct end_case {
	enum ending ending;
	const char *trace;
};

static const struct end_case end_cases[] = {
	{ ENDING_GUEST_GONE, "b.close RESPONSE <ab close" },
	{ ENDING_ABORT, "b.close <ab close b.RST RST" },
	{ ENDING_DROP, "close b.close RESPONSE" },
};

/* What is due to end, ends after the move; what has its name by then does not. */
START_TEST(keeps_ends)
{
	const struct end_case *e = &end_cases[_i];
	bool is_forgotten = e->ending != ENDING_ABORT;

	script_run(&s, "req b.req full rw:ab");
	expect("RESPONSE b.RESPONSE");
	for (uint32_t i = 0; i < 2; i++) {	/* as for more than are ended at once */
		static const struct vsock_addr peer = { VSOCK_CID_HOST, 80 };
		struct conn *c = conn_table_find(&s.mux->table, 1024 + i, &peer);

		c->mux.ending = (uint8_t)e->ending;
		list_append(&s.mux->ending, &c->mux.ready_node);
		if (is_forgotten)
			mux_conn_leave(s.mux, c);
	}
	script_move(&s);
	ck_assert_uint_eq(s.mux->n_conns, 2);
	ck_assert_uint_eq(s.mux->table.n, is_forgotten ? 0 : 2);
	expect("");
	ck_assert(!mux_end_some(s.mux, s.now_ms));
	s.conns[0].stream = &s.streams[0];
	if (is_forgotten) {			/* the same name, and another connection */
		script_run(&s, "req");
		s.conns[0].stream = &s.streams[0];
	}
	if (e->ending != ENDING_DROP)
		script_run(&s, "takes:9");
	expect(e->trace);
	ck_assert_uint_eq(s.mux->n_conns, is_forgotten ? 1 : 0);
}
END_TEST

/* Shares of siblings are given out anew to the same. */
START_TEST(keeps_shares)
{
	static struct fake_stream before[SCRIPT_STREAMS];
	const struct vsock_addr from[] = { { 5, 1 }, { 6, 1 }, { 6, 2 } };

	mux_set_siblings(s.mux, 2);		/* 2 of 4: one for the first, one for each kept */
	for (uint32_t i = 0; i < 2; i++)
		ck_assert_int_eq(mux_connect_from_sibling(s.mux, &s.streams[i].base, &from[i],
							  1024, s.now_ms), 0);
	ck_assert_uint_eq(s.mux->shares.n_common, 1);
	ck_assert_uint_eq(s.mux->shares.n_own, 1);
	save();
	memcpy(before, s.streams, sizeof before);
	ck_assert_int_eq(load(blob.len), 0);
	ck_assert_uint_eq(other->shares.n_common, 1);
	ck_assert_uint_eq(other->shares.n_own, 1);
	ck_assert_int_eq(mux_connect_from_sibling(other, &s.streams[2].base, &from[2], 1024,
						  s.now_ms), BACKEND_E_FULL);
	leave(before);
	config.limits.max_connections = 1;	/* whoever has more keeps it */
	ck_assert_int_eq(load(blob.len), 0);
	ck_assert_uint_eq(other->shares.n_own, 1);
	leave(before);
}
END_TEST

/* ---- what cannot be ---- */

/* A stream that cannot go on ends its connection, and no other. */
START_TEST(stream_is_gone)
{
	static struct fake_stream before[SCRIPT_STREAMS];
	struct rx_sink port = fake_rx_port(&s.rx);

	script_run(&s, "req b.connect starve connect");
	expect("RESPONSE b.REQUEST");
	save();
	memcpy(before, s.streams, sizeof before);
	s.backend.load_result = BACKEND_E_NOBODY;
	ck_assert_int_eq(load(blob.len), 0);
	mux_resume(other, s.now_ms);
	s.rx.left = 9;
	ck_assert_int_eq(mux_output(other, &port, s.now_ms), 0);
	ck_assert_uint_eq(s.rx.n_ops[VSOCK_OP_RST], 2);
	ck_assert_uint_eq(other->n_conns, 0);	/* that not yet asked for, too */
	leave(before);
	s.backend.load_result = -EIO;
	ck_assert_int_eq(load(blob.len), -EIO);
	expect_nothing();
	leave(before);
	s.backend.load_result = BACKEND_E_BAD_STATE;
	ck_assert_int_eq(load(blob.len), MUX_E_BAD_STATE);
	expect_nothing();
	leave(before);
}
END_TEST

/* Finds the section of a stream and changes a byte that is @at bytes after its tag. */
static void change_stream(size_t at)
{
	const uint32_t tag = htole32(FAKE_TAG);
	size_t i = 0;

	while (memcmp(blob.bytes + i, &tag, sizeof tag) != 0)
		ck_assert_uint_lt(i++, blob.len - sizeof tag);
	blob.bytes[i + at] ^= 1;
}

struct stream_case {
	const char *name, *script;
	size_t at;
};

static const struct stream_case stream_cases[] = {
	{ "nobody makes such", "req", 0 },
	{ "pending, but open", "req", BLOB_SECTION_BYTES + 4 },
	{ "pending, but requested", "connect", BLOB_SECTION_BYTES + 4 },
	{ "live, but connecting", "pending req", BLOB_SECTION_BYTES + 4 },
	{ "of two connections", "req b.req", BLOB_SECTION_BYTES },
};

START_TEST(streams_that_do_not_fit)
{
	static struct fake_stream before[SCRIPT_STREAMS];
	const struct stream_case *c = &stream_cases[_i];

	script_run(&s, c->script);
	save();
	memcpy(before, s.streams, sizeof before);
	ck_assert_int_eq(load(blob.len), 0);
	leave(before);
	change_stream(c->at);
	ck_assert_msg(load(blob.len) == MUX_E_BAD_STATE, "%s", c->name);
	expect_nothing();
	leave(before);
}
END_TEST

/* Everything that there may be at a time. */
static void fill(void)
{
	script_run(&s, "starve rw:x feed:3 req full rw:abc b.connect b.resp "
		   "b.full starve");
	s.conns[0].guest_port = 1030;
	script_run(&s, "pending req at_once");
	s.conns[0].guest_port = 1031;
	script_run(&s, "connect b.rw:x rw:x");
	ck_assert_uint_eq(s.mux->n_conns, 4);
	ck_assert_uint_gt(s.mux->replies.n, 0);
}

/* Whoever had more than is allowed now keeps it, as after mux_set_limits(). */
START_TEST(over_limits)
{
	static struct fake_stream before[SCRIPT_STREAMS];

	fill();
	save();
	memcpy(before, s.streams, sizeof before);
	config.limits.max_connections = 3;
	config.limits.tx_buffer_size = SCRIPT_BUF_ALLOC - 1;
	config.limits.max_buffered = 1;
	ck_assert_int_eq(load(blob.len), 0);
	ck_assert_uint_eq(other->n_conns, 4);
	ck_assert_uint_eq(mux_budget(other)->used, 4);
	mux_resume(other, s.now_ms);
	ck_assert_int_eq(mux_connect_from_host(other, &s.streams[7].base, 2, 77, s.now_ms),
			 BACKEND_E_FULL);
	leave(before);
}
END_TEST

/* A number of connections that nobody could have saved takes no memory. */
START_TEST(endless_number)
{
	save();
	memset(blob.bytes + blob.len - 4, 0xff, 4);
	ck_assert_int_eq(load(blob.len), MUX_E_BAD_STATE);
	expect_nothing();
	mux_free(other);
}
END_TEST

START_TEST(two_of_a_name)
{
	static struct fake_stream before[SCRIPT_STREAMS];
	const uint32_t ports[] = { htole32(1024), htole32(1025) };
	size_t at = 0;

	script_run(&s, "req b.req");
	save();
	memcpy(before, s.streams, sizeof before);
	while (memcmp(blob.bytes + at, "CONN", 4) != 0 ||
	       memcmp(blob.bytes + at + BLOB_SECTION_BYTES, &ports[0], 4) != 0)
		ck_assert_uint_lt(at++, blob.len - BLOB_SECTION_BYTES - 4);
	memcpy(blob.bytes + at + BLOB_SECTION_BYTES, &ports[1], 4);
	ck_assert_int_eq(load(blob.len), MUX_E_BAD_STATE);
	expect_nothing();
	leave(before);
}
END_TEST

START_TEST(cut_at_every_byte)
{
	static struct fake_stream before[SCRIPT_STREAMS];

	fill();
	save();
	memcpy(before, s.streams, sizeof before);
	for (size_t n = 0; n < blob.len; n++) {
		ck_assert_int_eq(load(n), MUX_E_BAD_STATE);
		expect_nothing();
		leave(before);
	}
	ck_assert_int_eq(load(blob.len), 0);
	leave(before);
}
END_TEST

/* Whatever was loaded lives: packets come, streams are ready, time goes by. */
static void live(void)
{
	struct rx_sink port = fake_rx_port(&s.rx);

	mux_resume(other, s.now_ms);
	for (uint16_t op = VSOCK_OP_REQUEST; op <= VSOCK_OP_CREDIT_REQUEST; op++) {
		for (struct conn *c = conn_table_next(&other->table, NULL), *next; c; c = next) {
			struct iovec iov = { "0123456789", 10 };
			struct pkt pkt = {
				.src = c->guest, .dst = c->peer, .type = VSOCK_TYPE_STREAM,
				.op = op == VSOCK_OP_RST ? VSOCK_OP_RW : op, .buf_alloc = 1 << 16,
				.len = op == VSOCK_OP_RST || op == VSOCK_OP_RW ? 10 : 0,
				.flags = 1,
			};
			struct iov_cur cur;

			next = conn_table_next(&other->table, c);
			iov_cur_init(&cur, &iov, 1);
			mux_input(other, &pkt, &cur, s.now_ms);
		}
		mux_flush(other, s.now_ms);
	}
	s.rx.left = 100;
	for (int i = 0; mux_output(other, &port, s.now_ms) == MUX_E_MORE; i++)
		ck_assert_int_lt(i, 100);
	ck_assert_uint_le(other->n_conns, SCRIPT_MAX_CONNS);
	mux_expire(other, s.now_ms + 100000);
}

START_TEST(any_byte_changed)
{
	static const uint8_t values[] = { 0, 1, 2, 3, 4, 0x7f, 0x80, 0xff };
	static struct fake_stream before[SCRIPT_STREAMS];
	unsigned n_loaded = 0;

	fill();
	save();
	memcpy(before, s.streams, sizeof before);
	s.rx.trace = NULL;
	for (size_t at = 0; at < blob.len; at++) {
		uint8_t good = blob.bytes[at];

		for (int i = 0; i < COUNT(values); i++) {
			blob.bytes[at] = values[i];
			for (int k = 0; k < SCRIPT_STREAMS; k++)
				s.streams[k].trace = NULL;
			if (load(blob.len) == 0) {
				live();
				n_loaded++;
			} else {
				expect_nothing();
			}
			leave(before);
		}
		blob.bytes[at] = good;
	}
	ck_assert_uint_gt(n_loaded, 1000);
}
END_TEST

/* What another guest is said to have consumed is believed as far as it can be true. */
START_TEST(false_counts)
{
	script_run(&s, "req window:32 rw:0123456789");
	atomic_store(&s.streams[0].by_peer, 4);
	script_run(&s, "give:x");
	ck_assert_uint_eq(s.rx.last.fwd_cnt, 4);
	atomic_store(&s.streams[0].by_peer, 11);
	script_run(&s, "give:x");
	ck_assert_uint_eq(s.rx.last.fwd_cnt, 4);
	atomic_store(&s.streams[0].by_peer, 3);
	script_run(&s, "give:x");
	ck_assert_uint_eq(s.rx.last.fwd_cnt, 4);
	atomic_store(&s.streams[0].by_peer, 10);
	script_run(&s, "give:x");
	ck_assert_uint_eq(s.rx.last.fwd_cnt, 10);
	script_run(&s, "full rw:ab");
	atomic_store(&s.streams[0].by_peer, 11);	/* of which one still waits here */
	script_run(&s, "give:x");
	ck_assert_uint_eq(s.rx.last.fwd_cnt, 10);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("mux_save");
	TCase *tc = tcase_create("mux_save");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, looks_at_streams);
	tcase_add_test(tc, loads_in_silence);
	tcase_add_test(tc, gives_up_in_silence);
	tcase_add_test(tc, keeps_turns);
	tcase_add_test(tc, keeps_deadlines);
	tcase_add_test(tc, bounds_deadlines);
	tcase_add_test(tc, keeps_what_is_no_connections);
	tcase_add_test(tc, stays_clogged);
	tcase_add_loop_test(tc, keeps_ends, 0, 3);
	tcase_add_test(tc, keeps_shares);
	tcase_add_test(tc, stream_is_gone);
	tcase_add_loop_test(tc, streams_that_do_not_fit, 0, COUNT(stream_cases));
	tcase_add_test(tc, over_limits);
	tcase_add_test(tc, endless_number);
	tcase_add_test(tc, two_of_a_name);
	tcase_add_test(tc, cut_at_every_byte);
	tcase_add_test(tc, any_byte_changed);
	tcase_add_test(tc, false_counts);
	suite_add_tcase(suite, tc);
	return unit_main(suite);
}
