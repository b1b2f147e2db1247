/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How connections end: half and whole, from either side, with data on the way;
 * one test for each row of the connection table, named after it.
 */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "e2e/e2e.h"

enum { AT_ONCE_MS = 1000 };		/* generous for a microsecond's work */

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

START_TEST(guest_shutdown_send_host_sees_eof_and_still_writes)
{
	struct pair p = e2e_guest_connects(&vm, vhd.uds);

	e2e_check_guest_to_host(p, 50000, 1);
	sock_shutdown(p.guest, VSOCK_SHUTDOWN_SEND);
	ck_assert(host_is_closed(p.host, DEADLINE_MS));
	e2e_check_host_to_guest(p, 150000, 2);
	close(p.host);
	ck_assert(sock_wait_shutdown(p.guest, VSOCK_SHUTDOWN_SEND, DEADLINE_MS));
	ck_assert(sock_close(p.guest));
}
END_TEST

START_TEST(guest_shutdown_send_delivers_all_data_first)
{
	struct pair p = e2e_guest_connects(&vm, vhd.uds);
	static uint8_t bytes[65536];

	pattern_fill(bytes, sizeof bytes, 0, 5);
	ck_assert(sock_send(p.guest, bytes, sizeof bytes));
	sock_shutdown(p.guest, VSOCK_SHUTDOWN_SEND);
	memset(bytes, 0, sizeof bytes);
	ck_assert_uint_eq(host_read(p.host, bytes, sizeof bytes), sizeof bytes);
	ck_assert_uint_eq(pattern_check(bytes, sizeof bytes, 0, 5), sizeof bytes);
	ck_assert(host_is_closed(p.host, DEADLINE_MS));
}
END_TEST

