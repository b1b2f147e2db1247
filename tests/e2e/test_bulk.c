/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Many bytes and many connections: nothing lost, nothing stuck, nobody starved,
 * nothing left behind.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "e2e/e2e.h"
#include "e2e/flow.h"

enum { MIB = 1 << 20 };

static void run(struct pair p, uint64_t to_host, uint64_t to_guest)
{
	struct host_job j = {
		.fd = p.host, .to_write = to_guest, .to_read = to_host,
		.write_seed = 1, .read_seed = 2,
	};
	struct flow f = {
		.sock = p.guest, .to_send = to_host, .to_recv = to_guest,
		.send_seed = 2, .recv_seed = 1,
	};

	host_job_start(&j);
	flow_run(&vm, &f, 1);
	ck_assert_msg(host_job_finish(&j), "%s", j.error);
}

START_TEST(bulk_64_mib_guest_to_host)
{
	run(e2e_guest_connects(&vm, vhd.uds), 64 * MIB, 0);
}
END_TEST

START_TEST(bulk_64_mib_host_to_guest)
{
	run(e2e_host_connects(&vm, vhd.uds), 0, 64 * MIB);
}
END_TEST

START_TEST(bulk_64_mib_both_ways_at_once)
{
	run(e2e_guest_connects(&vm, vhd.uds), 64 * MIB, 64 * MIB);
}
END_TEST

/* It sends no more ahead than its own buffer holds, and goes on when it hears of it. */
START_TEST(guest_with_a_small_buffer)
{
	static const uint32_t sizes[] = { 1, 100, 4096, 65535 };
	struct driver_options opt = { .buf_alloc = sizes[_i] };

	driver_deinit(&vm);
	driver_up(&vm, vhd.socket, &opt);
	run(e2e_guest_connects(&vm, vhd.uds), 100 * sizes[_i], 0);
	run(e2e_host_connects(&vm, vhd.uds), 100 * sizes[_i], 10 * sizes[_i]);
}
END_TEST

START_TEST(host_echoes_10_mib)
{
	struct pair p = e2e_guest_connects(&vm, vhd.uds);
	struct host_job j = { .fd = p.host, .echo = true, .to_read = 10 * MIB,
			      .read_seed = 3 };
	struct flow f = { .sock = p.guest, .to_send = 10 * MIB, .to_recv = 10 * MIB,
			  .send_seed = 3, .recv_seed = 3 };

	host_job_start(&j);
	flow_run(&vm, &f, 1);
	ck_assert_msg(host_job_finish(&j), "%s", j.error);
}
END_TEST

START_TEST(guest_echoes_10_mib)
{
	struct pair p = e2e_host_connects(&vm, vhd.uds);
	struct host_job j = { .fd = p.host, .to_write = 10 * MIB, .to_read = 10 * MIB,
			      .write_seed = 4, .read_seed = 4 };
	static uint8_t bytes[65536];
	uint64_t done = 0;
	ssize_t n;

	host_job_start(&j);
	for (; done < 10 * MIB; done += (size_t)n) {
		n = sock_recv(p.guest, bytes, sizeof bytes, DEADLINE_MS);
		ck_assert_int_gt(n, 0);
		ck_assert(sock_send(p.guest, bytes, (size_t)n));
	}
	ck_assert_msg(host_job_finish(&j), "%s", j.error);
}
END_TEST

/* The guest sends all and closes while the host has read nothing. */
START_TEST(tail_arrives_when_the_guest_closes_on_a_slow_host)
{
	struct pair p = e2e_guest_connects(&vm, vhd.uds);
	static uint8_t bytes[4 * MIB];
	size_t sent = 0, n;

	pattern_fill(bytes, sizeof bytes, 0, 1);
	while ((n = sock_send_some(p.guest, bytes + sent, sizeof bytes - sent)) ||
	       driver_wait(&vm, deadline_in(QUIET_MS), true))
		sent += n;
	sock_shutdown(p.guest, VSOCK_SHUTDOWN_BOTH);
	for (size_t at = 0; at < sent; at += 1000) {
		uint8_t got[1000];
		size_t want = sent - at < 1000 ? sent - at : 1000;

		ck_assert_uint_eq(host_read(p.host, got, want), want);
		ck_assert_uint_eq(pattern_check(got, want, at, 1), want);
	}
	ck_assert(host_is_closed(p.host, DEADLINE_MS));
	ck_assert(sock_wait_reset(p.guest, DEADLINE_MS));
}
END_TEST

START_TEST(slow_reader_holds_up_nobody_else)
{
	struct pair slow = e2e_guest_connects(&vm, vhd.uds);
	struct pair fast = e2e_guest_connects(&vm, vhd.uds);
	static const uint8_t bytes[65536];

	while (sock_send_some(slow.guest, bytes, sizeof bytes) ||
	       driver_wait(&vm, deadline_in(QUIET_MS), true))
		;
	run(fast, 16 * MIB, 16 * MIB);
	ck_assert_int_eq(slow.guest->state, SOCK_OPEN);
}
END_TEST

START_TEST(slow_guest_socket_holds_up_nobody_else)
{
	struct pair slow = e2e_host_connects(&vm, vhd.uds);
	struct pair fast = e2e_host_connects(&vm, vhd.uds);
	static const uint8_t bytes[65536];

	while (send(slow.host, bytes, sizeof bytes, MSG_DONTWAIT | MSG_NOSIGNAL) > 0 ||
	       driver_wait(&vm, deadline_in(QUIET_MS), false))
		;
	run(fast, 16 * MIB, 16 * MIB);
	ck_assert_int_eq(slow.guest->state, SOCK_OPEN);
	ck_assert_uint_eq(slow.guest->n_queue, vm.opt.buf_alloc);
}
END_TEST

