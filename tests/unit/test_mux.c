/* SPDX-License-Identifier: BSD-3-Clause */
/* Many connections of one guest: names, limits, fairness, buffers of any size. */
#include <string.h>

#include "mux_cases.h"
#include "unit.h"
#include "util/error.h"
#include "vsock_script.h"

enum { HOST_PORT_MIN = 1 << 30, SEED = 42, REPLIES = 256 };

static struct script s;

static void setup(void)
{
	script_init(&s, 4096);
}

static void teardown(void)
{
	script_deinit(&s);
}

/* Instead of setup(): another size of RX buffers, in iovecs of @piece bytes. */
static void use_rx(size_t size, size_t left, size_t piece)
{
	fake_rx_deinit(&s.rx);
	fake_rx_init(&s.rx, size, left, piece);
}

static void on_wake(void *ctx)
{
	(void)ctx;
}

/* Likewise: another mux. */
static void use_mux(uint32_t buf_alloc, uint64_t seed, uint64_t first_port)
{
	struct mux_config config = {
		.guest_cid = 3,
		.limits = {
			.tx_buffer_size = buf_alloc, .max_connections = 4, .max_buffered = 1 << 26,
		},
		.hash_seed = seed, .first_port = first_port,
		.scratch = &s.scratch, .wake = on_wake, .tag = "test",
	};

	mux_free(s.mux);
	ck_assert_int_eq(mux_new(&s.mux, &config), 0);
	mux_add_backend(s.mux, &s.backend.base);
	mux_set_running(s.mux, true);
}

static int output(void)
{
	struct rx_sink port = fake_rx_port(&s.rx);

	return mux_output(s.mux, &port, s.now_ms);
}

static struct mux_stats stats(void)
{
	struct mux_stats out;

	mux_get_stats(s.mux, &out);
	return out;
}

START_TEST(counts)
{
	script_run(&s, "src:4 req src:3 rw:x rw:y refuse:111 req at_once req b.req rst");
	ck_assert_uint_eq(stats().bad_source, 1);
	ck_assert_uint_eq(stats().stray, 2);
	ck_assert_uint_eq(stats().refused, 1);
	ck_assert_uint_eq(stats().conns, 1);
}
END_TEST

START_TEST(clogged_by_rsts)
{
	for (int i = 0; i < REPLIES; i++) {
		ck_assert(!mux_is_clogged(s.mux));
		script_run(&s, i ? "rw:x" : "starve rw:x");
	}
	ck_assert(mux_is_clogged(s.mux));
	script_run(&s, "rw:beyond feed:1");
	ck_assert(!mux_is_clogged(s.mux));
	ck_assert_uint_eq(s.rx.n_ops[VSOCK_OP_RST], 1);
	script_run(&s, "rw:x");
	ck_assert(mux_is_clogged(s.mux));
	s.trace.len = 0;
	script_run(&s, "feed:1000");
	ck_assert_uint_eq(s.rx.n_ops[VSOCK_OP_RST], REPLIES + 1);
	ck_assert(!mux_has_output(s.mux));
}
END_TEST

/* The answer goes back where the question came from. */
START_TEST(stray_rst_is_addressed)
{
	s.conns[0].peer.port = 4711;
	script_run(&s, "dst:77 type:2 rw:x");
	ck_assert_uint_eq(s.rx.last.src.cid, 77);
	ck_assert_uint_eq(s.rx.last.src.port, 4711);
	ck_assert_uint_eq(s.rx.last.dst.cid, 3);
	ck_assert_uint_eq(s.rx.last.dst.port, 1024);
	ck_assert_uint_eq(s.rx.last.type, 2);
	ck_assert_uint_eq(s.rx.last.len, 0);
}
END_TEST

START_TEST(packets_carry_credit)
{
	script_run(&s, "req");
	ck_assert_uint_eq(s.rx.last.buf_alloc, SCRIPT_BUF_ALLOC);
	ck_assert_uint_eq(s.rx.last.fwd_cnt, 0);
	ck_assert_uint_eq(s.rx.last.type, VSOCK_TYPE_STREAM);
	script_run(&s, "rw:abc give:x");
	ck_assert_uint_eq(s.rx.last.fwd_cnt, 3);
	script_run(&s, "full rw:de request");
	ck_assert_uint_eq(s.rx.last.fwd_cnt, 3);
}
END_TEST

START_TEST(no_more_than_max_connections)
{
	for (uint32_t i = 0; i < SCRIPT_MAX_CONNS; i++) {
		s.conns[0].guest_port = 2000 + i;
		script_run(&s, "req");
		ck_assert_uint_eq(s.rx.last.op, VSOCK_OP_RESPONSE);
	}
	s.conns[0].guest_port = 3000;
	s.trace.len = 0;
	script_run(&s, "req connect");
	ck_assert_str_eq(script_trace(&s), "b.RST FULL");
	s.conns[0].guest_port = 2000;
	script_run(&s, "rst req");
	ck_assert_uint_eq(s.rx.last.op, VSOCK_OP_RESPONSE);
}
END_TEST

