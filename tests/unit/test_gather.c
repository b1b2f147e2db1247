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
	size_t n_calls, takes;			/* for several messages; of them */
	size_t n_writes, n, iovs_max;
	size_t ends[64];			/* of messages: n when each was written */
	uint32_t flags[64];
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

static int sink_write_message(struct stream *base, const struct iovec *v, int nv, uint32_t flags)
{
	struct sink *s = container_of(base, struct sink, base);
	size_t n;
	int r;

	ck_assert_uint_lt(s->n_writes, COUNT(s->ends));
	s->flags[s->n_writes] = flags;
	r = sink_write(base, v, nv, &n);
	s->ends[s->n_writes - 1] = s->n;
	return r;
}

static size_t sink_write_messages(struct stream *base, const struct iovec *v,
				  const struct stream_message *m, size_t n)
{
	struct sink *s = container_of(base, struct sink, base);
	size_t done;

	ck_assert_uint_le(n, STREAM_MESSAGES_MAX);
	s->n_calls++;
	for (done = 0; done < n && done < s->takes; v += m[done++].n)
		sink_write_message(base, v, (int)m[done].n, m[done].flags);
	return done;
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

static const struct stream_ops message_ops = {
	.write_message = sink_write_message, .shutdown = sink_shutdown,
	.wait_for = sink_wait_for, .close = sink_close,
};

static const struct stream_ops several_ops = {
	.write_message = sink_write_message, .write_messages = sink_write_messages,
	.shutdown = sink_shutdown, .wait_for = sink_wait_for, .close = sink_close,
};

static bool ask_whether_lost(void *ctx)
{
	ck_assert_ptr_eq(ctx, &gather);
	return is_lost;
}

static void begin(enum vsock_type type)
{
	const struct vsock_addr guest = { 3, 1024 }, peer = { VSOCK_CID_HOST, 80 };
	const struct pkt request = {
		.src = guest, .dst = peer, .type = (uint16_t)type, .op = VSOCK_OP_REQUEST,
		.buf_alloc = 65536,
	};

	sink = (struct sink){ .base = {
		.ops = type == VSOCK_TYPE_STREAM ? &sink_ops : &message_ops,
		.ready = STREAM_OUT, .type = (uint16_t)type,
	} };
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

static void setup(void)
{
	begin(VSOCK_TYPE_STREAM);
}

static void setup_messages(void)
{
	begin(VSOCK_TYPE_SEQPACKET);
}

static void teardown(void)
{
	conn_free(conn);
	byte_budget_unref(budget);
}

static void teardown_messages(void)
{
	ck_assert_uint_eq(conn->to_host.len, 0);	/* nothing of a message is left */
	teardown();
}

/* The next @len bytes of the source, in iovecs of @piece bytes, in one packet. */
static void add_packet(size_t len, size_t piece, uint32_t flags)
{
	static struct iovec iov[4096];
	struct iov_cur cur;
	size_t n = 0;

	for (size_t at = 0; at < len; at += piece)
		iov[n++] = (struct iovec){
			source + n_added + at, len - at < piece ? len - at : piece,
		};
	iov_cur_init(&cur, iov, n);
	gather_add(&gather, conn, &cur, len, flags);
	ck_assert_uint_eq(cur.left, 0);
	n_added += len;
}

static void add_cut(size_t len, size_t piece)
{
	add_packet(len, piece, 0);
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

/* ---- messages ---- */

enum { EOM = VSOCK_SEQ_EOM, EOR = VSOCK_SEQ_EOM | VSOCK_SEQ_EOR };

/* The message number @i, which has been written last, ends after all that was added. */
static void check_message(size_t i, uint32_t flags)
{
	ck_assert_uint_eq(sink.n_writes, i + 1);
	ck_assert_uint_eq(sink.ends[i], n_added);
	ck_assert_uint_eq(sink.flags[i], flags);
	check_written();
}

/* Written when they end, not at the end of the batch, and each by itself. */
START_TEST(messages)
{
	add_packet(SMALL, SMALL, EOM);
	check_message(0, 0);
	add(SMALL);
	add(LARGE);
	ck_assert_uint_eq(sink.n_writes, 1);
	add_packet(SMALL, 7, EOR);
	check_message(1, VSOCK_SEQ_EOR);
	add_packet(0, 1, EOM);
	check_message(2, 0);
	add(LARGE);
	add_packet(0, 1, EOM);
	check_message(3, 0);
	ck_assert_ptr_null(gather_flush(&gather));
}
END_TEST

/* A batch ends within one. */
START_TEST(message_over_batches)
{
	add(SMALL);
	add(LARGE);
	ck_assert_ptr_eq(gather_flush(&gather), conn);
	add(LARGE);
	gather_flush(&gather);
	ck_assert_uint_eq(sink.n_writes, 0);
	add_packet(SMALL, SMALL, EOM);
	check_message(0, 0);
	add_packet(LARGE, LARGE, EOM);
	check_message(1, 0);
}
END_TEST

/* However many iovecs it has, and whether its last byte fills the last of them or not: one. */
static const struct {
	size_t first, last, piece;		/* bytes of two packets */
} cut_cases[] = {
	{ GATHER_IOVS * 60, 0, 60 }, { GATHER_IOVS * 60, SMALL, 60 },
	{ GATHER_IOVS * 60 - SMALL, SMALL, 60 }, { SMALL, GATHER_IOVS * 60, 60 },
	{ 0, GATHER_IOVS * 60, 60 }, { 0, GATHER_IOVS * 60 - 60, 60 },
	{ 0, GATHER_IOVS * 2 + 500, 1 }, { 0, GATHER_IOVS * 2, 1 }, { GATHER_IOVS * 2, 1, 1 },
	{ 60000, 60000, 60000 }, { 100000, 100000, 100000 },	/* not cut where a stream is */
};

START_TEST(message_of_many_pieces)
{
	add_packet(LARGE, 7, EOM);
	add_cut(cut_cases[_i].first, cut_cases[_i].piece);
	add_packet(cut_cases[_i].last, cut_cases[_i].piece, EOR);
	check_message(1, VSOCK_SEQ_EOR);
	ck_assert_uint_eq(sink.ends[0], LARGE);
	ck_assert_uint_le(sink.iovs_max, GATHER_IOVS);
}
END_TEST

/* The bytes that fit one write are not copied on their way. */
START_TEST(message_is_gathered)
{
	for (int i = 0; i < 3; i++)
		add(60000);
	ck_assert_uint_eq(conn->to_host.len, 0);
	add_packet(60000, 60000, EOM);
	check_message(0, 0);
}
END_TEST

START_TEST(message_of_lost_memory)
{
	add(SMALL);
	is_lost = true;
	add_packet(SMALL, SMALL, EOM);
	ck_assert_uint_eq(sink.n_writes, 0);
	is_lost = false;
	ck_assert_ptr_null(gather_flush(&gather));
}
END_TEST

START_TEST(message_of_one_that_has_ended)
{
	struct iov_cur cur;

	conn_reset(conn, CONN_END_PROTOCOL);
	iov_cur_init(&cur, &(struct iovec){ source, LARGE }, 1);
	gather_add(&gather, conn, &cur, LARGE, EOM);
	iov_cur_init(&cur, NULL, 0);
	gather_add(&gather, conn, &cur, 0, EOM);
	ck_assert_ptr_null(gather_flush(&gather));
	ck_assert_uint_eq(sink.n_writes, 0);
}
END_TEST

/* ---- several messages ---- */

static void setup_several(void)
{
	begin(VSOCK_TYPE_SEQPACKET);
	sink.base.ops = &several_ops;
	sink.takes = SIZE_MAX;
}

/* Of each where it ends, and its flags. */
static void check_ends(const size_t *ends, const uint32_t *flags, size_t n)
{
	ck_assert_uint_eq(sink.n_writes, n);
	for (size_t i = 0; i < n; i++) {
		ck_assert_uint_eq(sink.ends[i], ends[i]);
		ck_assert_uint_eq(sink.flags[i], flags[i]);
	}
}

/* Whole ones wait for the end of the batch, and are written by one call; or by as many as it takes.
 * _i: how many it takes together. */
START_TEST(several)
{
	static const size_t ends[] = { SMALL, 2 * SMALL, 2 * SMALL, 2 * SMALL + LARGE, 4 * SMALL + LARGE };
	static const uint32_t flags[] = { 0, VSOCK_SEQ_EOR, 0, 0, VSOCK_SEQ_EOR };
	uint32_t before = conn->credit.fwd_cnt;

	sink.takes = (size_t)_i;
	add_packet(SMALL, SMALL, EOM);
	add_packet(SMALL, SMALL, EOR);		/* not in one iovec with the other */
	add_packet(0, 1, EOM);
	add_packet(LARGE, LARGE, EOM);
	add(SMALL);
	add_packet(SMALL, 7, EOR);
	ck_assert_uint_eq(sink.n_writes, 0);
	ck_assert_ptr_eq(gather_flush(&gather), conn);
	ck_assert_uint_eq(sink.n_calls, 1);
	check_ends(ends, flags, COUNT(ends));
	check_written();
	ck_assert_uint_eq(conn->credit.fwd_cnt - before, n_added);
}
END_TEST

/* The beginning of another comes after them. */
START_TEST(several_and_a_part)
{
	static const size_t ends[] = { SMALL, SMALL + LARGE, 3 * SMALL + LARGE };
	static const uint32_t flags[] = { 0, 0, 0 };

	add_packet(SMALL, SMALL, EOM);
	add_packet(LARGE, LARGE, EOM);
	add(SMALL);
	gather_flush(&gather);
	check_ends(ends, flags, 2);
	add_packet(SMALL, SMALL, EOM);
	gather_flush(&gather);
	check_ends(ends, flags, 3);
	check_written();
}
END_TEST

/* They are not held back for ever: by number, and by bytes. */
START_TEST(many_messages_go_early)
{
	for (int i = 1; i < STREAM_MESSAGES_MAX; i++)
		add_packet(SMALL, SMALL, EOM);
	ck_assert_uint_eq(sink.n_writes, 0);
	add_packet(SMALL, SMALL, EOM);
	ck_assert_uint_eq(sink.n_writes, STREAM_MESSAGES_MAX);
	for (int i = 0; i < 3; i++)
		add_packet(60000, 60000, EOM);
	ck_assert_uint_eq(sink.n_calls, 2);
	ck_assert_ptr_null(gather_flush(&gather));
	check_written();
}
END_TEST

/* Those that are whole make room for one of many iovecs, which is not cut. */
START_TEST(room_for_one_of_many_pieces)
{
	add_packet(SMALL, SMALL, EOM);
	add_packet(LARGE, 60, EOM);
	add(SMALL);
	add_cut((GATHER_IOVS - 3) * 200, 200);
	add_packet(3 * SMALL, SMALL, EOR);	/* not copied to where the beginning lies */
	gather_flush(&gather);
	ck_assert_uint_eq(sink.n_writes, 3);
	ck_assert_uint_eq(sink.ends[0], SMALL);
	ck_assert_uint_eq(sink.ends[1], SMALL + LARGE);
	ck_assert_uint_eq(sink.iovs_max, GATHER_IOVS - 1);
	check_written();
	ck_assert_uint_eq(conn->to_host.len, 0);
}
END_TEST

/* Empty ones make none: then it is cut as the first of a batch is. */
START_TEST(no_room_for_one_of_many_pieces)
{
	add_packet(0, 1, EOM);
	add_cut(GATHER_IOVS * 60, 60);
	ck_assert_uint_eq(sink.n_writes, 1);
	ck_assert_uint_lt(gather.n, GATHER_IOVS);
	add_packet(SMALL, SMALL, EOM);
	gather_flush(&gather);
	ck_assert_uint_eq(sink.n_writes, 2);
	check_written();
}
END_TEST

/* Nothing is believed of what has been gathered. */
START_TEST(several_of_lost_memory)
{
	add_packet(SMALL, SMALL, EOM);
	add_packet(LARGE, LARGE, EOM);
	is_lost = true;
	add_packet((GATHER_IOVS + 10) * 200, 200, EOM);
	ck_assert_ptr_eq(gather_flush(&gather), conn);
	ck_assert_uint_eq(sink.n_writes, 0);
	is_lost = false;
	ck_assert_ptr_null(gather_flush(&gather));
}
END_TEST

/* What cannot be written now waits, in order. */
START_TEST(several_have_to_wait)
{
	sink.base.ready = 0;
	add_packet(SMALL, SMALL, EOM);
	add_packet(LARGE, LARGE, EOM);
	gather_flush(&gather);
	ck_assert_uint_eq(conn->to_host.len, SMALL + LARGE);
	sink.base.ready = STREAM_OUT;
	add_packet(SMALL, SMALL, EOM);
	add_packet(SMALL, SMALL, EOM);
	gather_flush(&gather);
	ck_assert_uint_eq(sink.n_calls, 0);
	conn_stream_ready(conn);
	ck_assert_uint_eq(sink.n_writes, 4);
	check_written();
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("gather");
	TCase *tc = tcase_create("gather"), *mc = tcase_create("messages");
	TCase *sc = tcase_create("several");

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
	tcase_add_checked_fixture(mc, setup_messages, teardown_messages);
	tcase_add_test(mc, messages);
	tcase_add_test(mc, message_over_batches);
	tcase_add_loop_test(mc, message_of_many_pieces, 0, COUNT(cut_cases));
	tcase_add_test(mc, message_is_gathered);
	tcase_add_test(mc, message_of_lost_memory);
	tcase_add_test(mc, message_of_one_that_has_ended);
	suite_add_tcase(suite, mc);
	tcase_add_checked_fixture(sc, setup_several, teardown_messages);
	tcase_add_loop_test(sc, several, 0, 6);
	tcase_add_test(sc, several_and_a_part);
	tcase_add_test(sc, many_messages_go_early);
	tcase_add_test(sc, room_for_one_of_many_pieces);
	tcase_add_test(sc, no_room_for_one_of_many_pieces);
	tcase_add_test(sc, several_of_lost_memory);
	tcase_add_test(sc, several_have_to_wait);
	suite_add_tcase(suite, sc);
	return unit_main(suite);
}
