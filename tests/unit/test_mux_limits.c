/* SPDX-License-Identifier: BSD-3-Clause */
/* The rest of test_mux: limits that change under a running guest. */
#include "mux_cases.h"
#include "unit.h"
#include "vsock_script.h"

static struct script s;
static struct vsock_limits limits;

static void setup(void)
{
	script_init(&s, 4096);
	limits = (struct vsock_limits){
		.tx_buffer_size = SCRIPT_BUF_ALLOC, .max_connections = SCRIPT_MAX_CONNS,
		.max_buffered = 1 << 26, .linger_ms = SCRIPT_LINGER_MS,
	};
}

static void teardown(void)
{
	script_deinit(&s);
}

static void forget(void)
{
	s.trace.len = 0;
	s.trace.text[0] = '\0';
}

static void set(void)
{
	mux_set_limits(s.mux, &limits);
}

static uint64_t count_conns(void)
{
	struct mux_stats out;

	mux_get_stats(s.mux, &out);
	return out.conns;
}

/* The guest connects from a port of its own. True: it may. */
static bool connects(uint32_t port)
{
	s.conns[0].guest_port = port;
	script_run(&s, "req");
	return s.rx.last.op == VSOCK_OP_RESPONSE;
}

START_TEST(fewer_connections)
{
	ck_assert(connects(2000));
	ck_assert(connects(2001));
	ck_assert(connects(2002));
	limits.max_connections = 1;
	set();
	ck_assert_uint_eq(count_conns(), 3);	/* who is there stays */
	ck_assert(!connects(3000));
	s.conns[0].guest_port = 2000;
	script_run(&s, "rst");
	s.conns[0].guest_port = 2001;
	script_run(&s, "rst");
	ck_assert_uint_eq(count_conns(), 1);
	ck_assert(!connects(3000));
	s.conns[0].guest_port = 2002;
	script_run(&s, "rst");
	ck_assert(connects(3000));
	ck_assert(!connects(3001));
}
END_TEST

START_TEST(more_connections)
{
	for (uint32_t i = 0; i < SCRIPT_MAX_CONNS; i++)
		ck_assert(connects(2000 + i));
	ck_assert(!connects(3000));
	limits.max_connections++;
	set();
	ck_assert(connects(3000));
	ck_assert(!connects(3001));
}
END_TEST

/* Siblings have half of them, before and after. */
START_TEST(share_of_siblings)
{
	static const struct vsock_addr sibling = { 5, 700 };
	int r = 0;

	limits.max_connections = 6;
	set();
	for (int i = 0; i < 4; i++) {
		r = mux_connect_from_sibling(s.mux, &s.streams[i].base, &sibling,
					     1000 + (uint32_t)i, s.now_ms);
		ck_assert_int_eq(r, i < 3 ? 0 : BACKEND_E_FULL);
	}
	script_run(&s, "abort");
}
END_TEST

/* It is told the guest with each new connection; what it was promised before stands. */
START_TEST(other_buffers)
{
	script_run(&s, "req");
	ck_assert_uint_eq(s.rx.last.buf_alloc, SCRIPT_BUF_ALLOC);
	limits.tx_buffer_size = 4;
	set();
	script_run(&s, "b.req");
	ck_assert_uint_eq(s.rx.last.buf_alloc, 4);
	script_run(&s, "give:x");
	ck_assert_uint_eq(s.rx.last.buf_alloc, SCRIPT_BUF_ALLOC);
	limits.tx_buffer_size = 99;
	set();
	script_run(&s, "b.rst b.req");
	ck_assert_uint_eq(s.rx.last.buf_alloc, 99);
}
END_TEST

/* Less than there is in use: nobody loses anything, but there is no more. */
START_TEST(less_memory)
{
	script_run(&s, "req full rw:abcd b.req b.full");
	limits.max_buffered = 1;
	set();
	forget();
	script_run(&s, "b.rw:x");
	ck_assert_str_eq(script_trace(&s), "b.close b.RST");
	forget();
	script_run(&s, "takes:9");
	ck_assert_str_eq(script_trace(&s), "<abcd CREDIT_UPDATE");
	limits.max_buffered = 1 << 20;
	set();
	forget();
	script_run(&s, "b.req b.full b.rw:xy b.takes:9");
	ck_assert_str_eq(script_trace(&s), "b.RESPONSE b.<xy");
}
END_TEST

static const struct {
	uint32_t linger_ms;
	const char *before, *after;		/* until the first is given up; until the second */
} lingers[] = {
	{ 1000, "+799", "+1 +199" },		/* two that have drained for 200 ms and for none */
	{ 200, "", "+0 +199" },
	{ 100, "", "+0 +99" },
	{ 60000, "+59799", "+1 +199" },
};

/* Those that drain have the new time, from when they began. */
START_TEST(other_linger)
{
	script_run(&s, "req full rw:ab b.req b.full b.rw:cd shut:b +200 b.shut:b");
	forget();
	limits.linger_ms = lingers[_i].linger_ms;
	set();
	script_run(&s, lingers[_i].before);
	ck_assert_str_eq(script_trace(&s), "");
	script_run(&s, lingers[_i].after);
	ck_assert_str_eq(script_trace(&s), "close RST");
	forget();
	script_run(&s, "+1");
	ck_assert_str_eq(script_trace(&s), "b.close b.RST");
	ck_assert_uint_eq(mux_next_deadline(s.mux), UINT64_MAX);
}
END_TEST

void add_limit_cases(Suite *suite)
{
	TCase *tc = tcase_create("limits");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, fewer_connections);
	tcase_add_test(tc, more_connections);
	tcase_add_test(tc, share_of_siblings);
	tcase_add_test(tc, other_buffers);
	tcase_add_test(tc, less_memory);
	tcase_add_loop_test(tc, other_linger, 0, COUNT(lingers));
	suite_add_tcase(suite, tc);
}
