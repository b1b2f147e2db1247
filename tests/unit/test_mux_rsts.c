/* SPDX-License-Identifier: BSD-3-Clause */
/* The rest of test_mux: RSTs that answer a guest's SHUTDOWN, which wait for other packets. */
#include <stdlib.h>

#include "fake_rx.h"
#include "fake_stream.h"
#include "mux_cases.h"
#include "unit.h"
#include "vsock/mux.h"

enum {
	N = 300, PORT = 5000,			/* connections that are there at first; theirs */
	RST_WAIT_MS = 5, AT_ONCE = 64,		/* RSTs after one that waited in vain, at first */
};

static struct mux *mux;
static struct mux_scratch scratch;
static struct fake_stream streams[2 * N];
static struct fake_backend backend;
static struct fake_rx rx;
static unsigned n_wakes;
static uint64_t now_ms;

static void on_wake(void *ctx)
{
	(void)ctx;
	n_wakes++;
}

static bool open_rx(void *ctx, struct rx_sink *sink)
{
	(void)ctx;
	*sink = fake_rx_port(&rx);
	return true;
}

static void close_rx(void *ctx)
{
	(void)ctx;
}

static void say_to(const struct vsock_addr *peer, uint16_t op, uint32_t guest_port)
{
	struct pkt pkt = {
		.src = { 3, guest_port }, .dst = *peer,
		.type = VSOCK_TYPE_STREAM, .op = op, .buf_alloc = 1 << 20,
		.flags = op == VSOCK_OP_SHUTDOWN ? VSOCK_SHUTDOWN_BOTH : 0,
	};
	struct iov_cur none = { .left = 0 };

	mux_input(mux, &pkt, &none, now_ms);
}

static void say(uint16_t op, uint32_t guest_port)
{
	say_to(&(struct vsock_addr){ VSOCK_CID_HOST, 80 }, op, guest_port);
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
		.rst_wait_ms = RST_WAIT_MS,
		.hash_seed = 7, .tag = "test", .scratch = &scratch, .wake = on_wake,
		.open_rx = open_rx, .close_rx = close_rx,
	};

	now_ms = 1000;
	ck_assert_int_eq(mux_new(&mux, &config), 0);
	for (int i = 0; i < 2 * N; i++)
		fake_stream_init(&streams[i], NULL, "");
	fake_backend_init(&backend, VSOCK_CID_HOST, streams, 2 * N);
	mux_add_backend(mux, &backend.base);
	mux_set_running(mux, true);
	for (uint32_t i = 0; i < N; i++)
		say(VSOCK_OP_REQUEST, PORT + i);
	fake_rx_init(&rx, 4096, 1 << 20, 0);
}

static void teardown(void)
{
	mux_free(mux);
	fake_rx_deinit(&rx);
}

static bool reset(struct mux *m, uint64_t at_ms)
{
	return mux_reset(m, at_ms);
}

static bool drop(struct mux *m, uint64_t at_ms)
{
	mux_drop(m, at_ms);
	return true;
}

static bool (*const ways[])(struct mux *m, uint64_t at_ms) = { reset, drop, mux_abort };

/* All that there is to say; returns the RSTs among it. */
static size_t hear(void)
{
	struct rx_sink port = fake_rx_port(&rx);
	size_t before = rx.n_ops[VSOCK_OP_RST];

	while (mux_has_output(mux))
		mux_output(mux, &port, now_ms);
	return rx.n_ops[VSOCK_OP_RST] - before;
}

/* The guest closes connection @i. The RSTs that come at once. */
static size_t close_one(uint32_t i)
{
	say(VSOCK_OP_SHUTDOWN, PORT + i);
	return hear();
}

/* Until the next deadline is over. */
static size_t hear_late(void)
{
	uint64_t late_ms = mux_next_deadline(mux);

	ck_assert_uint_eq(late_ms, now_ms + RST_WAIT_MS);
	mux_expire(mux, late_ms);
	return hear();
}

