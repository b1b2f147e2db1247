/* SPDX-License-Identifier: BSD-3-Clause */
/* The rest of test_mux: all connections aborted; and siblings, whose streams come
 * with an address of their own. */
#include <string.h>

#include "mux_cases.h"
#include "unit.h"
#include "util/error.h"
#include "vsock_script.h"

static struct script s;

static void setup(void)
{
	script_init(&s, 4096);
}

static void teardown(void)
{
	script_deinit(&s);
}

static struct mux_stats stats(void)
{
	struct mux_stats out;

	mux_get_stats(s.mux, &out);
	return out;
}

struct trace_case {
	const char *script, *trace;
};

static void check_trace(const struct trace_case *c)
{
	script_run(&s, c->script);
	ck_assert_msg(strcmp(script_trace(&s), c->trace) == 0, "'%s' gave '%s', not '%s'",
		      c->script, script_trace(&s), c->trace);
}

/* The host's side ends at once; the guest is told when it gives buffers. */
static const struct trace_case abort_cases[] = {
	{ "abort", "" },
	{ "req starve abort feed:9", "RESPONSE close RST" },
	{ "starve req abort feed:9", "close RST" },
	{ "pending req starve abort feed:9", "close RST" },
	{ "connect starve abort feed:9", "REQUEST close RST" },
	{ "starve connect abort feed:9", "close" },	/* the guest never knew of it */
	{ "req closed starve abort feed:9", "RESPONSE close SHUTDOWN(b) RST" },
	{ "req starve abort rw:x feed:9", "RESPONSE close RST" },
	{ "req starve abort rst feed:9", "RESPONSE close" },
	{ "req starve abort abort feed:9", "RESPONSE close RST" },
	/* What the guest had sent is drained first. */
	{ "req full rw:ab starve abort takes:9 feed:9", "RESPONSE <ab close RST" },
	{ "req full rw:ab starve abort feed:9 +30000", "RESPONSE close RST" },
	{ "req full rw:ab starve abort abort takes:9 feed:9", "RESPONSE <ab close RST" },
	{ "req full rw:ab starve abort reset takes:9 feed:9", "RESPONSE <ab close" },
	{ "req full rw:ab shut:b starve abort takes:9 feed:9",
	  "RESPONSE shut_rd <ab close RST" },
	/* Nothing is read any more, and the guest may begin anew. */
	{ "req starve give:x abort feed:9", "RESPONSE close RST" },
	{ "req starve abort feed:9 req", "RESPONSE close RST RESPONSE" },
};

START_TEST(aborts)
{
	check_trace(&abort_cases[_i]);
}
END_TEST

static const struct vsock_addr sibling = { 5, 700 };

static int sibling_connects(int i, const struct vsock_addr *from, uint32_t port)
{
	return from ? mux_connect_from_sibling(s.mux, &s.streams[i].base, from, port, s.now_ms) :
		mux_connect_from_host(s.mux, &s.streams[i].base, VSOCK_CID_HOST, port, s.now_ms);
}

static void expect_conns(uint64_t n)
{
	script_run(&s, "feed:10");
	ck_assert_uint_eq(stats().conns, n);
}

START_TEST(sibling_speaks_in_its_own_name)
{
	ck_assert_int_eq(sibling_connects(0, &sibling, 1024), 0);
	script_run(&s, "feed:10");
	ck_assert_uint_eq(s.rx.last.op, VSOCK_OP_REQUEST);
	ck_assert_uint_eq(s.rx.last.src.cid, 5);
	ck_assert_uint_eq(s.rx.last.src.port, 700);
	ck_assert_uint_eq(s.rx.last.dst.port, 1024);
	script_run(&s, "resp");			/* of the host's 2:80: no such connection */
	ck_assert_uint_eq(stats().stray, 1);
	s.conns[0].peer = sibling;
	script_run(&s, "dst:5 resp rw:hello");
	ck_assert_uint_eq(s.streams[0].n_written, 5);
}
END_TEST

START_TEST(sibling_name_in_use)
{
	static const struct {
		struct vsock_addr from;
		uint32_t port;
		int result;
	} rows[] = {
		{ { 5, 700 }, 1024, 0 }, { { 5, 700 }, 1024, BACKEND_E_NAME_TAKEN },
		{ { 6, 700 }, 1024, 0 }, { { 5, 701 }, 1024, BACKEND_E_FULL },
	};

	for (int i = 0; i < COUNT(rows); i++) {
		ck_assert_int_eq(sibling_connects(i, &rows[i].from, rows[i].port), rows[i].result);
		ck_assert(!s.streams[i].is_closed);
		ck_assert(!s.streams[i].base.conn == (rows[i].result != 0));
	}
	expect_conns(2);
}
END_TEST

/* The guest has the name already, by a connection that it began itself. */
START_TEST(sibling_name_taken_by_the_guest)
{
	struct fake_backend five;

	fake_backend_init(&five, 5, s.streams, SCRIPT_STREAMS);
	mux_add_backend(s.mux, &five.base);
	s.conns[0].peer.port = 700;
	script_run(&s, "dst:5 req");
	ck_assert_uint_eq(five.n_connects, 1);
	ck_assert_int_eq(sibling_connects(1, &sibling, 1024), BACKEND_E_NAME_TAKEN);
	ck_assert_int_eq(sibling_connects(1, &sibling, 1025), 0);
	expect_conns(2);
}
END_TEST

