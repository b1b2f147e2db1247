/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Seqpacket sockets of the scripted guest, with the device's side of the rings played by hand:
 * what they send, what they make of what comes, and what they do not put up with.
 */
#include <check.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>

#include "support/driver_io.h"
#include "support/must.h"
#include "support/pattern.h"
#include "support/sock.h"

enum {
	HDR = sizeof(struct wire_vsock_hdr), PORT = 1234, GUEST_PORT = 80, STREAM = VSOCK_TYPE_STREAM,
	SEQ = VSOCK_TYPE_SEQPACKET, EOM = VSOCK_SEQ_EOM, EOR = VSOCK_SEQ_EOR, CREDIT = 256 * 1024,
	SEED = 3,
};

static struct driver d;

static void set_up(void)
{
	driver_init(&d, &(struct driver_options){ .type = SEQ });
	for (uint32_t i = 0; i < d.n_rx_bufs; i++)
		must(driver_io_post_rx(&d, (uint16_t)i));
	guest_ring_publish(&d.vq[VSOCK_RXQ]);
}

static void tear_down(void)
{
	driver_deinit(&d);
}

/* ---- the device ---- */

static uint64_t use_next(struct guest_ring *r, uint32_t len)
{
	uint16_t used = guest_ring_used_idx(r);
	uint16_t head = le16_get(r->avail->ring[used % r->num]);

	ck_assert_uint_ne(used, le16_get(r->avail->idx));
	r->used->ring[used % r->num] = (struct wire_virtq_used_elem){
		le32_of(head), le32_of(len),
	};
	r->used->idx = le16_of((uint16_t)(used + 1));
	return le64_get(r->desc[head].addr);
}

static bool has_sent(void)
{
	struct guest_ring *r = &d.vq[VSOCK_TXQ];

	return guest_ring_used_idx(r) != le16_get(r->avail->idx);
}

/* The next packet that the guest has sent; its data stays until it sends again. */
static const uint8_t *take_sent(struct driver_pkt *p)
{
	uint64_t gpa = use_next(&d.vq[VSOCK_TXQ], 0);

	*p = driver_parse(guest_ptr(&d.guest, gpa, HDR));
	return guest_ptr(&d.guest, gpa + HDR, p->len);
}

static struct driver_pkt expect_sent(uint16_t type, uint16_t op, uint32_t flags, uint32_t len)
{
	struct driver_pkt p;

	take_sent(&p);
	ck_assert_uint_eq(p.type, type);
	ck_assert_uint_eq(p.op, op);
	ck_assert_uint_eq(p.flags, flags);
	ck_assert_uint_eq(p.len, len);
	return p;
}

static void give_as(uint16_t type, uint32_t to_port, uint16_t op, uint32_t flags,
		    const void *data, uint32_t len)
{
	struct driver_pkt p = {
		.src_cid = VSOCK_CID_HOST, .dst_cid = d.opt.cid, .src_port = PORT,
		.dst_port = to_port, .len = len, .type = type, .op = op, .flags = flags,
		.buf_alloc = CREDIT,
	};
	uint64_t gpa = use_next(&d.vq[VSOCK_RXQ], HDR + len);

	driver_put_header(&d, gpa, &p);
	guest_write(&d.guest, gpa + HDR, data, len);
	driver_turn(&d);
}

static void give(const struct sock *s, uint16_t op, uint32_t flags, const void *data,
		 uint32_t len)
{
	give_as(s->type, s->port, op, flags, data, len);
}

static struct sock *open_sock(uint16_t type)
{
	struct sock *s = sock_dial_as(&d, type, VSOCK_CID_HOST, PORT);

	expect_sent(type, VSOCK_OP_REQUEST, 0, 0);
	give(s, VSOCK_OP_RESPONSE, 0, NULL, 0);
	ck_assert_int_eq(s->state, SOCK_OPEN);
	return s;
}

/* ---- sending ---- */

