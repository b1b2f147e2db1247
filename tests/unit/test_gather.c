/* SPDX-License-Identifier: BSD-3-Clause */
/* Payload gathered for one write: what is written, when, and what of it is copied. */
#include "vsock/gather.h"

#include <sys/socket.h>

#include "unit.h"
#include "util/error.h"
#include "util/list.h"
#include "vsock/conn.h"

enum { SMALL = 100, LARGE = 4096, BUF_ALLOC = 1 << 20, SEEN_MAX = 4 << 20 };

/* A host program that takes everything and keeps it. */
struct sink {
	struct stream base;
	size_t n_writes, n, iovs_max;
	char bytes[SEEN_MAX];
};

static struct sink sink;
static struct gather_scratch scratch;
static struct gather gather;
static struct byte_budget *budget;
static struct conn *conn;
static bool is_lost;
static char source[256 * 1024];
static size_t n_added;

static int sink_write(struct stream *base, const struct iovec *v, int nv, size_t *n)
{
	struct sink *s = container_of(base, struct sink, base);

	*n = 0;
	ck_assert_int_le(nv, GATHER_IOVS);
	for (int i = 0; i < nv; i++) {
		ck_assert_uint_gt(v[i].iov_len, 0);
		ck_assert_uint_le(s->n + v[i].iov_len, SEEN_MAX);
		memcpy(s->bytes + s->n, v[i].iov_base, v[i].iov_len);
		s->n += v[i].iov_len;
		*n += v[i].iov_len;
	}
	s->n_writes++;
	if ((size_t)nv > s->iovs_max)
		s->iovs_max = (size_t)nv;
	return 0;
}

static int sink_shutdown(struct stream *base, int how)
{
	(void)base, (void)how;
	return 0;
}

static void sink_wait_for(struct stream *base, unsigned events)
{
	(void)base, (void)events;
}

static void sink_close(struct stream *base, bool is_orderly)
{
	(void)base, (void)is_orderly;
}

static const struct stream_ops sink_ops = {
	.write = sink_write, .shutdown = sink_shutdown, .wait_for = sink_wait_for,
	.close = sink_close,
};

static bool ask_whether_lost(void *ctx)
{
	ck_assert_ptr_eq(ctx, &gather);
	return is_lost;
}

static void setup(void)
{
	const struct vsock_addr guest = { 3, 1024 }, peer = { VSOCK_CID_HOST, 80 };
	const struct pkt request = {
		.src = guest, .dst = peer, .type = VSOCK_TYPE_STREAM, .op = VSOCK_OP_REQUEST,
		.buf_alloc = 65536,
	};

	sink = (struct sink){ .base = { .ops = &sink_ops, .ready = STREAM_OUT,
				  .type = VSOCK_TYPE_STREAM } };
	gather = (struct gather){
		.scratch = &scratch, .is_lost = ask_whether_lost, .ctx = &gather,
	};
	gather_clear(&gather);
	is_lost = false;
	n_added = 0;
	budget = byte_budget_new(BUF_ALLOC);
	conn = conn_new(&guest, &peer, &sink.base, BUF_ALLOC, budget);
	ck_assert_ptr_nonnull(conn);
	conn_begin_connecting(conn, &request);
	conn_connected(conn, &sink.base);
	ck_assert_int_eq(conn->state, CONN_OPEN);
	for (size_t i = 0; i < sizeof source; i++)
		source[i] = (char)(i * 7 + i / 251);
}

static void teardown(void)
{
	conn_free(conn);
	byte_budget_unref(budget);
}

/* The next @len bytes of the source, in iovecs of @piece bytes. */
static void add_cut(size_t len, size_t piece)
{
	static struct iovec iov[4096];
	struct iov_cur cur;
	size_t n = 0;

	for (size_t at = 0; at < len; at += piece)
		iov[n++] = (struct iovec){
			source + n_added + at, len - at < piece ? len - at : piece,
		};
	iov_cur_init(&cur, iov, n);
	gather_add(&gather, conn, &cur, len, 0);
	ck_assert_uint_eq(cur.left, 0);
	n_added += len;
}

static void add(size_t len)
{
	add_cut(len, len);
}

/* All that was added has been written, in order. */
static void check_written(void)
{
	ck_assert_uint_eq(sink.n, n_added);
	ck_assert_mem_eq(sink.bytes, source, n_added);
}

START_TEST(one_write)
{
	add(SMALL);
	add(LARGE);
	add(1);
	add(LARGE);
	add(LARGE);
	ck_assert_uint_eq(sink.n_writes, 0);
	ck_assert_ptr_eq(gather_flush(&gather), conn);
	ck_assert_uint_eq(sink.n_writes, 1);
	check_written();
}
END_TEST