START_TEST(siblings_get_half)
{
	struct vsock_addr from = sibling;

	for (int i = 0; i < SCRIPT_MAX_CONNS / 2; i++, from.port++)
		ck_assert_int_eq(sibling_connects(i, &from, 1024), 0);
	ck_assert_int_eq(sibling_connects(2, &from, 1024), BACKEND_E_FULL);
	ck_assert_int_eq(sibling_connects(2, NULL, 1024), 0);
	ck_assert_int_eq(sibling_connects(3, NULL, 1024), 0);
	ck_assert_int_eq(sibling_connects(4, NULL, 1024), BACKEND_E_FULL);
	script_run(&s, "feed:10");
	s.conns[0].peer = sibling;
	script_run(&s, "dst:5 rst");		/* one of theirs ends */
	ck_assert_int_eq(sibling_connects(5, &from, 1024), 0);
	from.port++;
	ck_assert_int_eq(sibling_connects(6, &from, 1024), BACKEND_E_FULL);
}
END_TEST

/* The host may take all: siblings then find nothing. */
START_TEST(siblings_have_no_reserve)
{
	for (int i = 0; i < SCRIPT_MAX_CONNS; i++)
		ck_assert_int_eq(sibling_connects(i, NULL, 1024), 0);
	ck_assert_int_eq(sibling_connects(4, &sibling, 1024), BACKEND_E_FULL);
	mux_reset(s.mux, s.now_ms);
	ck_assert_int_eq(sibling_connects(4, &sibling, 1024), 0);
}
END_TEST

START_TEST(sibling_of_no_guest)
{
	mux_set_running(s.mux, false);
	ck_assert_int_eq(sibling_connects(0, &sibling, 1024), BACKEND_E_NO_GUEST);
	ck_assert(!s.streams[0].is_closed);
	mux_set_running(s.mux, true);
	ck_assert_int_eq(sibling_connects(0, &sibling, 1024), 0);
	script_run(&s, "+2000");		/* and no answer */
	ck_assert(s.streams[0].is_closed);
	ck_assert(!s.streams[0].is_orderly);
	expect_conns(0);
}
END_TEST

static const struct trace_case push_cases[] = {
	{ "req push:abc push:de", "RESPONSE [ RW(abc) ] [ RW(de) ]" },
	{ "req keep_rx push:abc", "RESPONSE RW(abc)" },
	{ "req starve push:abc push:de feed:9", "RESPONSE [ ] RW(abcde)" },
	/* Who has waited for buffers comes first: data of this connection, others, an RST. */
	{ "req starve give:ab push:cd feed:9", "RESPONSE RW(abcd)" },
	{ "req b.req starve b.give:x push:abc feed:9", "RESPONSE b.RESPONSE RW(abc) b.RW(x)" },
	{ "req starve dst:9 rw:x dst:2 push:abc feed:9", "RESPONSE RST RW(abc)" },
	{ "starve req push:abc feed:9", "RESPONSE RW(abc)" },
	/* No more than the guest has room for, and nothing that it does not want. */
	{ "credit:2,0 req push:abcd credit:2,2 update",
	  "RESPONSE [ RW(ab) CREDIT_REQUEST ] RW(cd) CREDIT_REQUEST" },
	{ "req shut:r push:abc", "RESPONSE shut_rd" },
};

START_TEST(pushed)
{
	check_trace(&push_cases[_i]);
}
END_TEST

static const struct end_case {
	const char *script;
	bool is_orderly;
} end_cases[] = {
	{ "req rw:abc shut:b", true },
	{ "req full rw:abc shut:b takes:9", true },
	{ "req full rw:abc shut:b deaf:no_reader", true },	/* it does not want the rest */
	{ "req full rw:abc shut:b deaf:105", false },	/* it could not be had */
	{ "req full rw:abc shut:b +30000", false },
	{ "req full rw:abc deaf:105", false },
	{ "req rw:abc rst", false },
};

/* What a sibling hears: an end, or a reset because something is missing. */
START_TEST(ends)
{
	script_run(&s, end_cases[_i].script);
	ck_assert(s.streams[0].is_closed);
	ck_assert_int_eq(s.streams[0].is_orderly, end_cases[_i].is_orderly);
}
END_TEST

START_TEST(all_are_aborted)
{
	for (uint32_t i = 0; i < SCRIPT_MAX_CONNS; i++) {
		s.conns[0].guest_port = 2000 + i;
		script_run(&s, "req");
	}
	ck_assert(mux_abort(s.mux, s.now_ms));
	for (int i = 0; i < SCRIPT_MAX_CONNS; i++)
		ck_assert(s.streams[i].is_closed && !s.streams[i].is_orderly);
	script_run(&s, "feed:10");
	ck_assert_uint_eq(s.rx.n_ops[VSOCK_OP_RST], SCRIPT_MAX_CONNS);
	ck_assert(!mux_abort(s.mux, s.now_ms));
	ck_assert_uint_eq(stats().conns, 0);
}
END_TEST

void add_sibling_cases(Suite *suite)
{
	TCase *tc = tcase_create("siblings");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_loop_test(tc, aborts, 0, COUNT(abort_cases));
	tcase_add_loop_test(tc, ends, 0, COUNT(end_cases));
	tcase_add_loop_test(tc, pushed, 0, COUNT(push_cases));
	tcase_add_test(tc, all_are_aborted);
	tcase_add_test(tc, sibling_speaks_in_its_own_name);
	tcase_add_test(tc, sibling_name_in_use);
	tcase_add_test(tc, sibling_name_taken_by_the_guest);
	tcase_add_test(tc, siblings_get_half);
	tcase_add_test(tc, siblings_have_no_reserve);
	tcase_add_test(tc, sibling_of_no_guest);
	suite_add_tcase(suite, tc);
}