/* RX buffers come back one by one, late. */
START_TEST(slow_guest_driver_loses_nothing)
{
	struct pair p = e2e_host_connects(&vm, vhd.uds);
	struct host_job j = { .fd = p.host, .to_write = 2 * MIB, .write_seed = 5 };
	int64_t deadline = deadline_in(DEADLINE_MS);
	static uint8_t bytes[65536];
	uint64_t got = 0;
	ssize_t n;

	vm.holds_rx = true;
	host_job_start(&j);
	while (got < 2 * MIB) {
		while (p.guest->n_queue) {
			n = sock_recv(p.guest, bytes, sizeof bytes, 0);
			ck_assert_uint_eq(pattern_check(bytes, (size_t)n, got, 5), n);
			got += (size_t)n;
		}
		driver_release_some(&vm, 1);
		if (!driver_turn(&vm) && !vm.n_held && got < 2 * MIB)
			ck_assert(driver_wait(&vm, deadline, false));
		ck_assert(deadline_left(deadline));
	}
	ck_assert_msg(host_job_finish(&j), "%s", j.error);
}
END_TEST

/* Connections of both kinds; all talk at once. */
static void check_many(unsigned n, uint64_t len)
{
	struct pair *p = calloc(n, sizeof *p);
	struct flow *f = calloc(n, sizeof *f);
	uint8_t *bytes = malloc(len);

	for (unsigned i = 0; i < n; i++)
		p[i] = i & 1 ? e2e_guest_connects(&vm, vhd.uds)
			     : e2e_host_connects(&vm, vhd.uds);
	for (unsigned i = 0; i < n; i++) {	/* fits into socket buffers */
		pattern_fill(bytes, len, 0, i);
		ck_assert(host_write(p[i].host, bytes, len));
		f[i] = (struct flow){ .sock = p[i].guest, .to_send = len, .to_recv = len,
				      .send_seed = i + 1, .recv_seed = i };
	}
	flow_run(&vm, f, n);
	for (unsigned i = 0; i < n; i++) {
		ck_assert_uint_eq(host_read(p[i].host, bytes, len), len);
		ck_assert_uint_eq(pattern_check(bytes, len, 0, i + 1), len);
	}
	for (unsigned i = 0; i < n; i++)
		e2e_close(p[i]);
	free(bytes);
	free(p);
	free(f);
}

START_TEST(connections_200_at_once)
{
	check_many(200, 50000);
}
END_TEST

START_TEST(connections_1000_at_once)
{
	check_many(1000, 20000);
}
END_TEST

START_TEST(connections_share_fairly)
{
	enum { N = 8 };
	struct host_job j[N];
	struct flow f[N];
	int64_t start, first = INT64_MAX, last = 0;

	for (int i = 0; i < N; i++) {
		struct pair p = e2e_guest_connects(&vm, vhd.uds);

		j[i] = (struct host_job){ .fd = p.host, .to_write = 8 * MIB,
					  .write_seed = (uint32_t)i };
		f[i] = (struct flow){ .sock = p.guest, .to_recv = 8 * MIB,
				      .recv_seed = (uint32_t)i };
	}
	start = now_ms();
	for (int i = 0; i < N; i++)
		host_job_start(&j[i]);
	flow_run(&vm, f, N);
	for (int i = 0; i < N; i++) {
		ck_assert_msg(host_job_finish(&j[i]), "%s", j[i].error);
		first = f[i].done_ms < first ? f[i].done_ms : first;
		last = f[i].done_ms > last ? f[i].done_ms : last;
	}
	/* One after the other the first would need an eighth; half is for noise. */
	ck_assert_int_ge((first - start) * 3, last - start);
}
END_TEST

START_TEST(connections_2000_in_turn_without_growth)
{
	static const struct e2e_growth allowed = { .rss_bytes = MIB };
	struct daemon_usage before;
	struct pair p;

	for (int i = 0; i < 2200; i++) {
		if (i == 200)
			before = daemon_usage(&vhd);
		p = i & 1 ? e2e_guest_connects(&vm, vhd.uds)
			  : e2e_host_connects(&vm, vhd.uds);
		if (i % 16 < 2)
			e2e_check_talks(p);
		if (i % 4 < 2) {
			e2e_close(p);
		} else {
			ck_assert(sock_close(p.guest));
			close(p.host);
		}
	}
	e2e_check_growth(daemon_usage, &before, &allowed);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("bulk");
	TCase *tc = e2e_case(s, "bulk", e2e_setup_vm, 120);

	tcase_add_test(tc, bulk_64_mib_guest_to_host);
	tcase_add_test(tc, bulk_64_mib_host_to_guest);
	tcase_add_test(tc, bulk_64_mib_both_ways_at_once);
	tcase_add_loop_test(tc, guest_with_a_small_buffer, 0, 4);
	tcase_add_test(tc, host_echoes_10_mib);
	tcase_add_test(tc, guest_echoes_10_mib);
	tcase_add_test(tc, tail_arrives_when_the_guest_closes_on_a_slow_host);
	tcase_add_test(tc, slow_reader_holds_up_nobody_else);
	tcase_add_test(tc, slow_guest_socket_holds_up_nobody_else);
	tcase_add_test(tc, slow_guest_driver_loses_nothing);
	tcase_add_test(tc, connections_200_at_once);
	if (e2e_may_open(2048, "1000 connections"))
		tcase_add_test(tc, connections_1000_at_once);
	tcase_add_test(tc, connections_share_fairly);
	tcase_add_test(tc, connections_2000_in_turn_without_growth);
	return e2e_run(s);
}
