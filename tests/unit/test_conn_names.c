/* SPDX-License-Identifier: BSD-3-Clause */
/* Names that outlive the process: what the next one makes of them. That each connection has
 * one for as long as the guest may know of it, is checked after each word of any script. */
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "unit.h"
#include "util/error.h"
#include "vsock/mux_internal.h"
#include "vsock_script.h"

static_assert(offsetof(struct conn_names_area, rows) == 8, "as another version knows it");
static_assert(offsetof(struct conn_name, type) == 4 &&
	      offsetof(struct conn_name, guest_port) == 8 &&
	      offsetof(struct conn_name, peer_port) == 12 &&
	      offsetof(struct conn_name, peer_cid) == 16, "likewise");

enum { ROWS_MAX = 1000 };

static struct script s;

/* What the script's process leaves, and the mux of the one after it. */
static struct conn_names_area *left;
static size_t left_size;
static struct mux *next;

static void setup(void)
{
	script_init(&s, 4096);
	left_size = sizeof *left + ROWS_MAX * sizeof *left->rows;
	left = calloc(1, left_size);
	ck_assert_ptr_nonnull(left);
	ck_assert_int_eq(mux_new(&next, &s.mux->config), 0);
	mux_set_running(next, true);
}

static void teardown(void)
{
	mux_free(next);
	script_deinit(&s);
	free(left);
}

static void expect(const char *trace)
{
	ck_assert_str_eq(script_trace(&s), trace);
	s.trace.len = 0;
	s.trace.text[0] = '\0';
}

static unsigned count_used(void)
{
	unsigned n = 0;

	for (size_t i = 0; i < (left_size - sizeof *left) / sizeof *left->rows; i++)
		n += left->rows[i].is_used != 0;
	return n;
}

static void crash(void)
{
	left_size = mux_names_size(SCRIPT_MAX_CONNS);
	memcpy(left, s.area, left_size);
}

static void output(size_t n_bufs)
{
	struct rx_sink port = fake_rx_port(&s.rx);

	s.rx.left = n_bufs;
	while (mux_output(next, &port, s.now_ms) == MUX_E_MORE)
		;
}

struct crash_case {
	const char *script, *trace;		/* of the next process */
};

static const struct crash_case crash_cases[] = {
	{ "", "" },
	{ "req", "RST" },
	{ "req b.req", "RST b.RST" },
	{ "req b.req rst", "b.RST" },
	{ "pending req", "RST" },
	{ "connect", "RST" },
	{ "starve connect", "RST" },		/* the guest does not mind */
	{ "connect resp give:x", "RST" },
	{ "req full rw:x shut:b", "RST" },
	{ "req full rw:x rst", "" },		/* the guest has forgotten it */
	{ "req closed", "RST" },
	{ "req closed shut:b", "" },
	{ "req starve req", "RST" },		/* it was to be reset already */
	{ "starve rw:x", "RST" },		/* as was the answer to a stray packet, ... */
	{ "refuse:111 starve req b.req", "RST b.RST" },	/* ... or to a connect that failed */
	{ "refuse:111 req", "" },
	{ "req b.req reset", "" },
	{ "req starve abort", "RST" },
	{ "req reset req", "RST" },
	{ "starve rw:x reset", "" },
	{ "seq req", "RST" },
	{ "seq connect resp give:x", "RST" },
	{ "seq req full eom:x shut:b", "RST" },
	{ "seq req full eom:x rst", "" },
	{ "seq starve eom:x", "RST" },
};

START_TEST(crashes)
{
	const struct crash_case *c = &crash_cases[_i];

	script_run(&s, c->script);
	crash();
	s.trace.len = 0;
	s.trace.text[0] = '\0';
	ck_assert_int_eq(mux_load_names(next, left, left_size, false, s.now_ms), 0);
	expect("");
	output(9);
	ck_assert_msg(strcmp(script_trace(&s), c->trace) == 0, "after '%s' came '%s', not '%s'",
		      c->script, script_trace(&s), c->trace);
	ck_assert_uint_eq(count_used(), 0);	/* each was told */
	ck_assert_uint_eq(next->n_conns, 0);
}
END_TEST

