/* SPDX-License-Identifier: BSD-3-Clause */
/* The end of many connections at once: done with for the guest when the call returns,
 * closed in portions. */
#include <stdlib.h>

#include "fake_rx.h"
#include "fake_stream.h"
#include "mux_cases.h"
#include "unit.h"
#include "vsock/mux.h"

enum { N = 300, PORTION = 16, PORT = 5000 };

static struct mux *mux;
static struct mux_scratch scratch;
static struct fake_stream streams[2 * N];
static struct fake_backend backend;
static unsigned n_wakes;

static void on_wake(void *ctx)
{
	(void)ctx;
	n_wakes++;
}

static void say(uint16_t op, uint32_t guest_port)
{
	struct pkt pkt = {
		.src = { 3, guest_port }, .dst = { VSOCK_CID_HOST, 80 },
		.type = VSOCK_TYPE_STREAM, .op = op, .buf_alloc = 1 << 20,
		.flags = op == VSOCK_OP_SHUTDOWN ? VSOCK_SHUTDOWN_BOTH : 0,
	};
	struct iov_cur none = { .left = 0 };

	mux_input(mux, &pkt, &none, 1000);
}

static void setup(void)
{
	struct mux_config config = {
		.guest_cid = 3,
		.limits = {
			.tx_buffer_size = 65536, .max_connections = 2 * N, .max_buffered = 1 << 26,
			.linger_ms = 30000,
		},
		.connect_ms = 2000, .request_ms = 2000, .closing_ms = 10000,
		.hash_seed = 7, .tag = "test", .scratch = &scratch, .wake = on_wake,
	};

	ck_assert_int_eq(mux_new(&mux, &config), 0);
	for (int i = 0; i < 2 * N; i++)
		fake_stream_init(&streams[i], NULL, "");
	fake_backend_init(&backend, VSOCK_CID_HOST, streams, 2 * N);
	mux_add_backend(mux, &backend.base);
	mux_set_running(mux, true);
	for (uint32_t i = 0; i < N; i++)
		say(VSOCK_OP_REQUEST, PORT + i);
	n_wakes = 0;
}

static void teardown(void)
{
	mux_free(mux);
	for (int i = 0; i < N; i++)
		ck_assert(streams[i].is_closed);
}

static int count_closed(void)
{
	int n = 0;

	for (int i = 0; i < N; i++)
		n += streams[i].is_closed;
	return n;
}

static bool reset(struct mux *m, uint64_t now_ms)
{
	return mux_reset(m, now_ms);
}

static bool drop(struct mux *m, uint64_t now_ms)
{
	mux_drop(m, now_ms);
	return true;
}

static bool (*const ways[])(struct mux *m, uint64_t now_ms) = { reset, drop, mux_abort };

/* Each portion is closed in its turn, and a turn is asked for. */
START_TEST(in_portions)
{
	int turns = 1, before = 0, closed;

	ck_assert(ways[_i](mux, 1000));
	ck_assert_uint_gt(n_wakes, 0);
	for (;; turns++) {
		closed = count_closed();
		ck_assert_int_gt(closed, before);
		ck_assert_int_le(closed - before, PORTION);
		before = closed;
		if (!mux_end_some(mux, 1000))
			break;
	}
	ck_assert_int_eq(count_closed(), N);
	ck_assert_int_eq(turns, N / PORTION);
}
END_TEST

/* Before the end of the mux itself: a portion at a time, also of what drains. */
START_TEST(given_up_in_portions)
{
	int before, turns = 0;
	char byte[] = "x";

	for (uint32_t i = 0; i < N; i += 2) {
		struct iovec iov = { byte, 1 };
		struct pkt pkt = {
			.src = { 3, PORT + i }, .dst = { VSOCK_CID_HOST, 80 },
			.type = VSOCK_TYPE_STREAM, .op = VSOCK_OP_RW, .len = 1,
			.buf_alloc = 1 << 20,
		};
		struct iov_cur cur;

		streams[i].takes = 0;
		iov_cur_init(&cur, &iov, 1);
		mux_input(mux, &pkt, &cur, 1000);
		mux_flush(mux, 1000);
	}
	mux_set_running(mux, false);
	mux_reset(mux, 1000);
	before = count_closed();
	ck_assert_int_le(before, PORTION);
	for (bool more = true; more; turns++) {
		more = mux_give_up_some(mux, 1000);
		ck_assert_int_le(count_closed() - before, 2 * PORTION);
		before = count_closed();
	}
	ck_assert_int_eq(count_closed(), N);
	ck_assert_int_ge(turns, N / PORTION);
	ck_assert(!mux_give_up_some(mux, 1000));
}
END_TEST