/* A packet that goes to the guest anyway takes them along. */
START_TEST(rsts_wait_for_company)
{
	hear();
	for (uint32_t i = 0; i < 3 * 20; i += 3) {
		n_wakes = 0;
		ck_assert_uint_eq(close_one(i), 0);
		ck_assert_uint_eq(close_one(i + 1), 0);
		ck_assert_uint_gt(n_wakes, 0);
		ck_assert_uint_eq(mux_next_deadline(mux), now_ms + RST_WAIT_MS);
		say(VSOCK_OP_CREDIT_REQUEST, PORT + i + 2);
		ck_assert_uint_eq(hear(), 2);
		ck_assert_uint_eq(rx.n_ops[VSOCK_OP_CREDIT_UPDATE], i / 3 + 1);
		ck_assert_uint_eq(mux_next_deadline(mux), UINT64_MAX);
	}
}
END_TEST

/* Those that nothing else follows wait once, and then no more for a while, which is twice as long
 * after the next. */
START_TEST(rsts_wait_in_vain)
{
	uint32_t i = 0;

	hear();
	for (uint32_t at_once = AT_ONCE; at_once <= 2 * AT_ONCE; at_once *= 2) {
		ck_assert_uint_eq(close_one(i), 0);
		ck_assert_uint_eq(close_one(i + 1), 0);
		ck_assert_uint_eq(hear_late(), 2);
		i += 2;
		for (uint32_t end = i + at_once; i < end; i++)
			ck_assert_uint_eq(close_one(i), 1);
	}
	ck_assert_uint_eq(close_one(i++), 0);
	say(VSOCK_OP_CREDIT_REQUEST, PORT + i);
	ck_assert_uint_eq(hear(), 1);
	ck_assert_uint_eq(close_one(i++), 0);
	ck_assert_uint_eq(hear_late(), 1);
	for (uint32_t end = i + AT_ONCE; i < end; i++)
		ck_assert_uint_eq(close_one(i), 1);
	ck_assert_uint_eq(close_one(i), 0);
}
END_TEST

/* Also where the next has begun to wait before: it is no company. */
START_TEST(rsts_wait_in_vain_together)
{
	uint32_t i = 0;

	hear();
	for (uint32_t at_once = AT_ONCE; at_once <= 2 * AT_ONCE; at_once *= 2) {
		uint64_t late_ms = now_ms + RST_WAIT_MS;

		ck_assert_uint_eq(close_one(i++), 0);
		now_ms += RST_WAIT_MS - 2;
		ck_assert_uint_eq(close_one(i++), 0);
		ck_assert_uint_eq(mux_next_deadline(mux), late_ms);
		now_ms = late_ms;
		mux_expire(mux, now_ms);
		ck_assert_uint_eq(hear(), 2);
		for (uint32_t end = i + at_once; i < end; i++)
			ck_assert_uint_eq(close_one(i), 1);
	}
	ck_assert_uint_eq(close_one(i), 0);
}
END_TEST

/* The guest connects with the ports of one that it has closed, whose RST waits or is to go: it would
 * take that for the answer. */
START_TEST(begun_anew_before_the_rst)
{
	size_t responses;

	hear();
	if (_i) {				/* no more wait for a while */
		ck_assert_uint_eq(close_one(1), 0);
		ck_assert_uint_eq(hear_late(), 1);
	}
	responses = rx.n_ops[VSOCK_OP_RESPONSE];
	say(VSOCK_OP_SHUTDOWN, PORT);
	ck_assert_int_eq(mux_has_output(mux), _i);
	say(VSOCK_OP_REQUEST, PORT);
	ck_assert_uint_eq(hear(), 0);
	ck_assert_uint_eq(rx.n_ops[VSOCK_OP_RESPONSE], responses + 1);
	ck_assert_uint_eq(mux_next_deadline(mux), UINT64_MAX);
	ck_assert(streams[0].is_closed && !streams[N].is_closed);
}
END_TEST