/* A guest that sends and resets keeps nothing beyond the limit either. */
START_TEST(nameless_count_too)
{
	for (int i = 0; i < SCRIPT_MAX_CONNS; i++)
		script_run(&s, "req full rw:x rst");
	s.trace.len = 0;
	script_run(&s, "req");
	ck_assert_str_eq(script_trace(&s), "RST");
	script_run(&s, "+30000 req");
	ck_assert_uint_eq(s.rx.last.op, VSOCK_OP_RESPONSE);
}
END_TEST

START_TEST(host_ports_in_range_and_new)
{
	uint32_t last = 0;

	for (int i = 0; i < SCRIPT_STREAMS; i++) {
		script_run(&s, "connect");
		ck_assert_uint_ge(s.conns[0].peer.port, HOST_PORT_MIN);
		ck_assert_uint_lt(s.conns[0].peer.port, 2u * HOST_PORT_MIN);
		ck_assert_uint_ne(s.conns[0].peer.port, last);
		last = s.conns[0].peer.port;
		script_run(&s, "rst");
	}
}
END_TEST

/* What the guest sees of one says nothing about the seed that it must not know. */
START_TEST(first_host_port_is_no_part_of_the_seed)
{
	for (uint64_t seed = 1; seed; seed <<= 9) {
		use_mux(16, seed, UINT64_C(5) << 30 | 77);
		script_run(&s, "connect");
		ck_assert_uint_eq(s.conns[0].peer.port, HOST_PORT_MIN + 77);
		script_run(&s, "rst");
	}
}
END_TEST

/* The guest can guess the next port and take the name before we do. */
START_TEST(host_port_is_not_taken_by_the_guest)
{
	s.conns[0].peer.port = HOST_PORT_MIN + SEED;
	script_run(&s, "req");
	s.conns[1].guest_port = 1024;
	script_run(&s, "b.connect");
	ck_assert_uint_ne(s.rx.last.src.port, HOST_PORT_MIN + SEED);
	s.conns[1].peer = s.rx.last.src;
	s.conns[0].peer.port = HOST_PORT_MIN + SEED;
	script_run(&s, "rst b.rst rw:x b.rw:x");
	ck_assert_uint_eq(stats().conns, 0);
	ck_assert_uint_eq(stats().stray, 2);
}
END_TEST

/* Instead of waiting for 2^30 connections: the count begins near the end. */
START_TEST(host_ports_wrap)
{
	static const uint32_t expected[] = {
		2u * HOST_PORT_MIN - 2, 2u * HOST_PORT_MIN - 1, HOST_PORT_MIN + 1,
		HOST_PORT_MIN + 2,
	};

	use_mux(16, SEED, HOST_PORT_MIN - 2);
	s.conns[1].peer.port = HOST_PORT_MIN;	/* of another port of the guest */
	script_run(&s, "b.req");
	for (int i = 0; i < COUNT(expected); i++) {
		script_run(&s, "connect");
		ck_assert_uint_eq(s.conns[0].peer.port, expected[i]);
		script_run(&s, "rst");
	}
}
END_TEST

START_TEST(turns_are_fair)
{
	script_run(&s, "credit:1073741824,0 req b.req starve more:100000000 b.more:100000000");
	s.rx.trace = NULL;
	s.rx.left = SIZE_MAX;
	for (int i = 0; i < 8; i++)
		ck_assert_int_eq(output(), MUX_E_MORE);
	ck_assert_uint_eq(s.rx.port_bytes[0], s.rx.port_bytes[1]);
	ck_assert_uint_ge(s.rx.port_bytes[0], 4 * CONN_TURN_MAX);
	ck_assert_uint_le(s.rx.port_bytes[0], 8 * CONN_TURN_MAX);
}
END_TEST

START_TEST(many_buffers_per_read)
{
	script_run(&s, "credit:1073741824,0 req starve more:1000000");
	s.rx.trace = NULL;
	s.rx.left = SIZE_MAX;
	while (output() == MUX_E_MORE)
		;
	ck_assert_uint_eq(s.rx.n_bytes, 1000000);
	ck_assert_uint_ge(s.rx.largest_borrow, 32);
	ck_assert_uint_ge(s.streams[0].largest_read, 128 * 1024);
	ck_assert_uint_lt(s.streams[0].read_calls, 30);
}
END_TEST