/* Crashed once more before the guest took its RSTs. */
START_TEST(crashes_twice)
{
	struct mux *second = next;

	script_run(&s, "req b.req starve rw:x rst rw:x");
	crash();
	ck_assert_uint_eq(count_used(), 2);
	ck_assert_int_eq(mux_new(&next, &s.mux->config), 0);
	ck_assert_int_eq(mux_load_names(second, left, left_size, false, s.now_ms), 0);
	ck_assert_uint_eq(count_used(), 2);
	{
		struct conn_names_area *area = malloc(left_size);

		ck_assert_ptr_nonnull(area);
		memcpy(area, left, left_size);
		mux_free(second);
		memcpy(left, area, left_size);
		free(area);
	}
	s.trace.len = 0;
	ck_assert_int_eq(mux_load_names(next, left, left_size, false, s.now_ms), 0);
	output(1);
	ck_assert_uint_eq(count_used(), 1);
	output(1);
	ck_assert_uint_eq(count_used(), 0);
	ck_assert_uint_eq(s.rx.n_ops[VSOCK_OP_RST], 2);
}
END_TEST

static void leave_row(uint32_t i, uint32_t type, uint32_t guest_port, uint64_t peer_cid)
{
	left->rows[i].type = type;
	left->rows[i].guest_port = guest_port;
	left->rows[i].peer_port = 80;
	left->rows[i].peer_cid = peer_cid;
	left->rows[i].is_used = 1;
}

/* The guest knows them by their type. */
START_TEST(types_are_kept)
{
	static const uint16_t types[] = { VSOCK_TYPE_STREAM, VSOCK_TYPE_SEQPACKET };

	for (size_t i = 0; i < COUNT(types); i++)
		leave_row((uint32_t)i, types[i], 1024 + (uint32_t)i, 2);
	ck_assert_int_eq(mux_load_names(next, left, left_size, false, s.now_ms), 0);
	ck_assert_uint_eq(next->n_conns, 2);
	for (size_t i = 0; i < COUNT(types); i++) {
		const struct conn *c = conn_table_find(&next->table, 1024 + (uint32_t)i,
						       &(struct vsock_addr){ 2, 80 });

		ck_assert_ptr_nonnull(c);
		ck_assert_int_eq(conn_type(c), types[i]);
		ck_assert_int_eq(c->end, CONN_END_LOST);
		ck_assert_uint_eq(left->rows[c->mux.name].type, types[i]);
	}
	for (size_t i = 0; i < COUNT(types); i++) {
		uint32_t port;

		output(1);
		ck_assert_int_eq(s.rx.last.op, VSOCK_OP_RST);
		port = s.rx.last.dst.port;
		ck_assert_int_eq(s.rx.last.type, types[port - 1024]);
	}
	ck_assert_uint_eq(count_used(), 0);
}
END_TEST

/* What is written down while a connection lives. */
START_TEST(types_are_written_down)
{
	script_run(&s, "seq req type:1 b.req");
	ck_assert_uint_eq(s.area->rows[0].type, VSOCK_TYPE_SEQPACKET);
	ck_assert_uint_eq(s.area->rows[1].type, VSOCK_TYPE_STREAM);
	crash();
	ck_assert_int_eq(mux_load_names(next, left, left_size, false, s.now_ms), 0);
	output(1);
	ck_assert_int_eq(s.rx.last.type, s.rx.last.dst.port == 1024 ? VSOCK_TYPE_SEQPACKET :
			 VSOCK_TYPE_STREAM);
	output(1);
	ck_assert_int_eq(s.rx.last.type, s.rx.last.dst.port == 1024 ? VSOCK_TYPE_SEQPACKET :
			 VSOCK_TYPE_STREAM);
}
END_TEST

