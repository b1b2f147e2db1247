/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Siblings: who reaches whom, how their connections begin and end, and what one
 * of them sees when the other is gone.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "e2e/sibs.h"

enum { AT_ONCE_MS = 2500 };			/* generous for microseconds */

static struct sib *const a = &sibs[0], *const b = &sibs[1], *const c = &sibs[2];

/* A and B run, C's guest does not. */
static void setup(void)
{
	e2e_setup_bare();
	sibs_spawn(3, NULL);
	sib_up(a, NULL);
	sib_up(b, NULL);
}

START_TEST(a_line_each_way)
{
	struct sib_pair p = _i ? sibs_connect(b, a) : sibs_connect(a, b);
	char line[16] = "";

	ck_assert(sock_send(p.from, "ping\n", 5));
	ck_assert_uint_eq(sock_recv_full(p.to, line, 5), 5);
	ck_assert_str_eq(line, "ping\n");
	ck_assert(sock_send(p.to, "pong\n", 5));
	ck_assert_uint_eq(sock_recv_full(p.from, line, 5), 5);
	ck_assert_str_eq(line, "pong\n");
	sibs_check_talks(p);
	sibs_close(p);
	sibs_check_alive(a, b);
}
END_TEST

START_TEST(half_close)
{
	struct sib_pair p = sibs_connect(a, b);
	struct sock *one = _i ? p.to : p.from, *two = _i ? p.from : p.to;

	sibs_check_moves(one, two, 50000, 1);
	sock_shutdown(one, VSOCK_SHUTDOWN_SEND);
	ck_assert(sock_wait_shutdown(two, VSOCK_SHUTDOWN_SEND, DEADLINE_MS));
	ck_assert_int_eq(two->state, SOCK_OPEN);
	ck_assert_uint_eq(two->peer_shutdown, VSOCK_SHUTDOWN_SEND);
	for (uint32_t i = 0; i < 5; i++)
		sibs_check_moves(two, one, 50000, 2 + i);
	sock_shutdown(two, VSOCK_SHUTDOWN_SEND);
	ck_assert(sock_wait_shutdown(one, VSOCK_SHUTDOWN_SEND, DEADLINE_MS));
	ck_assert(sock_close(one));
	ck_assert(sock_close(two));
	sibs_check_alive(a, b);
}
END_TEST

/* All that was sent before the end arrives, then the end. */
START_TEST(close_delivers_the_tail)
{
	struct sib_pair p = sibs_connect(a, b);
	uint64_t sent = sibs_fill(p.from, 1);

	ck_assert_uint_ge(sent, 64 * 1024);
	sock_shutdown(p.from, _i ? VSOCK_SHUTDOWN_BOTH : VSOCK_SHUTDOWN_SEND);
	ck_assert_uint_eq(sibs_drain(p.to, 1), sent);
	ck_assert_uint_ne(p.to->peer_shutdown & VSOCK_SHUTDOWN_SEND, 0);
	ck_assert(sock_close(p.to));
	if (_i)
		ck_assert(sock_wait_reset(p.from, DEADLINE_MS));
	else
		ck_assert(sock_wait_shutdown(p.from, VSOCK_SHUTDOWN_BOTH, DEADLINE_MS));
	sibs_check_alive(a, b);
}
END_TEST

/* A reader that wants no more: the writer is told. */
START_TEST(shutdown_of_reading)
{
	struct sib_pair p = sibs_connect(a, b);

	sock_shutdown(p.to, VSOCK_SHUTDOWN_RCV);
	ck_assert(driver_flush(&b->d));
	sock_send_some(p.from, "x", 1);
	ck_assert(sock_wait_shutdown(p.from, VSOCK_SHUTDOWN_RCV, DEADLINE_MS));
	sibs_check_moves(p.to, p.from, 1000, 1);
	sock_send_rst(p.to);
	ck_assert(sock_wait_reset(p.from, AT_ONCE_MS));
	sock_free(p.to);
	sock_free(p.from);
	sibs_check_alive(a, b);
}
END_TEST

START_TEST(rst_passes_through)
{
	struct sib_pair p = sibs_connect(a, b);
	struct sock *one = _i ? p.to : p.from, *two = _i ? p.from : p.to;

	sibs_check_talks(p);
	sock_send_rst(one);
	sock_free(one);
	ck_assert(sock_wait_reset(two, AT_ONCE_MS));
	ck_assert_uint_eq(two->peer_shutdown, 0);
	sibs_check_alive(a, b);
}
END_TEST

struct refusal {
	const char *name;
	uint64_t cid;
};