START_TEST(sends_are_messages)
{
	static uint8_t bytes[150000];
	struct sock *s = open_sock(SEQ);
	struct driver_pkt p;
	uint32_t at = 0;

	pattern_fill(bytes, sizeof bytes, 0, SEED);
	ck_assert(sock_send(s, bytes, sizeof bytes));
	while (at < sizeof bytes) {
		const uint8_t *data = take_sent(&p);

		ck_assert_uint_eq(p.type, SEQ);
		ck_assert_uint_eq(p.flags, at + p.len == sizeof bytes ? EOM : 0);
		ck_assert_uint_eq(pattern_check(data, p.len, at, SEED), p.len);
		at += p.len;
	}
	ck_assert_uint_eq(at, sizeof bytes);
	ck_assert(!has_sent());
	ck_assert(sock_send_msg(s, bytes, 1, EOR));
	expect_sent(SEQ, VSOCK_OP_RW, EOM | EOR, 1);
	ck_assert(sock_send_msg(s, NULL, 0, 0));
	expect_sent(SEQ, VSOCK_OP_RW, EOM, 0);
	s->packet_max = 10;
	ck_assert(sock_send_msg(s, bytes, 25, EOR));
	expect_sent(SEQ, VSOCK_OP_RW, 0, 10);
	expect_sent(SEQ, VSOCK_OP_RW, 0, 10);
	expect_sent(SEQ, VSOCK_OP_RW, EOM | EOR, 5);
}
END_TEST

/* What does not fit the credit is the rest of the same message. */
START_TEST(a_message_waits_for_credit)
{
	static const uint8_t bytes[CREDIT + 100];
	struct sock *s = open_sock(SEQ);

	ck_assert_uint_eq(sock_send_some(s, bytes, sizeof bytes), CREDIT);
	for (int i = 0; i < CREDIT / VSOCK_BODY_MAX; i++)
		expect_sent(SEQ, VSOCK_OP_RW, 0, VSOCK_BODY_MAX);
	s->peer_fwd_cnt = s->sent;
	ck_assert_uint_eq(sock_send_some(s, bytes + CREDIT, 100), 100);
	expect_sent(SEQ, VSOCK_OP_RW, EOM, 100);
}
END_TEST

START_TEST(streams_have_no_flags)
{
	static const uint8_t bytes[VSOCK_BODY_MAX + 1];
	struct sock *s = open_sock(STREAM);
	uint8_t got[8];

	ck_assert(sock_send(s, bytes, sizeof bytes));
	expect_sent(STREAM, VSOCK_OP_RW, 0, VSOCK_BODY_MAX);
	expect_sent(STREAM, VSOCK_OP_RW, 0, 1);
	give(s, VSOCK_OP_RW, 0, "abc", 3);
	give(s, VSOCK_OP_RW, 0, "de", 2);
	ck_assert_int_eq(sock_recv(s, got, sizeof got, 0), 5);
	ck_assert_mem_eq(got, "abcde", 5);
	ck_assert_int_eq(sock_recv(s, got, sizeof got, 0), -1);
}
END_TEST

/* ---- receiving ---- */

static void expect_message(struct sock *s, const char *text, uint32_t flags)
{
	uint32_t got_flags = 99, before = s->fwd_cnt;
	struct driver_pkt p;
	char got[64];

	ck_assert_int_eq(sock_recv_msg(s, got, sizeof got, &got_flags, 0), (int)strlen(text));
	ck_assert_mem_eq(got, text, strlen(text));
	ck_assert_uint_eq(got_flags, flags);
	p = expect_sent(SEQ, VSOCK_OP_CREDIT_UPDATE, 0, 0);
	ck_assert_uint_eq(p.fwd_cnt, before + strlen(text));
}

