/* SPDX-License-Identifier: BSD-3-Clause */
/* The packet header against Linux' own, credit, and the table of names. */
#include "vsock/pkt.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <linux/virtio_vsock.h>

#include "unit.h"
#include "vsock/conn.h"
#include "vsock/conn_table.h"
#include "vsock/credit.h"

#define SAME(field)								\
	_Static_assert(offsetof(struct wire_vsock_hdr, field) ==		\
		       offsetof(struct virtio_vsock_hdr, field), #field)
SAME(src_cid);
SAME(dst_cid);
SAME(src_port);
SAME(dst_port);
SAME(len);
SAME(type);
SAME(op);
SAME(flags);
SAME(buf_alloc);
SAME(fwd_cnt);
_Static_assert(sizeof(struct wire_vsock_hdr) == sizeof(struct virtio_vsock_hdr), "header");
_Static_assert(sizeof(struct wire_vsock_config) == sizeof(struct virtio_vsock_config), "config");
_Static_assert(sizeof(struct wire_vsock_event) == sizeof(struct virtio_vsock_event), "event");

struct value_case {
	int ours, theirs;
};

static const struct value_case value_cases[] = {
	{ VSOCK_OP_INVALID, VIRTIO_VSOCK_OP_INVALID },
	{ VSOCK_OP_REQUEST, VIRTIO_VSOCK_OP_REQUEST },
	{ VSOCK_OP_RESPONSE, VIRTIO_VSOCK_OP_RESPONSE },
	{ VSOCK_OP_RST, VIRTIO_VSOCK_OP_RST },
	{ VSOCK_OP_SHUTDOWN, VIRTIO_VSOCK_OP_SHUTDOWN },
	{ VSOCK_OP_RW, VIRTIO_VSOCK_OP_RW },
	{ VSOCK_OP_CREDIT_UPDATE, VIRTIO_VSOCK_OP_CREDIT_UPDATE },
	{ VSOCK_OP_CREDIT_REQUEST, VIRTIO_VSOCK_OP_CREDIT_REQUEST },
	{ VSOCK_TYPE_STREAM, VIRTIO_VSOCK_TYPE_STREAM },
	{ VSOCK_TYPE_SEQPACKET, VIRTIO_VSOCK_TYPE_SEQPACKET },
	{ VSOCK_SEQ_EOM, VIRTIO_VSOCK_SEQ_EOM },
	{ VSOCK_SEQ_EOR, VIRTIO_VSOCK_SEQ_EOR },
	{ VSOCK_SHUTDOWN_RCV, VIRTIO_VSOCK_SHUTDOWN_RCV },
	{ VSOCK_SHUTDOWN_SEND, VIRTIO_VSOCK_SHUTDOWN_SEND },
	{ VSOCK_EVENT_TRANSPORT_RESET, VIRTIO_VSOCK_EVENT_TRANSPORT_RESET },
};

START_TEST(values)
{
	ck_assert_int_eq(value_cases[_i].ours, value_cases[_i].theirs);
}
END_TEST

static const struct pkt all_different = {
	.src = { 0x0102030405060708, 0x090a0b0c }, .dst = { 0x1112131415161718, 0x191a1b1c },
	.type = 0x2122, .op = 0x2324, .len = 0x0000f325, .flags = 0x31323334,
	.buf_alloc = 0x41424344, .fwd_cnt = 0x51525354,
};

static void expect_same(const struct pkt *a, const struct pkt *b)
{
	struct wire_vsock_hdr wire[2];

	pkt_build(a, &wire[0]);
	pkt_build(b, &wire[1]);
	ck_assert_mem_eq(&wire[0], &wire[1], sizeof wire[0]);
	ck_assert_uint_eq(a->len, b->len);
}

START_TEST(little_endian)
{
	static const uint8_t bytes[PKT_HDR_SIZE] = {
		8, 7, 6, 5, 4, 3, 2, 1, 0x18, 0x17, 0x16, 0x15, 0x14, 0x13, 0x12, 0x11,
		0xc, 0xb, 0xa, 9, 0x1c, 0x1b, 0x1a, 0x19, 0x25, 0xf3, 0, 0, 0x22, 0x21,
		0x24, 0x23, 0x34, 0x33, 0x32, 0x31, 0x44, 0x43, 0x42, 0x41,
		0x54, 0x53, 0x52, 0x51,
	};
	struct wire_vsock_hdr wire;

	pkt_build(&all_different, &wire);
	ck_assert_mem_eq(&wire, bytes, sizeof bytes);
}
END_TEST

/* _i: where header and payload are cut; a third piece of one byte behind it. */
START_TEST(parse_any_cut)
{
	size_t cut = (size_t)_i, total = PKT_HDR_SIZE + all_different.len;
	uint8_t *bytes = calloc(1, total);
	struct iovec iov[3] = {
		{ bytes, cut }, { bytes + cut, 1 }, { bytes + cut + 1, total - cut - 1 },
	};
	struct iov_cur cur;
	struct pkt pkt;

	pkt_build(&all_different, (struct wire_vsock_hdr *)bytes);
	iov_cur_init(&cur, iov, 3);
	ck_assert_int_eq(pkt_parse(&pkt, &cur), 0);
	expect_same(&pkt, &all_different);
	ck_assert_uint_eq(cur.left, all_different.len);
	free(bytes);
}
END_TEST

struct len_case {
	const char *name;
	size_t chain;				/* bytes */
	uint32_t len;				/* as the header says */
	int result;
};

static const struct len_case len_cases[] = {
	{ "nothing", 0, 0, PKT_E_SHORT },
	{ "half a header", PKT_HDR_SIZE - 1, 0, PKT_E_SHORT },
	{ "header", PKT_HDR_SIZE, 0, 0 },
	{ "header that promises", PKT_HDR_SIZE, 1, PKT_E_BODY },
	{ "all there", PKT_HDR_SIZE + 10, 10, 0 },
	{ "one too few", PKT_HDR_SIZE + 9, 10, PKT_E_BODY },
	{ "more than said", PKT_HDR_SIZE + 99, 10, 0 },
	{ "as large as Linux sends", PKT_HDR_SIZE + VSOCK_BODY_MAX, VSOCK_BODY_MAX, 0 },
	{ "larger", PKT_HDR_SIZE + 1000000, 1000000, 0 },
	{ "much larger", PKT_HDR_SIZE, UINT32_MAX, PKT_E_BODY },
	{ "wraps with the header", PKT_HDR_SIZE, UINT32_MAX - PKT_HDR_SIZE + 1, PKT_E_BODY },
};

START_TEST(lengths)
{
	const struct len_case *c = &len_cases[_i];
	uint8_t *bytes = calloc(1, c->chain + PKT_HDR_SIZE);
	struct pkt pkt = { .len = 4711 };
	struct iov_cur cur;

	pkt_build(&(struct pkt){ .len = c->len }, (struct wire_vsock_hdr *)bytes);
	iov_cur_init(&cur, &(struct iovec){ bytes, c->chain }, 1);
	ck_assert_msg(pkt_parse(&pkt, &cur) == c->result, "%s", c->name);
	ck_assert_uint_eq(pkt.len, c->result == PKT_E_SHORT ? 4711 : c->len);
	if (c->result)
		ck_assert_str_ne(pkt_str_error(c->result), pkt_str_error(0));
	free(bytes);
}
END_TEST

START_TEST(operation_names)
{
	ck_assert_str_eq(pkt_str_op(VSOCK_OP_RST), "RST");
	ck_assert_str_eq(pkt_str_op(VSOCK_OP_CREDIT_REQUEST), "CREDIT_REQUEST");
	ck_assert_str_eq(pkt_str_op(VSOCK_OP_CREDIT_REQUEST + 1), "unknown operation");
	ck_assert_str_eq(pkt_str_op(UINT16_MAX), "unknown operation");
}
END_TEST

struct room_case {
	const char *name;
	uint32_t buf_alloc, fwd_cnt, sent, room;
};

static const struct room_case room_cases[] = {
	{ "nothing sent", 100, 0, 0, 100 },
	{ "some in flight", 100, 0, 30, 70 },
	{ "all in flight", 100, 0, 100, 0 },
	{ "passed on", 100, 30, 100, 30 },
	{ "all passed on", 100, 100, 100, 100 },
	{ "no buffer", 0, 0, 0, 0 },
	{ "buffer shrunk below what is in flight", 10, 0, 100, 0 },
	{ "counts wrapped", 100, UINT32_MAX - 9, 20, 70 },
	{ "sent wrapped, all in flight", 100, UINT32_MAX - 9, 90, 0 },
	{ "more passed on than was sent", 100, 101, 100, 0 },
	{ "far more", 100, 1u << 31, 100, 0 },
	{ "far more, huge buffer", UINT32_MAX, 101, 100, 0 },
	{ "largest buffer", UINT32_MAX, 0, 100, UINT32_MAX - 100 },
	{ "2 GiB in flight", UINT32_MAX, 0, 1u << 31, (1u << 31) - 1 },
};

START_TEST(room)
{
	const struct room_case *c = &room_cases[_i];
	struct credit credit = { .sent_to_guest = c->sent };

	ck_assert_int_eq(credit_update(&credit, c->buf_alloc, c->fwd_cnt),
			 c->buf_alloc || c->fwd_cnt);
	ck_assert(!credit_update(&credit, c->buf_alloc, c->fwd_cnt));
	ck_assert_msg(credit_room(&credit) == c->room, "%s: %u", c->name, credit_room(&credit));
}
END_TEST

struct receive_case {
	const char *name;
	uint32_t buf_alloc, received, told, len;
	bool good;
};

static const struct receive_case receive_cases[] = {
	{ "all at once", 100, 0, 0, 100, true },
	{ "one more", 100, 0, 0, 101, false },
	{ "the rest", 100, 60, 0, 40, true },
	{ "more than the rest", 100, 60, 0, 41, false },
	{ "nothing, when full", 100, 100, 0, 0, true },
	{ "one, when full", 100, 100, 0, 1, false },
	{ "told of some", 100, 100, 30, 30, true },
	{ "told of some, more", 100, 100, 30, 31, false },
	{ "wrapped", 100, 20, UINT32_MAX - 9, 70, true },
	{ "wrapped, more", 100, 20, UINT32_MAX - 9, 71, false },
	{ "largest", 1u << 31, 0, 0, 1u << 31, true },
	{ "much too much", 100, 0, 0, UINT32_MAX, false },
};

START_TEST(receive)
{
	const struct receive_case *c = &receive_cases[_i];
	struct credit credit = {
		.buf_alloc = c->buf_alloc, .received = c->received, .reported_fwd_cnt = c->told,
	};

	ck_assert_msg(credit_receive(&credit, c->len) == c->good, "%s", c->name);
	ck_assert_uint_eq(credit.received, c->received + (c->good ? c->len : 0));
}
END_TEST

struct due_case {
	uint32_t buf_alloc, fwd_cnt, told;
	bool due;
};

static const struct due_case due_cases[] = {
	{ 100, 0, 0, false }, { 100, 24, 0, false }, { 100, 25, 0, true },
	{ 100, 100, 75, true }, { 100, 100, 76, false }, { 100, 5, UINT32_MAX - 19, true },
	{ 1, 1, 0, true }, { 1, 1, 1, false }, { 3, 1, 0, true },
};

START_TEST(due)
{
	const struct due_case *c = &due_cases[_i];
	struct credit credit = {
		.buf_alloc = c->buf_alloc, .fwd_cnt = c->fwd_cnt, .reported_fwd_cnt = c->told,
	};

	ck_assert_int_eq(credit_is_due(&credit), c->due);
}
END_TEST

enum { CONNS = 5000 };

/* Names that differ in one part only, and many of them. */
START_TEST(table_of_many)
{
	struct conn *conns = calloc(CONNS, sizeof *conns), *c;
	struct conn_table t;
	size_t n = 0;

	ck_assert_int_eq(conn_table_init(&t, (uint64_t)_i * UINT64_C(0x123456789abcdef)), 0);
	ck_assert_ptr_null(conn_table_next(&t, NULL));
	for (uint32_t i = 0; i < CONNS; i++) {
		conns[i].guest.port = i % 3 ? 7 : i;
		conns[i].peer = (struct vsock_addr){ i % 3 == 1 ? i : 2, i % 3 == 2 ? i : 9 };
		ck_assert_ptr_null(conn_table_find(&t, conns[i].guest.port, &conns[i].peer));
		conn_table_add(&t, &conns[i]);
	}
	ck_assert_uint_eq(t.n, CONNS);
	ck_assert_uint_ge(t.n_buckets, CONNS / 2);
	for (uint32_t i = 0; i < CONNS; i++)
		ck_assert_ptr_eq(conn_table_find(&t, conns[i].guest.port, &conns[i].peer), &conns[i]);
	ck_assert_ptr_nonnull(conn_table_find_peer(&t, &(struct vsock_addr){ 2, 9 }));
	ck_assert_ptr_eq(conn_table_find_peer(&t, &(struct vsock_addr){ 2, 11 }), &conns[11]);
	ck_assert_ptr_null(conn_table_find_peer(&t, &(struct vsock_addr){ 2, 10 }));
	for (c = conn_table_next(&t, NULL); c; c = conn_table_next(&t, c)) {
		ck_assert_uint_eq(c->state, 0);	/* seen once ... */
		c->state = 1;
		n++;
	}
	ck_assert_uint_eq(n, CONNS);		/* ... and all of them */
	for (uint32_t i = 0; i < CONNS; i++) {
		conn_table_remove(&t, &conns[i]);
		ck_assert_ptr_null(conn_table_find(&t, conns[i].guest.port, &conns[i].peer));
	}
	ck_assert_ptr_null(conn_table_next(&t, NULL));
	conn_table_deinit(&t);
	free(conns);
}
END_TEST

/* Collisions, by a table that cannot grow: every bucket holds a chain. */
START_TEST(conn_table_collides)
{
	struct conn conns[16] = { { .state = 0 } };
	struct conn_table t;

	ck_assert_int_eq(conn_table_init(&t, 42), 0);
	t.n_buckets = 1;
	for (uint32_t i = 0; i < 16; i++) {
		conns[i].guest.port = i;
		conns[i].mux.hash_next = t.buckets[0];
		t.buckets[0] = &conns[i];
		t.n++;
	}
	for (uint32_t i = 0; i < 16; i += 2)
		conn_table_remove(&t, &conns[i]);
	for (uint32_t i = 0; i < 16; i++)
		ck_assert_ptr_eq(conn_table_find(&t, i, &conns[i].peer), i % 2 ? &conns[i] : NULL);
	for (uint32_t i = 1; i < 16; i += 2)
		conn_table_remove(&t, &conns[i]);
	ck_assert_uint_eq(t.n, 0);
	conn_table_deinit(&t);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("pkt");
	TCase *tc = tcase_create("pkt");

	tcase_add_loop_test(tc, values, 0, COUNT(value_cases));
	tcase_add_test(tc, little_endian);
	tcase_add_loop_test(tc, parse_any_cut, 0, PKT_HDR_SIZE + 2);
	tcase_add_loop_test(tc, lengths, 0, COUNT(len_cases));
	tcase_add_test(tc, operation_names);
	tcase_add_loop_test(tc, room, 0, COUNT(room_cases));
	tcase_add_loop_test(tc, receive, 0, COUNT(receive_cases));
	tcase_add_loop_test(tc, due, 0, COUNT(due_cases));
	tcase_add_loop_test(tc, table_of_many, 0, 4);
	tcase_add_test(tc, conn_table_collides);
	suite_add_tcase(suite, tc);
	return unit_main(suite);
}