enum { CALLS = 2 };				/* from siblings */

static const struct vsock_addr callers[CALLS + 1] = { { 5, 700 }, { 5, 701 }, { 5, 702 } };

static int call(struct fake_stream *s, const struct vsock_addr *from)
{
	return mux_connect_from_sibling(mux, &s->base, from, PORT + N, now_ms);
}

/* Calls that the guest accepts and then closes: their RSTs wait. */
static void take_calls(void)
{
	for (int i = 0; i < CALLS; i++)
		ck_assert_int_eq(call(&streams[N + i], &callers[i]), 0);
	ck_assert_uint_eq(hear(), 0);
	for (int i = 0; i < CALLS; i++) {
		say_to(&callers[i], VSOCK_OP_RESPONSE, PORT + N);
		say_to(&callers[i], VSOCK_OP_SHUTDOWN, PORT + N);
	}
	ck_assert_uint_eq(hear(), 0);
}

static void set_max_connections(uint32_t max)
{
	mux_set_limits(mux, &(struct vsock_limits){
		.tx_buffer_size = 65536, .max_connections = max, .max_buffered = 1 << 26,
		.linger_ms = 30000,
	});
}

/* Likewise a sibling: the guest gets the RST first. */
START_TEST(sibling_calls_before_the_rst)
{
	hear();
	set_max_connections(4 * N);
	take_calls();
	ck_assert_int_eq(call(&streams[N + CALLS], &callers[1]), 0);
	ck_assert_uint_eq(hear(), CALLS);
	ck_assert_int_eq(call(&streams[N + CALLS + 1], &callers[1]), BACKEND_E_NAME_TAKEN);
	say_to(&callers[1], VSOCK_OP_RESPONSE, PORT + N);
	ck_assert_uint_eq(hear(), 0);
	ck_assert_uint_eq(mux_next_deadline(mux), UINT64_MAX);
}
END_TEST

/* _i: the guest connects, or a host program. It may have the places of those that only wait. */
START_TEST(rsts_that_wait_make_room)
{
	enum { BATCH = 64 };
	struct mux_stats stats;

	hear();
	for (uint32_t i = 0; i < N; i++)
		ck_assert_uint_eq(close_one(i), 0);
	set_max_connections(N);
	for (uint32_t i = 0; i < BATCH; i++) {
		if (_i)
			ck_assert_int_eq(mux_connect_from_host(mux, &streams[N + i].base,
							       VSOCK_CID_HOST, 1, now_ms), 0);
		else
			say(VSOCK_OP_REQUEST, PORT + N + i);
		mux_get_stats(mux, &stats);
		ck_assert_uint_eq(stats.conns, N);
	}
	ck_assert_uint_eq(stats.refused, 0);
	ck_assert_uint_eq(hear(), N);
	mux_get_stats(mux, &stats);
	ck_assert_uint_eq(stats.conns, BATCH);
}
END_TEST

/* Likewise those which siblings may have. */
START_TEST(rsts_that_wait_make_room_for_siblings)
{
	hear();
	for (uint32_t i = 0; i < N; i++)
		say(VSOCK_OP_RST, PORT + i);
	set_max_connections(2 * CALLS);
	take_calls();
	for (int i = CALLS; i > 0; i--)
		ck_assert_int_eq(call(&streams[2 * N - i], &callers[i]), 0);
	ck_assert_int_eq(call(&streams[N + CALLS], &callers[0]), BACKEND_E_FULL);
	ck_assert_uint_eq(hear(), CALLS);
}
END_TEST