/* The names of new connections are kept beside those that were left. */
START_TEST(goes_on)
{
	static struct fake_stream stream;
	struct fake_backend backend;
	struct iov_cur none = { .left = 0 };
	struct pkt request = {
		.src = { 3, 2000 }, .dst = { VSOCK_CID_HOST, 80 }, .type = VSOCK_TYPE_STREAM,
		.op = VSOCK_OP_REQUEST,
	};

	script_run(&s, "req");
	crash();
	fake_stream_init(&stream, NULL, "");
	fake_backend_init(&backend, VSOCK_CID_HOST, &stream, 1);
	mux_add_backend(next, &backend.base);
	ck_assert_int_eq(mux_load_names(next, left, left_size, false, s.now_ms), 0);
	mux_input(next, &request, &none, s.now_ms);
	ck_assert_uint_eq(count_used(), 2);
	ck_assert_uint_eq(left->rows[1].guest_port, 2000);
	output(9);
	ck_assert_uint_eq(count_used(), 1);
	ck_assert_uint_eq(left->rows[0].is_used, 0);
}
END_TEST

/* ---- what somebody wrote who means harm ---- */

START_TEST(duplicates)
{
	for (uint32_t i = 0; i < ROWS_MAX; i++)
		leave_row(i, VSOCK_TYPE_STREAM, i % 3, 2);
	ck_assert_int_eq(mux_load_names(next, left, left_size, false, s.now_ms), 0);
	ck_assert_uint_eq(next->n_conns, 3);
	ck_assert_uint_eq(count_used(), 3);
	output(ROWS_MAX);
	ck_assert_uint_eq(s.rx.n_ops[VSOCK_OP_RST], 3);
}
END_TEST

/* More than there can have been: as many as there may be are told, the caller has to tell
 * the rest. */
START_TEST(too_many)
{
	for (uint32_t i = 0; i < ROWS_MAX; i++)
		leave_row(i, VSOCK_TYPE_STREAM, i, 2);
	ck_assert_int_eq(mux_load_names(next, left, left_size, false, s.now_ms), MUX_E_NAMES_LOST);
	ck_assert_uint_eq(next->n_conns, SCRIPT_MAX_CONNS);
	ck_assert_uint_eq(next->replies.n, REPLIES_MAX);
	ck_assert_uint_eq(count_used(), SCRIPT_MAX_CONNS + REPLIES_MAX);
	output(ROWS_MAX);
	ck_assert_uint_eq(s.rx.n_ops[VSOCK_OP_RST], SCRIPT_MAX_CONNS + REPLIES_MAX);
	ck_assert_uint_eq(count_used(), 0);
}
END_TEST

START_TEST(garbage)
{
	uint32_t seed = 1;

	for (size_t i = 0; i < left_size; i++) {
		seed = seed * 1103515245 + 12345;
		((uint8_t *)left)[i] = (uint8_t)(seed >> 16);
	}
	leave_row(7, VSOCK_TYPE_STREAM, 1024, 2);
	leave_row(8, VSOCK_TYPE_SEQPACKET, 1026, 2);
	leave_row(9, 77, 1025, UINT64_MAX);
	ck_assert_int_eq(mux_load_names(next, left, left_size, false, s.now_ms), MUX_E_NAMES_LOST);
	ck_assert_uint_eq(count_used(), 3);
	ck_assert_uint_eq(left->n_unnamed, 0);
	output(ROWS_MAX);
	ck_assert_uint_eq(s.rx.n_ops[VSOCK_OP_RST], 3);
	ck_assert_uint_eq(count_used(), 0);
}
END_TEST