START_TEST(messages_are_assembled)
{
	struct sock *s = open_sock(SEQ);
	char got[64];

	give(s, VSOCK_OP_RW, EOM, "one", 3);
	give(s, VSOCK_OP_RW, 0, "tw", 2);
	ck_assert(!has_sent());
	expect_message(s, "one", EOM);
	ck_assert_int_eq(sock_recv_msg(s, got, sizeof got, NULL, 0), SOCK_LATE);
	give(s, VSOCK_OP_RW, EOM, NULL, 0);		/* no more of it: "tw" is all */
	give(s, VSOCK_OP_RW, EOM, NULL, 0);
	give(s, VSOCK_OP_RW, 0, "th", 2);
	give(s, VSOCK_OP_RW, 0, "re", 2);
	give(s, VSOCK_OP_RW, EOM | EOR, "e", 1);
	give(s, VSOCK_OP_SHUTDOWN, VSOCK_SHUTDOWN_RCV, NULL, 0);
	expect_message(s, "tw", EOM);
	expect_message(s, "", EOM);
	expect_message(s, "three", EOM | EOR);
	give(s, VSOCK_OP_SHUTDOWN, VSOCK_SHUTDOWN_SEND, NULL, 0);
	ck_assert_int_eq(sock_recv_msg(s, got, sizeof got, NULL, 0), SOCK_END);
}
END_TEST

/* Many, and the queue of bytes goes round: none is merged, split or lost. */
START_TEST(messages_keep_their_order)
{
	enum { N = 1000, LEN_MAX = 4000 };
	static uint8_t bytes[LEN_MAX];
	struct sock *s = open_sock(SEQ);
	uint64_t sent = 0, got = 0;
	struct driver_pkt p;
	uint32_t len;

	for (unsigned i = 0, taken = 0; taken < N; ) {
		if (i < N && i < taken + 60) {
			len = i * 997 % LEN_MAX;
			pattern_fill(bytes, len, sent, SEED);
			if (len > 10) {
				give(s, VSOCK_OP_RW, 0, bytes, 10);
				give(s, VSOCK_OP_RW, EOM, bytes + 10, len - 10);
			} else {
				give(s, VSOCK_OP_RW, EOM, bytes, len);
			}
			sent += len;
			i++;
			continue;
		}
		len = taken++ * 997 % LEN_MAX;
		ck_assert_int_eq(sock_recv_msg(s, bytes, sizeof bytes, NULL, 0), (int)len);
		ck_assert_uint_eq(pattern_check(bytes, len, got, SEED), len);
		take_sent(&p);
		got += len;
	}
	ck_assert_uint_eq(s->n_queue, 0);
}
END_TEST

static unsigned n_given, n_ends;

static void count(struct sock *s, const uint8_t *data, size_t len)
{
	(void)data, (void)len;
	n_given++;
	n_ends += s->flags & EOM ? 1 : 0;
}

START_TEST(a_sink_gets_the_ends)
{
	struct sock *s = open_sock(SEQ);
	struct driver_pkt p;

	n_given = n_ends = 0;
	s->sink = count;
	give(s, VSOCK_OP_RW, 0, "abc", 3);
	ck_assert_uint_eq(s->fwd_cnt, 0);
	ck_assert(!has_sent());
	give(s, VSOCK_OP_RW, EOM, "de", 2);
	p = expect_sent(SEQ, VSOCK_OP_CREDIT_UPDATE, 0, 0);
	ck_assert_uint_eq(p.fwd_cnt, 5);
	give(s, VSOCK_OP_RW, EOM, NULL, 0);
	ck_assert_uint_eq(n_given, 3);
	ck_assert_uint_eq(n_ends, 2);
	ck_assert_uint_eq(s->total, 5);
}
END_TEST

/* ---- who talks to whom ---- */

