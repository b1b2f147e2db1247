/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How connections end with programs at unix sockets: the table of endings, and what is
 * about packets or time.
 */
#include <string.h>
#include <unistd.h>

#include "e2e/endings.h"

static struct pair guest_connects(void)
{
	return e2e_guest_connects(&vm, vhd.uds);
}

static struct pair host_connects(void)
{
	return e2e_host_connects(&vm, vhd.uds);
}

static const struct host_kind at_unix_sockets = {
	.guest_connects = guest_connects, .host_connects = host_connects, .tells_loss = true,
};

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

static void add_tests(TCase *tc)
{
	tcase_add_test(tc, guest_close_drains_to_a_slow_host_then_rst);
	tcase_add_test(tc, guest_writes_after_host_closed_rst);
}

int main(void)
{
	Suite *s = suite_create("close");

	endings_add(s, e2e_setup_vm, &at_unix_sockets);
	add_tests(e2e_case(s, "close", e2e_setup_vm, 60));
	tcase_add_test(e2e_case(s, "linger", e2e_setup_bare, 60),
		       guest_close_drain_is_bounded_by_linger);
	return e2e_run(s);
}