static const struct refusal refusals[] = {
	{ "nobody listens", 4 }, { "no guest is running there", 5 }, { "unknown", 6 },
	{ "oneself", 3 }, { "hypervisor", 0 }, { "local", 1 }, { "any", UINT32_MAX },
	{ "beyond 32 bits", (UINT64_C(1) << 32) + 4 }, { "all ones", UINT64_MAX },
};

START_TEST(refused_at_once)
{
	const struct refusal *r = &refusals[_i];
	struct sock *s = sock_dial_to(&a->d, r->cid, 999);
	int64_t start = daemon_clock_ms(&vhd);

	if (r->cid == b->cid) {
		ck_assert(driver_wait(&b->d, deadline_in(DEADLINE_MS), false));
		ck_assert_uint_eq(b->d.n_strangers, 1);
	}
	ck_assert_msg(!sock_wait_open(s), "%s", r->name);
	ck_assert(s->was_refused);
	ck_assert_int_lt(daemon_clock_ms(&vhd) - start, AT_ONCE_MS);
	ck_assert(driver_is_quiet(&a->d, 20));
	sibs_check_alive(a, b);
}
END_TEST

/* Its guest was there, and is not now. */
START_TEST(stopped_sibling_refuses)
{
	struct sock *s;

	ck_assert(vmm_stop(&b->d.fe, b->d.vq, 3));
	s = sock_dial_to(&a->d, b->cid, PORT);
	ck_assert(!sock_wait_open(s));
	driver_rewind(&b->d, 0);
	ck_assert_int_eq(driver_program(&b->d), 0);
	sibs_check_alive(a, b);
}
END_TEST

START_TEST(sibling_that_does_not_answer)
{
	struct sock *s, *late;

	sock_listen(&b->d, PORT);
	s = sock_dial_to(&a->d, b->cid, PORT);
	ck_assert(!sock_wait_open(s));		/* B's guest sleeps all the time */
	late = sock_accept(&b->d, PORT);
	ck_assert(sock_wait_reset(late, DEADLINE_MS));
	sibs_check_alive(a, b);
}
END_TEST

/* Whether B has heard of the connection yet or not. */
START_TEST(opener_gives_up)
{
	struct sock *s, *late;

	sock_listen(&b->d, PORT + 1);
	for (uint32_t i = 0; i < 200; i++) {
		s = sock_dial_to(&a->d, b->cid, PORT + 1);
		if (i % 2)
			ck_assert(driver_flush(&a->d));
		sock_send_rst(s);
		sock_free(s);
	}
	s = sock_dial_to(&a->d, b->cid, PORT + 1);
	while (s->state == SOCK_CONNECTING) {
		driver_wait(&b->d, deadline_in(1), false);
		driver_wait(&a->d, deadline_in(1), false);
	}
	do
		late = sock_accept(&b->d, PORT + 1);
	while (late->peer_port != s->port && sock_wait_reset(late, DEADLINE_MS));
	ck_assert_uint_eq(late->peer_port, s->port);
	sibs_check_talks((struct sib_pair){ s, late });
	sibs_check_alive(a, b);
}
END_TEST

static void vanish(void)
{
	driver_detach(&b->d);
}

static void reboot(void)
{
	driver_reboot(&b->d);
}

/* The driver alone: its rings stop and begin anew, as after RESET in libkrun. */
static void restart_rings(void)
{
	for (uint32_t q = 0; q < 3; q++)
		ck_assert_int_eq(vmm_set_vring_enable(&b->d.fe, q, false), 0);
	driver_rewind(&b->d, 0);
	ck_assert_int_eq(driver_program(&b->d), 0);
}

static void (*const ends[])(void) = { vanish, reboot, restart_rings };

static void bring_back(void)
{
	if (b->d.fe.sock < 0) {
		driver_deinit(&b->d);
		sib_up(b, NULL);
	}
}

START_TEST(gone_while_idle)
{
	struct sib_pair p = sibs_connect(a, b), q = sibs_connect(b, a);
	int64_t start;

	sibs_check_talks(p);
	ck_assert(driver_flush(&b->d));
	start = daemon_clock_ms(&vhd);
	ends[_i]();
	ck_assert(sock_wait_reset(p.from, DEADLINE_MS));
	ck_assert(sock_wait_reset(q.to, DEADLINE_MS));
	ck_assert_int_lt(daemon_clock_ms(&vhd) - start, AT_ONCE_MS);
	sock_free(p.from);			/* the names are free again */
	sock_free(q.to);
	bring_back();
	sibs_check_alive(a, b);
}
END_TEST

START_TEST(receiver_gone_in_mid_transfer)
{
	struct sib_pair p = sibs_connect(a, b);
	int64_t start;

	ck_assert_uint_gt(sibs_fill(p.from, 1), 0);
	start = daemon_clock_ms(&vhd);
	ends[_i]();
	ck_assert(sock_wait_reset(p.from, DEADLINE_MS));
	ck_assert_int_lt(daemon_clock_ms(&vhd) - start, AT_ONCE_MS);
	bring_back();
	sibs_check_alive(a, b);
}
END_TEST

