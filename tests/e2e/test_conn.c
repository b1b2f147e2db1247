/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Connections, seen from the guest and from host programs: one test for each
 * row of the connection table, named after it.
 */
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "e2e/e2e.h"

enum { AT_ONCE_MS = 1000 };		/* generous for a microsecond's work */

static void send_op(uint16_t op, uint32_t src_port, uint32_t dst_port)
{
	struct driver_pkt p = driver_pkt(&vm, op, src_port, dst_port);

	ck_assert(driver_send(&vm, &p, NULL));
}

/* The next packet is a RST for that connection. */
static void check_rst(uint32_t guest_port, uint32_t host_port)
{
	const struct driver_kept *k = driver_next(&vm, DEADLINE_MS);

	ck_assert_ptr_nonnull(k);
	ck_assert_uint_eq(k->pkt.op, VSOCK_OP_RST);
	ck_assert_uint_eq(k->pkt.dst_port, guest_port);
	ck_assert_uint_eq(k->pkt.src_port, host_port);
	ck_assert_uint_eq(k->pkt.src_cid, VSOCK_CID_HOST);
	ck_assert_uint_eq(k->pkt.len, 0);
}

START_TEST(guest_connect_and_talk)
{
	struct pair p = e2e_guest_connects(&vm, vhd.uds);

	e2e_check_talks(p);
	e2e_close(p);
}
END_TEST

START_TEST(host_connect_and_talk)
{
	struct pair p = e2e_host_connects(&vm, vhd.uds);

	e2e_check_talks(p);
	e2e_close(p);
}
END_TEST

START_TEST(guest_connect_nobody_listens_rst_at_once)
{
	int64_t start = daemon_clock_ms(&vhd);
	struct sock *s = sock_dial(&vm, PORT);

	ck_assert(!sock_wait_open(s));
	ck_assert(s->was_refused);
	ck_assert_int_lt(daemon_clock_ms(&vhd) - start, AT_ONCE_MS);
	e2e_check_alive();
}
END_TEST

START_TEST(guest_connect_stale_socket_rst_at_once)
{
	int64_t start = daemon_clock_ms(&vhd);
	struct sock *s;

	close(host_listen(vhd.uds, PORT, 1));	/* the file stays: ECONNREFUSED */
	s = sock_dial(&vm, PORT);
	ck_assert(!sock_wait_open(s));
	ck_assert_int_lt(daemon_clock_ms(&vhd) - start, AT_ONCE_MS);
}
END_TEST

static const uint16_t stray_ops[] = {
	VSOCK_OP_INVALID, VSOCK_OP_RESPONSE, VSOCK_OP_SHUTDOWN, VSOCK_OP_RW,
	VSOCK_OP_CREDIT_UPDATE, VSOCK_OP_CREDIT_REQUEST, 8, 0xffff,
};

START_TEST(packet_for_unknown_connection_rst)
{
	driver_keep_packets(&vm);
	send_op(stray_ops[_i], 5000, 6000);
	check_rst(5000, 6000);
	ck_assert(driver_is_quiet(&vm, QUIET_MS / 4));
}
END_TEST

START_TEST(rst_is_never_answered)
{
	driver_keep_packets(&vm);
	send_op(VSOCK_OP_RST, 5000, 6000);
	ck_assert(driver_is_quiet(&vm, QUIET_MS));
	send_op(VSOCK_OP_RW, 5000, 6000);
	check_rst(5000, 6000);
}
END_TEST

START_TEST(request_of_unknown_type_rst_at_once)
{
	static const uint16_t types[] = { 0, VSOCK_TYPE_SEQPACKET, 3, 0xffff };
	struct driver_pkt p = driver_pkt(&vm, VSOCK_OP_REQUEST, 5000, PORT);
	int listener = host_listen(vhd.uds, PORT, 4);

	driver_keep_packets(&vm);
	p.type = types[_i];
	ck_assert(driver_send(&vm, &p, NULL));
	check_rst(5000, PORT);
	ck_assert(!deadline_poll(listener, POLLIN, deadline_in(QUIET_MS / 4)));
	close(listener);
}
END_TEST