START_TEST(guest_shutdown_rcv_host_writes_fail)
{
	struct pair p = e2e_guest_connects(&vm, vhd.uds);
	char bytes[1000] = { 0 };
	int64_t deadline = deadline_in(DEADLINE_MS);

	sock_shutdown(p.guest, VSOCK_SHUTDOWN_RCV);
	ck_assert(driver_flush(&vm));
	while (send(p.host, bytes, sizeof bytes, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0)
		ck_assert(deadline_left(deadline));
	ck_assert_int_eq(errno, EPIPE);
	ck_assert(driver_is_quiet(&vm, QUIET_MS / 4) || !p.guest->n_queue);
	ck_assert_uint_eq(p.guest->n_queue, 0);
	e2e_check_guest_to_host(p, 1000, 3);
}
END_TEST

START_TEST(guest_shutdown_flags_accumulate)
{
	struct pair p = e2e_guest_connects(&vm, vhd.uds);

	sock_shutdown(p.guest, VSOCK_SHUTDOWN_RCV);
	e2e_check_guest_to_host(p, 1000, 1);
	sock_shutdown(p.guest, VSOCK_SHUTDOWN_SEND);
	ck_assert(sock_wait_reset(p.guest, DEADLINE_MS));
	ck_assert(host_is_closed(p.host, DEADLINE_MS));
}
END_TEST

START_TEST(guest_shutdown_without_flags_changes_nothing)
{
	struct pair p = e2e_guest_connects(&vm, vhd.uds);

	sock_shutdown(p.guest, 0);
	e2e_check_talks(p);
}
END_TEST

START_TEST(guest_close_drains_to_a_slow_host_then_rst)
{
	struct pair p = e2e_guest_connects(&vm, vhd.uds);
	static uint8_t bytes[8 << 20];
	size_t sent, n;

	/* Until socket buffer and credit are full. */
	pattern_fill(bytes, sizeof bytes, 0, 6);
	sent = 0;
	while ((n = sock_send_some(p.guest, bytes + sent, sizeof bytes - sent)) ||
	       driver_wait(&vm, deadline_in(QUIET_MS), true))
		sent += n;
	ck_assert_uint_lt(sent, sizeof bytes);
	sock_shutdown(p.guest, VSOCK_SHUTDOWN_BOTH);
	ck_assert(!sock_wait_reset(p.guest, QUIET_MS));
	memset(bytes, 0, sent);
	ck_assert_uint_eq(host_read(p.host, bytes, sent), sent);
	ck_assert_uint_eq(pattern_check(bytes, sent, 0, 6), sent);
	ck_assert(host_is_closed(p.host, DEADLINE_MS));
	ck_assert(sock_wait_reset(p.guest, DEADLINE_MS));
}
END_TEST

START_TEST(guest_close_drain_is_bounded_by_linger)
{
	static const char *const linger[] = { "--linger", "0.5", NULL };
	static const uint8_t bytes[65536];
	struct pair p;
	int64_t start;

	e2e_start(linger, NULL);
	p = e2e_guest_connects(&vm, vhd.uds);
	while (sock_send_some(p.guest, bytes, sizeof bytes) ||
	       driver_wait(&vm, deadline_in(QUIET_MS), true))
		;
	start = now_ms();
	sock_shutdown(p.guest, VSOCK_SHUTDOWN_BOTH);
	ck_assert(sock_wait_reset(p.guest, DEADLINE_MS));
	ck_assert_int_ge(now_ms() - start, 400);
	ck_assert_int_lt(now_ms() - start, 8000);
}
END_TEST

START_TEST(guest_close_completes_at_once_when_drained)
{
	struct pair p = e2e_guest_connects(&vm, vhd.uds);
	int64_t start;

	e2e_check_talks(p);
	start = now_ms();
	ck_assert(sock_close(p.guest));
	ck_assert_int_lt(now_ms() - start, AT_ONCE_MS);
	ck_assert(host_is_closed(p.host, DEADLINE_MS));
}
END_TEST

START_TEST(host_shut_wr_sends_shutdown_send_only)
{
	struct pair p = e2e_host_connects(&vm, vhd.uds);

	e2e_check_host_to_guest(p, 100000, 1);
	shutdown(p.host, SHUT_WR);
	ck_assert(sock_wait_shutdown(p.guest, VSOCK_SHUTDOWN_SEND, DEADLINE_MS));
	ck_assert_int_eq(p.guest->state, SOCK_OPEN);
	ck_assert_uint_eq(p.guest->peer_shutdown, VSOCK_SHUTDOWN_SEND);
	e2e_check_guest_to_host(p, 150000, 2);
	ck_assert(sock_close(p.guest));
	ck_assert(host_is_closed(p.host, DEADLINE_MS));
}
END_TEST

START_TEST(half_close_both_ways_ends_in_rst)
{
	struct pair p = e2e_host_connects(&vm, vhd.uds);

	shutdown(p.host, SHUT_WR);
	ck_assert(sock_wait_shutdown(p.guest, VSOCK_SHUTDOWN_SEND, DEADLINE_MS));
	e2e_check_guest_to_host(p, 1000, 1);
	sock_shutdown(p.guest, VSOCK_SHUTDOWN_SEND);
	ck_assert(host_is_closed(p.host, DEADLINE_MS));
	close(p.host);
	ck_assert(sock_wait_shutdown(p.guest, VSOCK_SHUTDOWN_BOTH, DEADLINE_MS));
}
END_TEST

START_TEST(host_close_delivers_data_then_shutdown_both)
{
	struct pair p = e2e_host_connects(&vm, vhd.uds);
	static uint8_t bytes[100000];

	pattern_fill(bytes, sizeof bytes, 0, 1);
	ck_assert(host_write(p.host, bytes, sizeof bytes));
	close(p.host);
	memset(bytes, 0, sizeof bytes);
	ck_assert_uint_eq(sock_recv_full(p.guest, bytes, sizeof bytes), sizeof bytes);
	ck_assert_uint_eq(pattern_check(bytes, sizeof bytes, 0, 1), sizeof bytes);
	ck_assert(sock_wait_shutdown(p.guest, VSOCK_SHUTDOWN_BOTH, DEADLINE_MS));
	ck_assert(!p.guest->was_refused);
}
END_TEST

START_TEST(guest_writes_after_host_closed_rst)
{
	struct pair p = e2e_host_connects(&vm, vhd.uds);
	struct driver_pkt rw = driver_pkt(&vm, VSOCK_OP_RW, PORT, p.guest->peer_port);
	const struct driver_kept *k;

	driver_keep_packets(&vm);
	close(p.host);
	k = driver_next(&vm, DEADLINE_MS);
	ck_assert_uint_eq(k->pkt.op, VSOCK_OP_SHUTDOWN);
	ck_assert_uint_eq(k->pkt.flags, VSOCK_SHUTDOWN_BOTH);
	rw.len = 4;
	ck_assert(driver_send(&vm, &rw, "late"));
	check_rst(PORT, p.guest->peer_port);
}
END_TEST

START_TEST(host_closes_with_unread_data_rst)
{
	struct pair p = e2e_host_connects(&vm, vhd.uds);
	int64_t deadline = deadline_in(DEADLINE_MS);

	ck_assert(sock_send(p.guest, "unread", 6));
	ck_assert(deadline_poll(p.host, POLLIN, deadline));
	close(p.host);
	ck_assert(sock_wait_reset(p.guest, DEADLINE_MS));
	e2e_check_alive();
}
END_TEST

START_TEST(data_after_own_shutdown_send_rst)
{
	struct pair p = e2e_guest_connects(&vm, vhd.uds);
	struct driver_pkt rw = driver_pkt(&vm, VSOCK_OP_RW, p.guest->port, PORT);

	sock_shutdown(p.guest, VSOCK_SHUTDOWN_SEND);
	rw.len = 4;
	ck_assert(driver_send(&vm, &rw, "late"));
	ck_assert(sock_wait_reset(p.guest, DEADLINE_MS));
	ck_assert(host_is_closed(p.host, DEADLINE_MS));
	e2e_check_alive();
}
END_TEST

START_TEST(guest_and_host_close_at_once)
{
	struct pair p = e2e_guest_connects(&vm, vhd.uds);

	sock_shutdown(p.guest, VSOCK_SHUTDOWN_BOTH);
	close(p.host);
	ck_assert(sock_wait_reset(p.guest, DEADLINE_MS));
	e2e_check_alive();
}
END_TEST

static void add_tests(TCase *tc)
{
	tcase_add_test(tc, guest_shutdown_send_host_sees_eof_and_still_writes);
	tcase_add_test(tc, guest_shutdown_send_delivers_all_data_first);
	tcase_add_test(tc, guest_shutdown_rcv_host_writes_fail);
	tcase_add_test(tc, guest_shutdown_flags_accumulate);
	tcase_add_test(tc, guest_shutdown_without_flags_changes_nothing);
	tcase_add_test(tc, guest_close_drains_to_a_slow_host_then_rst);
	tcase_add_test(tc, guest_close_completes_at_once_when_drained);
	tcase_add_test(tc, host_shut_wr_sends_shutdown_send_only);
	tcase_add_test(tc, half_close_both_ways_ends_in_rst);
	tcase_add_test(tc, host_close_delivers_data_then_shutdown_both);
	tcase_add_test(tc, guest_writes_after_host_closed_rst);
	tcase_add_test(tc, host_closes_with_unread_data_rst);
	tcase_add_test(tc, data_after_own_shutdown_send_rst);
	tcase_add_test(tc, guest_and_host_close_at_once);
}

int main(void)
{
	Suite *s = suite_create("close");

	add_tests(e2e_case(s, "close", e2e_setup_vm, 60));
	tcase_add_test(e2e_case(s, "linger", e2e_setup_bare, 60),
		       guest_close_drain_is_bounded_by_linger);
	return e2e_run(s);
}