/* Most have a few bytes to say at first. */
START_TEST(one_buffer_for_the_first_read)
{
	script_run(&s, "credit:1073741824,0 req starve give:abc");
	s.rx.left = SIZE_MAX;
	ck_assert_int_eq(output(), 0);
	ck_assert_uint_eq(s.rx.largest_borrow, 1);
	ck_assert_uint_eq(s.streams[0].n_read, 3);
}
END_TEST

/* The rest that a read has left is no measure for the next. */
START_TEST(the_same_again_in_one_read)
{
	size_t first;

	script_run(&s, "credit:1073741824,0 req starve more:5000");
	s.rx.left = SIZE_MAX;
	ck_assert_int_eq(output(), 0);
	ck_assert_uint_eq(s.streams[0].n_read, 5000);
	first = s.streams[0].read_calls;
	ck_assert_uint_gt(first, 2);
	script_run(&s, "more:5000");
	ck_assert_uint_eq(s.streams[0].n_read, 10000);
	ck_assert_uint_eq(s.streams[0].read_calls, first + 2);	/* the last gives nothing */
}
END_TEST

/* Nor is one that was full for lack of credit. */
START_TEST(no_more_for_lack_of_credit)
{
	size_t usual;

	script_run(&s, "credit:1073741824,0 req starve more:20000");
	s.rx.left = SIZE_MAX;
	ck_assert_int_eq(output(), 0);
	s.rx.largest_borrow = 0;
	script_run(&s, "more:20000");
	usual = s.rx.largest_borrow;
	ck_assert_uint_gt(usual, 1);
	script_run(&s, "credit:1000,40000 update more:1000");
	ck_assert_uint_eq(s.streams[0].n_read, 41000);
	s.rx.largest_borrow = 0;
	script_run(&s, "credit:1073741824,41000 update more:20000");
	ck_assert_uint_eq(s.streams[0].n_read, 61000);
	ck_assert_uint_le(s.rx.largest_borrow, usual);
}
END_TEST

struct rx_case {
	size_t size, piece;
};

static const struct rx_case rx_cases[] = {
	{ PKT_HDR_SIZE + 1, 0 }, { PKT_HDR_SIZE + 1, 1 }, { PKT_HDR_SIZE + 2, PKT_HDR_SIZE },
	{ PKT_HDR_SIZE + 31, 1 }, { PKT_HDR_SIZE + 7, 3 }, { PKT_HDR_SIZE + 7, 43 }, { PKT_HDR_SIZE + 7, 45 },
	{ 4096, 0 }, { 4096, PKT_HDR_SIZE }, { 4096, 4 }, { 4096, 4095 },
	{ PKT_HDR_SIZE + VSOCK_BODY_MAX, 0 }, { FAKE_RX_SIZE_MAX, 0 }, { FAKE_RX_SIZE_MAX, 4096 },
};

/* All arrives, in packets that the guest can take, whatever its buffers. */
START_TEST(rx_buffers_of_any_size)
{
	const struct rx_case *c = &rx_cases[_i];
	const size_t total = 3 * VSOCK_BODY_MAX + 5;

	use_rx(c->size, SIZE_MAX, c->piece);
	script_run(&s, "credit:1073741824,0 req");
	ck_assert_uint_eq(s.rx.last.op, VSOCK_OP_RESPONSE);
	s.streams[0].n_more = total;
	s.streams[0].end = STREAM_E_EOF;
	script_run(&s, "give:");
	ck_assert_uint_eq(s.rx.n_bytes, total);
	ck_assert_uint_eq(s.rx.last.op, VSOCK_OP_SHUTDOWN);
}
END_TEST

/* Buffers without room for data are used up, but not for ever in one turn: the
 * guest may post them as fast as we take them. */
START_TEST(rx_buffers_without_room)
{
	use_rx(PKT_HDR_SIZE, SIZE_MAX, 0);
	script_run(&s, "req");
	s.streams[0].n_more = 100;
	s.streams[0].base.ready |= STREAM_IN;
	mux_stream_ready(s.mux, &s.streams[0].base, s.now_ms);
	s.rx.left = 1000 * 1000;
	ck_assert_int_eq(output(), MUX_E_MORE);
	ck_assert_uint_lt(s.rx.n_pkts, 10 * 1000);
	ck_assert_uint_eq(s.rx.n_ops[VSOCK_OP_RW], 0);
}
END_TEST

/* Neither is a turn endless with one byte per buffer. */
START_TEST(rx_buffers_of_one_byte)
{
	use_rx(PKT_HDR_SIZE + 1, SIZE_MAX, 0);
	script_run(&s, "credit:1073741824,0 req");
	s.streams[0].n_more = 10 * 1000 * 1000;
	s.streams[0].base.ready |= STREAM_IN;
	mux_stream_ready(s.mux, &s.streams[0].base, s.now_ms);
	ck_assert_int_eq(output(), MUX_E_MORE);
	ck_assert_uint_lt(s.rx.n_pkts, 10 * 1000);
}
END_TEST