/* What it had sent is right as far as it goes, and ends in a reset, not in EOF. */
START_TEST(sender_gone_in_mid_transfer)
{
	struct sib_pair p = sibs_connect(a, b);
	uint64_t sent = sibs_fill(p.to, 1);

	ends[_i]();
	ck_assert_uint_le(sibs_drain(p.from, 1), sent);
	ck_assert(sock_wait_reset(p.from, AT_ONCE_MS));
	ck_assert_uint_eq(p.from->peer_shutdown, 0);
	bring_back();
	sibs_check_alive(a, b);
}
END_TEST

/* A sends in B's name: to the host, to B, and into B's connection with C. */
START_TEST(spoofed_source_is_dropped)
{
	struct driver_pkt spoofed = driver_pkt(&a->d, VSOCK_OP_REQUEST, 1024, PORT);
	struct sib_pair p;
	int listener;
	uint64_t before;

	sib_up(c, NULL);
	p = sibs_connect(b, c);
	sibs_check_talks(p);
	while (!driver_is_quiet(&b->d, 20) || !driver_is_quiet(&c->d, 20))
		;				/* credit of what was said */
	listener = host_listen(a->uds, PORT, 4);
	before = b->d.n_rx_pkts + c->d.n_rx_pkts;
	spoofed.src_cid = b->cid;
	ck_assert(driver_send(&a->d, &spoofed, NULL));		/* the host */
	spoofed.dst_cid = c->cid;
	ck_assert(driver_send(&a->d, &spoofed, NULL));
	spoofed.src_port = p.from->port;
	for (uint16_t op = VSOCK_OP_REQUEST; op <= VSOCK_OP_CREDIT_REQUEST; op++) {
		spoofed.op = op;
		spoofed.flags = VSOCK_SHUTDOWN_BOTH;
		spoofed.len = op == VSOCK_OP_RW ? 10 : 0;
		ck_assert(driver_send(&a->d, &spoofed, "0123456789"));
	}
	ck_assert(driver_flush(&a->d));
	ck_assert(driver_is_quiet(&a->d, QUIET_MS));
	ck_assert(driver_is_quiet(&c->d, 20));
	ck_assert_uint_eq(b->d.n_rx_pkts + c->d.n_rx_pkts, before);
	ck_assert(!deadline_poll(listener, POLLIN, now_ms()));
	host_unlisten(listener, a->uds, PORT);
	sibs_check_talks(p);
	ck_assert(daemon_wait_log(&vhd, "packet from cid 4 dropped"));
	sibs_check_alive(a, b);
}
END_TEST

/* The same port of A, with the host, B and C, all at its port PORT. */
START_TEST(one_port_with_host_and_siblings)
{
	int listener = host_listen(a->uds, PORT, 4), host;
	struct sib_pair pb, pc;
	struct pair ph;

	sib_up(c, NULL);
	ph.guest = sock_connect(&a->d, PORT);
	ph.host = host = host_accept(listener);
	a->d.next_port--;
	pb = sibs_connect(a, b);
	a->d.next_port--;
	pc = sibs_connect(a, c);
	ck_assert_uint_eq(pb.from->port, ph.guest->port);
	ck_assert_uint_eq(pc.from->port, ph.guest->port);
	for (int i = 0; i < 3; i++) {
		e2e_check_talks(ph);
		sibs_check_talks(pb);
		sibs_check_talks(pc);
	}
	sibs_close(pb);
	e2e_check_talks(ph);
	sibs_check_talks(pc);
	close(host);
	ck_assert(sock_wait_shutdown(ph.guest, VSOCK_SHUTDOWN_BOTH, DEADLINE_MS));
	sibs_check_talks(pc);
	host_unlisten(listener, a->uds, PORT);
}
END_TEST

static const struct driver_options large = { .buf_alloc = 4 << 20 };
static const struct driver_options ahead = { .sends_ahead = true };

/* Credit goes from end to end: what a guest has on the way is never more than its own
 * buffer (--tx-buffer-size), however much the other could take. */
START_TEST(on_the_way_no_more_than_the_buffer)
{
	struct sib_pair p;
	uint64_t sent;

	driver_deinit(&a->d);
	driver_deinit(&b->d);
	sib_up(a, &ahead);
	sib_up(b, &large);
	p = sibs_connect(a, b);
	sent = sibs_fill(p.from, 1);
	ck_assert_uint_eq(sent, p.from->peer_buf_alloc);
	ck_assert_uint_eq(p.from->peer_fwd_cnt, 0);
	sock_shutdown(p.from, VSOCK_SHUTDOWN_SEND);
	ck_assert_uint_eq(sibs_drain(p.to, 1), sent);
	sibs_check_alive(a, b);
}
END_TEST