START_TEST(request_to_unknown_cid_rst_at_once)
{
	static const uint64_t cids[] = { 0, 1, 4, 0xffffffff, UINT64_C(0x100000002) };
	struct driver_pkt p = driver_pkt(&vm, VSOCK_OP_REQUEST, 5000, PORT);
	int listener = host_listen(vhd.uds, PORT, 4);
	const struct driver_kept *k;

	driver_keep_packets(&vm);
	p.dst_cid = cids[_i];
	ck_assert(driver_send(&vm, &p, NULL));
	k = driver_next(&vm, DEADLINE_MS);
	ck_assert_ptr_nonnull(k);
	ck_assert_uint_eq(k->pkt.op, VSOCK_OP_RST);
	ck_assert_uint_eq(k->pkt.src_cid, cids[_i]);
	ck_assert_uint_eq(k->pkt.dst_port, 5000);
	ck_assert(!deadline_poll(listener, POLLIN, deadline_in(QUIET_MS / 4)));
	close(listener);
}
END_TEST

START_TEST(wrong_src_cid_dropped)
{
	struct pair p = e2e_guest_connects(&vm, vhd.uds);
	struct driver_pkt bad = driver_pkt(&vm, VSOCK_OP_RW, p.guest->port, PORT);

	bad.src_cid = 4;
	bad.len = 5;
	ck_assert(driver_send(&vm, &bad, "wrong"));
	bad.src_cid = VSOCK_CID_HOST;
	ck_assert(driver_send(&vm, &bad, "wrong"));
	bad.op = VSOCK_OP_RST;
	bad.len = 0;
	ck_assert(driver_send(&vm, &bad, NULL));
	ck_assert(driver_flush(&vm));
	ck_assert(driver_is_quiet(&vm, QUIET_MS / 4));
	e2e_check_talks(p);
}
END_TEST

/* Sends one packet on an open connection and expects its end on both sides. */
static void check_kills(struct pair p, struct driver_pkt bad, const void *data)
{
	ck_assert(driver_send(&vm, &bad, data));
	ck_assert(sock_wait_reset(p.guest, DEADLINE_MS));
	ck_assert(host_is_closed(p.host, DEADLINE_MS));
	e2e_check_alive();
}

START_TEST(second_request_rst)
{
	struct pair p = e2e_guest_connects(&vm, vhd.uds);

	check_kills(p, driver_pkt(&vm, VSOCK_OP_REQUEST, p.guest->port, PORT), NULL);
}
END_TEST

START_TEST(response_in_a_wrong_state_rst)
{
	struct pair p = e2e_guest_connects(&vm, vhd.uds);

	check_kills(p, driver_pkt(&vm, VSOCK_OP_RESPONSE, p.guest->port, PORT), NULL);
}
END_TEST

START_TEST(unknown_op_on_live_connection_rst)
{
	static const uint16_t ops[] = { VSOCK_OP_INVALID, 8, 0x107 };
	struct pair p = e2e_guest_connects(&vm, vhd.uds);

	check_kills(p, driver_pkt(&vm, ops[_i], p.guest->port, PORT), NULL);
}
END_TEST

START_TEST(wrong_type_on_live_connection_rst)
{
	struct pair p = e2e_guest_connects(&vm, vhd.uds);
	struct driver_pkt bad = driver_pkt(&vm, VSOCK_OP_RW, p.guest->port, PORT);

	bad.type = VSOCK_TYPE_SEQPACKET;
	bad.len = 1;
	/* The RST carries the packet's type, so it is looked at raw. */
	driver_keep_packets(&vm);
	ck_assert(driver_send(&vm, &bad, "x"));
	check_rst(p.guest->port, PORT);
}
END_TEST

START_TEST(host_listener_backlog_full_retries_then_connects)
{
	int listener = host_listen(vhd.uds, PORT, 0), filler, fd;
	char path[128];
	struct sock *s;

	snprintf(path, sizeof path, "%s_%d", vhd.uds, PORT);
	filler = host_connect(path);		/* backlog 0 holds one */
	ck_assert_int_ge(filler, 0);
	s = sock_dial(&vm, PORT);
	ck_assert(driver_is_quiet(&vm, QUIET_MS));
	ck_assert_int_eq(s->state, SOCK_CONNECTING);
	close(host_accept(listener));
	fd = host_accept(listener);
	ck_assert(sock_wait_open(s));
	e2e_check_talks((struct pair){ s, fd });
}
END_TEST