START_TEST(a_port_listens_by_type)
{
	struct driver_pkt p;
	struct sock *s;

	sock_listen(&d, GUEST_PORT);
	give_as(STREAM, GUEST_PORT, VSOCK_OP_REQUEST, 0, NULL, 0);
	p = expect_sent(STREAM, VSOCK_OP_RST, 0, 0);
	ck_assert_uint_eq(p.src_port, GUEST_PORT);
	give_as(SEQ, GUEST_PORT, VSOCK_OP_REQUEST, 0, NULL, 0);
	expect_sent(SEQ, VSOCK_OP_RESPONSE, 0, 0);
	s = sock_accept(&d, GUEST_PORT);
	ck_assert_uint_eq(s->type, SEQ);
	sock_free(s);
	sock_listen_as(&d, STREAM, GUEST_PORT);
	give_as(STREAM, GUEST_PORT, VSOCK_OP_REQUEST, 0, NULL, 0);
	expect_sent(STREAM, VSOCK_OP_RESPONSE, 0, 0);
	sock_unlisten(&d, GUEST_PORT);
	ck_assert_uint_eq(d.n_listening, 0);
}
END_TEST

/* ---- what ends a test ---- */

static jmp_buf refused;
static char reason[512];

static void on_must(const char *file, int line, const char *text)
{
	(void)file, (void)line;
	snprintf(reason, sizeof reason, "%s", text);
	longjmp(refused, 1);
}

static const struct bad_case {
	uint16_t type, op;
	uint32_t flags, len;
	const char *reason;
	uint32_t len_before;			/* of a packet that ends no message */
} bad_cases[] = {
	{ SEQ, VSOCK_OP_RW, 0, 0, "without data", 0 },
	{ SEQ, VSOCK_OP_RW, EOR, 1, "flags 0x2", 0 },
	{ SEQ, VSOCK_OP_RW, 4, 1, "flags 0x4", 0 },
	{ STREAM, VSOCK_OP_RW, 0, 1, "type 1 for a socket of type 2", 0 },
	{ STREAM, VSOCK_OP_RST, 0, 0, "type 1 for a socket of type 2", 0 },
	{ SEQ, VSOCK_OP_SHUTDOWN, VSOCK_SHUTDOWN_BOTH, 0, "behind 1 bytes of a message", 1 },
	{ SEQ, VSOCK_OP_RW, EOM, 100, "beyond the credit", CREDIT - 99 },
};

START_TEST(bad_packets_end_the_test)
{
	static uint8_t bytes[2048];
	const struct bad_case *c = &bad_cases[_i];
	struct sock *s = open_sock(SEQ);
	uint32_t n;

	for (uint32_t left = c->len_before; left; left -= n) {
		n = left < sizeof bytes ? left : sizeof bytes;
		give(s, VSOCK_OP_RW, 0, bytes, n);
	}
	must_hook = on_must;
	if (setjmp(refused) == 0) {
		give_as(c->type, s->port, c->op, c->flags, bytes, c->len);
		must_hook = NULL;
		ck_abort_msg("case %d is put up with", _i);
	}
	must_hook = NULL;
	ck_assert_msg(strstr(reason, c->reason), "%s", reason);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("support_sock");
	TCase *tc = tcase_create("seqpacket");
	SRunner *sr = srunner_create(s);
	int failed;

	suite_add_tcase(s, tc);
	tcase_add_checked_fixture(tc, set_up, tear_down);
	tcase_add_test(tc, sends_are_messages);
	tcase_add_test(tc, a_message_waits_for_credit);
	tcase_add_test(tc, streams_have_no_flags);
	tcase_add_test(tc, messages_are_assembled);
	tcase_add_test(tc, messages_keep_their_order);
	tcase_add_test(tc, a_sink_gets_the_ends);
	tcase_add_test(tc, a_port_listens_by_type);
	tcase_add_loop_test(tc, bad_packets_end_the_test, 0,
			    sizeof bad_cases / sizeof *bad_cases);
	tcase_set_timeout(tc, 30);
	srunner_set_tap(sr, "-");
	srunner_run_all(sr, CK_SILENT);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