/* _i: reset or drop. The names are free at once, also for the same guest ports. */
START_TEST(names_are_free_at_once)
{
	struct mux_stats stats;

	ways[_i](mux, 1000);
	for (uint32_t i = 0; i < N; i++)
		say(VSOCK_OP_REQUEST, PORT + i);
	while (mux_end_some(mux, 1000))
		;
	mux_get_stats(mux, &stats);
	ck_assert_uint_eq(stats.conns, N);
	ck_assert_uint_eq(stats.refused, 0);
	for (int i = N; i < 2 * N; i++)
		ck_assert(!streams[i].is_closed);
}
END_TEST

/* What a stream or the guest still says of one that is to end ends it, and no more. */
START_TEST(nothing_is_said_of_them)
{
	struct fake_rx rx;
	struct rx_sink port;
	struct mux_stats stats;

	fake_rx_init(&rx, 4096, 1000, 0);
	port = fake_rx_port(&rx);
	while (mux_output(mux, &port, 1000))	/* the RESPONSEs */
		;
	ck_assert_uint_eq(rx.n_pkts, N);
	mux_reset(mux, 1000);
	for (int i = 0; i < N; i++) {
		if (streams[i].is_closed)
			continue;
		streams[i].n_more = 100;
		streams[i].base.ready |= STREAM_IN;
		mux_stream_ready(mux, &streams[i].base, 1000);
		ck_assert(streams[i].is_closed);
	}
	ck_assert_int_eq(mux_output(mux, &port, 1000), 0);
	ck_assert_uint_eq(rx.n_pkts, N);
	mux_get_stats(mux, &stats);
	ck_assert_uint_eq(stats.conns, 0);
	fake_rx_deinit(&rx);
}
END_TEST

/* The guest may come back in the middle: it gets an RST for each, once. */
START_TEST(aborted_and_back)
{
	struct fake_rx rx;
	struct rx_sink port;

	fake_rx_init(&rx, 4096, 4 * N, 0);
	port = fake_rx_port(&rx);
	while (mux_output(mux, &port, 1000))
		;
	mux_abort(mux, 1000);
	for (uint32_t i = 0; i < N; i++)
		say(VSOCK_OP_CREDIT_UPDATE, PORT + i);
	do
		while (mux_output(mux, &port, 1000))
			;
	while (mux_end_some(mux, 1000));
	while (mux_output(mux, &port, 1000))
		;
	ck_assert_uint_eq(rx.n_ops[VSOCK_OP_RST], N);
	fake_rx_deinit(&rx);
}
END_TEST

/* One turn moves about so much, however many connections have more. */
START_TEST(bytes_of_a_turn)
{
	struct fake_rx rx;
	struct rx_sink port;

	fake_rx_init(&rx, 65536, 1 << 20, 0);
	port = fake_rx_port(&rx);
	while (mux_output(mux, &port, 1000))
		;
	for (int i = 0; i < N; i++) {
		say(VSOCK_OP_CREDIT_UPDATE, PORT + (uint32_t)i);
		streams[i].n_more = 200 * 1024;
		streams[i].base.ready |= STREAM_IN;
		mux_stream_ready(mux, &streams[i].base, 1000);
	}
	ck_assert_int_eq(mux_output(mux, &port, 1000), MUX_E_MORE);
	ck_assert_uint_ge(rx.n_bytes, 1 << 20);
	ck_assert_uint_le(rx.n_bytes, (1 << 20) + 2 * CONN_TURN_MAX);
	fake_rx_deinit(&rx);
}
END_TEST

void add_end_cases(Suite *suite)
{
	TCase *tc = tcase_create("ends");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_loop_test(tc, in_portions, 0, COUNT(ways));
	tcase_add_test(tc, given_up_in_portions);
	tcase_add_loop_test(tc, names_are_free_at_once, 0, 2);
	tcase_add_test(tc, nothing_is_said_of_them);
	tcase_add_test(tc, aborted_and_back);
	tcase_add_test(tc, bytes_of_a_turn);
	suite_add_tcase(suite, tc);
}