START_TEST(nothing_to_flush)
{
	ck_assert_ptr_null(gather_flush(&gather));
	add(SMALL);
	ck_assert_ptr_eq(gather_flush(&gather), conn);
	ck_assert_ptr_null(gather_flush(&gather));
	ck_assert_uint_eq(sink.n_writes, 1);
}
END_TEST

/* Small payloads are one iovec, however many, and however they are cut. */
START_TEST(small_ones_share_an_iovec)
{
	for (int i = 0; i < 200; i++)
		add_cut(SMALL, 7);
	gather_flush(&gather);
	ck_assert_uint_eq(sink.n_writes, 1);
	ck_assert_uint_eq(sink.iovs_max, 1);
	check_written();
	add(SMALL);				/* and again from the begin */
	gather_flush(&gather);
	check_written();
}
END_TEST

/* What is small is ours once it is added; what is large stays where it lies. */
START_TEST(copied_or_described)
{
	add(SMALL);
	source[0] ^= 1;
	gather_flush(&gather);
	ck_assert_int_eq(sink.bytes[0], source[0] ^ 1);
	add(LARGE);
	source[SMALL] ^= 1;
	gather_flush(&gather);
	ck_assert_int_eq(sink.bytes[SMALL], source[SMALL]);
}
END_TEST

/* More iovecs than one write takes: what is full is written, and it goes on. */
START_TEST(iovecs_run_out)
{
	for (int i = 0; i < 60; i++)
		add_cut(4 * 513, 60);		/* 35 iovecs each */
	ck_assert_uint_ge(sink.n_writes, 1);
	gather_flush(&gather);
	ck_assert_uint_eq(sink.iovs_max, GATHER_IOVS);
	check_written();
}
END_TEST

/* Just as many, and a small one after them. */
START_TEST(iovecs_are_used_up)
{
	add_cut(GATHER_IOVS * 60, 60);
	add(SMALL);
	gather_flush(&gather);
	check_written();
}
END_TEST

/* One payload of more iovecs than that. */
START_TEST(one_of_too_many_iovecs)
{
	add_cut(GATHER_IOVS * 2 + 500, 1);
	gather_flush(&gather);
	ck_assert_uint_le(sink.iovs_max, GATHER_IOVS);
	ck_assert_uint_eq(sink.n_writes, 3);
	check_written();
}
END_TEST

START_TEST(room_for_small_ones_runs_out)
{
	for (size_t n = 0; n < GATHER_SMALLS + 10 * SMALL; n += SMALL)
		add(SMALL);
	gather_flush(&gather);
	ck_assert_uint_eq(sink.n_writes, 1);
	check_written();
}
END_TEST

/* More bytes than a socket takes at once are not held back for the end of the batch. */
START_TEST(many_bytes_go_early)
{
	for (int i = 0; i < 4; i++)
		add(60000);
	ck_assert_uint_ge(sink.n_writes, 1);
	gather_flush(&gather);
	ck_assert_uint_le(sink.n_writes, 3);
	check_written();
}
END_TEST

START_TEST(cleared)
{
	add(SMALL);
	add(LARGE);
	gather_clear(&gather);
	ck_assert_ptr_null(gather_flush(&gather));
	ck_assert_uint_eq(sink.n_writes, 0);
}
END_TEST

/* Guest memory was lost: what was gathered is not what the guest sent. */
START_TEST(memory_is_lost)
{
	add(SMALL);
	add(LARGE);
	is_lost = true;
	ck_assert_ptr_eq(gather_flush(&gather), conn);
	ck_assert_uint_eq(sink.n_writes, 0);
	is_lost = false;
	ck_assert_ptr_null(gather_flush(&gather));
}
END_TEST

/* One that is no longer open is sent nothing. */
START_TEST(connection_has_ended)
{
	struct iov_cur cur;

	conn_reset(conn, CONN_END_PROTOCOL);
	iov_cur_init(&cur, &(struct iovec){ source, LARGE }, 1);
	gather_add(&gather, conn, &cur, LARGE, 0);
	ck_assert_ptr_null(gather_flush(&gather));
	ck_assert_uint_eq(sink.n_writes, 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("gather");
	TCase *tc = tcase_create("gather");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, one_write);
	tcase_add_test(tc, nothing_to_flush);
	tcase_add_test(tc, small_ones_share_an_iovec);
	tcase_add_test(tc, copied_or_described);
	tcase_add_test(tc, iovecs_run_out);
	tcase_add_test(tc, iovecs_are_used_up);
	tcase_add_test(tc, one_of_too_many_iovecs);
	tcase_add_test(tc, room_for_small_ones_runs_out);
	tcase_add_test(tc, many_bytes_go_early);
	tcase_add_test(tc, cleared);
	tcase_add_test(tc, memory_is_lost);
	tcase_add_test(tc, connection_has_ended);
	suite_add_tcase(suite, tc);
	return unit_main(suite);
}