/* The receiver reads no more, and has not read all: a sender without credit hears of it. */
START_TEST(receiver_that_reads_no_more)
{
	struct sib_pair p;

	p = sibs_connect(a, b);
	sibs_fill(p.from, 1);
	sock_shutdown(p.to, VSOCK_SHUTDOWN_RCV);
	driver_turn(&b->d);
	ck_assert(sock_wait_shutdown(p.from, VSOCK_SHUTDOWN_RCV, DEADLINE_MS));
	sibs_check_alive(a, b);
}
END_TEST

/* One with a large buffer does not tell for long what it has consumed: it is asked. */
START_TEST(receiver_that_has_to_be_asked)
{
	enum { LEN = 16 << 20 };
	struct flow fa, fb;
	struct sib_run ra = { .d = &a->d, .flows = &fa, .n = 1 };
	struct sib_run rb = { .d = &b->d, .flows = &fb, .n = 1 };
	struct sib_pair p;

	driver_deinit(&b->d);
	sib_up(b, &large);
	p = sibs_connect(a, b);
	fa = sibs_flow(p.from, 0, 1, 2);
	fb = sibs_flow(p.to, 0, 2, 1);
	fa.to_send = fb.to_recv = LEN;
	sib_run_start(&ra);
	sib_run_start(&rb);
	sib_run_finish(&ra);
	sib_run_finish(&rb);
	ck_assert_uint_ge(p.to->n_credit_requests, LEN / p.from->peer_buf_alloc / 2);
	sibs_close(p);
}
END_TEST

static void run_flows(struct sib_pair p, uint64_t len)
{
	struct flow fa = sibs_flow(p.from, 0, 1, 2), fb = sibs_flow(p.to, 0, 2, 1);
	struct sib_run ra = { .d = p.from->d, .flows = &fa, .n = 1 };
	struct sib_run rb = { .d = p.to->d, .flows = &fb, .n = 1 };

	fa.to_send = fb.to_recv = len;
	sib_run_start(&ra);
	sib_run_start(&rb);
	sib_run_finish(&ra);
	sib_run_finish(&rb);
}

/* It sends no more ahead than its own buffer holds, and goes on when it hears of it; whoever
 * has called, and whether or not the receiver has to be asked. */
START_TEST(sender_with_a_small_buffer)
{
	static const uint32_t sizes[] = { 1, 100, 4096, 65535 };
	struct driver_options small = { .buf_alloc = sizes[_i / 4] };
	struct sib_pair p;

	driver_deinit(&a->d);
	sib_up(a, &small);
	if (_i & 1) {
		driver_deinit(&b->d);
		sib_up(b, &large);
	}
	p = _i & 2 ? sibs_connect(a, b) : sibs_connect(b, a);
	if (p.from->d != &a->d)
		p = (struct sib_pair){ .from = p.to, .to = p.from };
	run_flows(p, 100 * sizes[_i / 4]);
	sibs_close(p);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("siblings");
	TCase *tc = e2e_case_with(s, "siblings", setup, sibs_teardown, 60);

	tcase_add_loop_test(tc, a_line_each_way, 0, 2);
	tcase_add_loop_test(tc, half_close, 0, 2);
	tcase_add_loop_test(tc, close_delivers_the_tail, 0, 2);
	tcase_add_test(tc, shutdown_of_reading);
	tcase_add_loop_test(tc, rst_passes_through, 0, 2);
	tcase_add_loop_test(tc, refused_at_once, 0,
			    (int)(sizeof refusals / sizeof *refusals));
	tcase_add_test(tc, stopped_sibling_refuses);
	tcase_add_test(tc, sibling_that_does_not_answer);
	tcase_add_test(tc, opener_gives_up);
	tcase_add_loop_test(tc, gone_while_idle, 0, 3);
	tcase_add_loop_test(tc, receiver_gone_in_mid_transfer, 0, 3);
	tcase_add_loop_test(tc, sender_gone_in_mid_transfer, 0, 3);
	tcase_add_test(tc, spoofed_source_is_dropped);
	tcase_add_test(tc, one_port_with_host_and_siblings);
	tcase_add_test(tc, on_the_way_no_more_than_the_buffer);
	tcase_add_test(tc, receiver_that_reads_no_more);
	tcase_add_test(tc, receiver_that_has_to_be_asked);
	tcase_add_loop_test(tc, sender_with_a_small_buffer, 0, 16);
	return e2e_run(s);
}