START_TEST(deadlines)
{
	ck_assert_uint_eq(mux_next_deadline(s.mux), UINT64_MAX);
	script_run(&s, "b.connect +500 req closed");
	ck_assert_uint_eq(mux_next_deadline(s.mux), 1000 + SCRIPT_REQUEST_MS);
	script_run(&s, "+1500");
	ck_assert_uint_eq(mux_next_deadline(s.mux), 1500 + SCRIPT_CLOSING_MS);
	script_run(&s, "+8500");
	ck_assert_uint_eq(mux_next_deadline(s.mux), UINT64_MAX);
	ck_assert_uint_eq(stats().conns, 0);
}
END_TEST

/* The device is told whenever there is something new to do. */
START_TEST(wakes)
{
	size_t n = s.n_wakes;

	script_run(&s, "starve req");
	ck_assert_uint_gt(s.n_wakes, n);
	n = s.n_wakes;
	script_run(&s, "b.rw:x");
	ck_assert_uint_gt(s.n_wakes, n);
	script_run(&s, "feed:2");
	n = s.n_wakes;
	script_run(&s, "starve give:x");
	ck_assert_uint_gt(s.n_wakes, n);
}
END_TEST

/* More payload than one write takes, and more iovecs than one call: nothing is
 * lost, and not much more is written than was gathered. */
START_TEST(gathers_in_bounds)
{
	static char text[VSOCK_BODY_MAX];
	struct iovec iov[256];

	for (int i = 0; i < COUNT(iov); i++)
		iov[i] = (struct iovec){ text + i * 256, 256 };
	use_mux(1 << 20, SEED, SEED);
	script_run(&s, "req");
	for (int i = 0; i < 8; i++) {
		struct pkt pkt = {
			.src = { 3, 1024 }, .dst = { 2, 80 }, .type = VSOCK_TYPE_STREAM,
			.op = VSOCK_OP_RW, .len = sizeof text, .buf_alloc = 1 << 20,
		};
		struct iov_cur cur;

		iov_cur_init(&cur, iov, COUNT(iov));
		mux_input(s.mux, &pkt, &cur, s.now_ms);
	}
	mux_flush(s.mux, s.now_ms);
	ck_assert_uint_eq(s.streams[0].n_written, 8 * sizeof text);
	ck_assert_uint_ge(s.streams[0].write_calls, 2);
	ck_assert_uint_le(s.streams[0].write_calls, 5);
}
END_TEST

/* A connect that had to wait goes on with the stream that came of it. */
START_TEST(another_stream_takes_its_place)
{
	script_run(&s, "pending req");
	mux_stream_connected(s.mux, &s.streams[0].base, &s.streams[1].base, 0, s.now_ms);
	ck_assert(s.streams[0].is_closed);
	ck_assert(!s.streams[1].is_closed);
	script_run(&s, "rw:hello");
	ck_assert_uint_eq(s.streams[1].n_written, 5);
	ck_assert_uint_eq(stats().conns, 1);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("mux");
	TCase *tc = tcase_create("mux");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, counts);
	tcase_add_test(tc, clogged_by_rsts);
	tcase_add_test(tc, stray_rst_is_addressed);
	tcase_add_test(tc, packets_carry_credit);
	tcase_add_test(tc, no_more_than_max_connections);
	tcase_add_test(tc, nameless_count_too);
	tcase_add_test(tc, host_ports_in_range_and_new);
	tcase_add_test(tc, first_host_port_is_no_part_of_the_seed);
	tcase_add_test(tc, host_port_is_not_taken_by_the_guest);
	tcase_add_test(tc, host_ports_wrap);
	tcase_add_test(tc, turns_are_fair);
	tcase_add_test(tc, many_buffers_per_read);
	tcase_add_test(tc, one_buffer_for_the_first_read);
	tcase_add_test(tc, the_same_again_in_one_read);
	tcase_add_test(tc, no_more_for_lack_of_credit);
	tcase_add_loop_test(tc, rx_buffers_of_any_size, 0, COUNT(rx_cases));
	tcase_add_test(tc, rx_buffers_without_room);
	tcase_add_test(tc, rx_buffers_of_one_byte);
	tcase_add_test(tc, deadlines);
	tcase_add_test(tc, wakes);
	tcase_add_test(tc, gathers_in_bounds);
	tcase_add_test(tc, another_stream_takes_its_place);
	suite_add_tcase(suite, tc);
	add_sibling_cases(suite);
	add_end_cases(suite);
	add_rst_cases(suite);
	add_limit_cases(suite);
	return unit_main(suite);
}