/* An area that is too small says so, for as long as it is. */
START_TEST(too_small)
{
	struct mux *first = next;

	left_size = sizeof *left + sizeof *left->rows;
	leave_row(0, VSOCK_TYPE_STREAM, 1, 2);
	for (uint32_t i = 1; i < 4; i++)
		leave_row(i, VSOCK_TYPE_STREAM, i, 2);	/* beyond */
	ck_assert_int_eq(mux_load_names(first, left, left_size, false, s.now_ms), 0);
	ck_assert_uint_eq(first->n_conns, 1);
	for (uint32_t i = 0; i < 3; i++) {	/* strays: their RSTs have names too */
		struct iov_cur none = { .left = 0 };
		struct pkt pkt = {
			.src = { 3, 50 + i }, .dst = { 2, 80 }, .type = VSOCK_TYPE_STREAM,
			.op = VSOCK_OP_CREDIT_UPDATE,
		};

		mux_input(first, &pkt, &none, s.now_ms);
	}
	ck_assert_uint_eq(left->n_unnamed, 3);
	{
		struct conn_names_area *area = malloc(left_size);

		ck_assert_ptr_nonnull(area);
		memcpy(area, left, left_size);
		ck_assert_int_eq(mux_new(&next, &s.mux->config), 0);
		ck_assert_int_eq(mux_load_names(next, area, left_size, false, s.now_ms),
				 MUX_E_NAMES_LOST);
		ck_assert_uint_eq(next->n_conns, 1);
		ck_assert_uint_eq(area->n_unnamed, 0);
		mux_free(next);
		free(area);
	}
	next = first;
	output(ROWS_MAX);
	ck_assert_uint_eq(left->n_unnamed, 0);
	ck_assert_uint_eq(s.rx.n_ops[VSOCK_OP_RST], 4);
}
END_TEST

static const struct vsock_addr peer = { 2, 80 };

/* Of a new area just those pages come to be that have names. */
START_TEST(new_area)
{
	enum { PAGES = 16, NAMES = 100 };
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	char *at = mmap(NULL, PAGES * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			-1, 0);
	struct conn_names names;
	uint32_t n;

	ck_assert_ptr_ne(at, MAP_FAILED);
	ck_assert_int_eq(mprotect(at + page, (PAGES - 1) * page, PROT_NONE), 0);
	conn_names_init(&names);
	ck_assert_int_eq(conn_names_open(&names, (struct conn_names_area *)(void *)at, PAGES * page,
					 true, &n), 0);
	for (int round = 0; round < 3; round++) {
		for (uint32_t i = 0; i < NAMES; i++)
			ck_assert_uint_lt(conn_names_add(&names, VSOCK_TYPE_STREAM, i, &peer), NAMES);
		for (uint32_t i = 0; i < NAMES; i++)
			conn_names_drop(&names, i);
	}
	conn_names_deinit(&names);
	munmap(at, PAGES * page);
}
END_TEST

/* _i: it is new; all of its rows are of use, and no more than these. */
START_TEST(as_many_as_there_are)
{
	enum { ROWS = 37 };
	struct conn_names names;
	uint32_t n;

	conn_names_init(&names);
	ck_assert_int_eq(conn_names_open(&names, left, conn_names_size(ROWS), _i, &n), 0);
	for (int round = 0; round < 3; round++) {
		bool is_taken[ROWS] = { false };

		for (uint32_t i = 0; i < ROWS; i++) {
			uint32_t row = conn_names_add(&names, VSOCK_TYPE_STREAM, i, &peer);

			ck_assert_uint_lt(row, ROWS);
			ck_assert(!is_taken[row]);
			is_taken[row] = true;
		}
		ck_assert_uint_eq(conn_names_add(&names, VSOCK_TYPE_STREAM, ROWS, &peer),
				  CONN_NO_NAME);
		conn_names_drop(&names, CONN_NO_NAME);
		for (uint32_t i = 0; i < ROWS; i++)
			conn_names_drop(&names, (i * 5 + 3) % ROWS);
		ck_assert_uint_eq(count_used(), 0);
	}
	conn_names_deinit(&names);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("conn_names");
	TCase *tc = tcase_create("conn_names");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_loop_test(tc, crashes, 0, COUNT(crash_cases));
	tcase_add_test(tc, crashes_twice);
	tcase_add_test(tc, types_are_kept);
	tcase_add_test(tc, types_are_written_down);
	tcase_add_test(tc, goes_on);
	tcase_add_test(tc, duplicates);
	tcase_add_test(tc, too_many);
	tcase_add_test(tc, garbage);
	tcase_add_test(tc, too_small);
	tcase_add_test(tc, new_area);
	tcase_add_loop_test(tc, as_many_as_there_are, 0, 2);
	suite_add_tcase(suite, tc);
	return unit_main(suite);
}