/* Where very many wait, an output takes some of them, and is followed by others. */
START_TEST(rsts_go_in_portions)
{
	struct rx_sink port = fake_rx_port(&rx);

	set_max_connections(4 * N);
	for (uint32_t i = N; i < 2 * N; i++)
		say(VSOCK_OP_REQUEST, PORT + i);
	hear();
	for (uint32_t i = 0; i < 2 * N; i++)
		say(VSOCK_OP_SHUTDOWN, PORT + i);
	ck_assert(!mux_has_output(mux));
	say(VSOCK_OP_RW, PORT + 2 * N);		/* of no connection: answered by RST */
	ck_assert_int_eq(mux_output(mux, &port, now_ms), MUX_E_MORE);
	ck_assert_uint_eq(mux_next_deadline(mux), now_ms + RST_WAIT_MS);
	hear();
	ck_assert_uint_eq(rx.n_ops[VSOCK_OP_RST], 2 * N + 1);
	ck_assert_uint_eq(mux_next_deadline(mux), UINT64_MAX);
}
END_TEST

/* What a sibling's guest says takes them along, though not at once. */
START_TEST(rsts_go_with_what_is_pushed)
{
	hear();
	ck_assert_uint_eq(close_one(0), 0);
	streams[1].n_more = 100;
	streams[1].base.ready |= STREAM_IN;
	mux_push(mux, &streams[1].base, now_ms);
	ck_assert_uint_eq(rx.n_ops[VSOCK_OP_RW], 0);
	mux_stream_ready(mux, &streams[1].base, now_ms);
	ck_assert_uint_eq(hear(), 1);
	ck_assert_uint_eq(rx.n_ops[VSOCK_OP_RW], 1);
	streams[1].n_more = 100;
	streams[1].base.ready |= STREAM_IN;
	mux_push(mux, &streams[1].base, now_ms);
	ck_assert_uint_eq(rx.n_ops[VSOCK_OP_RW], 2);
}
END_TEST

/* Where the guest has half of the connections that it may have, it has their places at once. */
START_TEST(rsts_of_many_do_not_wait)
{
	hear();
	say(VSOCK_OP_REQUEST, PORT + N);
	say(VSOCK_OP_REQUEST, PORT + N + 1);
	hear();
	ck_assert_uint_eq(close_one(0), 1);
	ck_assert_uint_eq(close_one(1), 1);
	ck_assert_uint_eq(close_one(2), 0);
}
END_TEST

/* What happens to one that waits: the guest's own RST, its reset, or what has it go. */
START_TEST(rsts_that_wait_end)
{
	hear();
	ck_assert_uint_eq(close_one(0), 0);
	say(VSOCK_OP_RST, PORT);
	ck_assert_uint_eq(mux_next_deadline(mux), UINT64_MAX);
	ck_assert_uint_eq(close_one(1), 0);
	ways[_i](mux, now_ms);
	while (mux_end_some(mux, now_ms))
		;
	mux_expire(mux, now_ms + RST_WAIT_MS);
	ck_assert_uint_eq(hear(), ways[_i] == mux_abort ? N - 1 : 0);
	ck_assert_uint_eq(mux_next_deadline(mux), UINT64_MAX);
}
END_TEST

void add_rst_cases(Suite *suite)
{
	TCase *tc = tcase_create("rsts");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, rsts_wait_for_company);
	tcase_add_test(tc, rsts_wait_in_vain);
	tcase_add_test(tc, rsts_wait_in_vain_together);
	tcase_add_loop_test(tc, begun_anew_before_the_rst, 0, 2);
	tcase_add_test(tc, sibling_calls_before_the_rst);
	tcase_add_loop_test(tc, rsts_that_wait_make_room, 0, 2);
	tcase_add_test(tc, rsts_that_wait_make_room_for_siblings);
	tcase_add_test(tc, rsts_go_in_portions);
	tcase_add_test(tc, rsts_go_with_what_is_pushed);
	tcase_add_test(tc, rsts_of_many_do_not_wait);
	tcase_add_loop_test(tc, rsts_that_wait_end, 0, COUNT(ways));
	suite_add_tcase(suite, tc);
}