START_TEST(host_listener_backlog_full_never_blocks_others_then_rst)
{
	struct pair other = e2e_guest_connects(&vm, vhd.uds);
	int listener = host_listen(vhd.uds, PORT + 1, 0);
	int64_t start = now_ms();
	char path[128];
	struct sock *s;

	snprintf(path, sizeof path, "%s_%d", vhd.uds, PORT + 1);
	ck_assert_int_ge(host_connect(path), 0);
	s = sock_dial(&vm, PORT + 1);
	e2e_check_talks(other);
	ck_assert(!sock_wait_open(s));
	ck_assert_int_gt(now_ms() - start, 100);
	ck_assert_int_lt(now_ms() - start, 10000);
	e2e_check_talks(other);
	close(listener);
}
END_TEST

START_TEST(host_connect_guest_does_not_answer_closed_after_timeout)
{
	struct pair other = e2e_host_connects(&vm, vhd.uds);
	int64_t start;
	int fd;

	driver_keep_packets(&vm);
	start = now_ms();
	fd = host_dial(vhd.uds, 77);
	ck_assert_uint_eq(driver_next(&vm, DEADLINE_MS)->pkt.op, VSOCK_OP_REQUEST);
	vm.input = sock_input;
	e2e_check_talks(other);
	ck_assert(host_is_closed(fd, DEADLINE_MS));
	ck_assert_int_gt(now_ms() - start, 1000);
	ck_assert_int_lt(now_ms() - start, 8000);
	e2e_check_talks(other);
}
END_TEST

START_TEST(host_connect_nobody_listens_in_guest_closed_at_once)
{
	int64_t start = daemon_clock_ms(&vhd);
	int fd = host_dial(vhd.uds, 4711);

	ck_assert(driver_wait(&vm, deadline_in(DEADLINE_MS), false));
	ck_assert_uint_eq(vm.n_strangers, 1);
	ck_assert(host_is_closed(fd, DEADLINE_MS));
	ck_assert_int_lt(daemon_clock_ms(&vhd) - start, AT_ONCE_MS);
}
END_TEST

START_TEST(port_may_be_used_again_after_close)
{
	struct pair p;

	for (int i = 0; i < 20; i++) {
		vm.next_port = 2000;
		p = e2e_guest_connects(&vm, vhd.uds);
		e2e_check_talks(p);
		ck_assert(sock_close(p.guest));
		close(p.host);
	}
}
END_TEST

static void add_tests(TCase *tc)
{
	tcase_add_test(tc, guest_connect_and_talk);
	tcase_add_test(tc, host_connect_and_talk);
	tcase_add_test(tc, guest_connect_nobody_listens_rst_at_once);
	tcase_add_test(tc, guest_connect_stale_socket_rst_at_once);
	tcase_add_loop_test(tc, packet_for_unknown_connection_rst, 0,
			    sizeof stray_ops / sizeof stray_ops[0]);
	tcase_add_test(tc, rst_is_never_answered);
	tcase_add_loop_test(tc, request_of_unknown_type_rst_at_once, 0, 4);
	tcase_add_loop_test(tc, request_to_unknown_cid_rst_at_once, 0, 5);
	tcase_add_test(tc, wrong_src_cid_dropped);
	tcase_add_test(tc, second_request_rst);
	tcase_add_test(tc, response_in_a_wrong_state_rst);
	tcase_add_loop_test(tc, unknown_op_on_live_connection_rst, 0, 3);
	tcase_add_test(tc, wrong_type_on_live_connection_rst);
	tcase_add_test(tc, host_listener_backlog_full_retries_then_connects);
	tcase_add_test(tc, host_listener_backlog_full_never_blocks_others_then_rst);
	tcase_add_test(tc, host_connect_guest_does_not_answer_closed_after_timeout);
	tcase_add_test(tc, host_connect_nobody_listens_in_guest_closed_at_once);
	tcase_add_test(tc, port_may_be_used_again_after_close);
}

int main(void)
{
	Suite *s = suite_create("conn");

	add_tests(e2e_case(s, "conn", e2e_setup_vm, 60));
	return e2e_run(s);
}
