/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Siblings under load: many bytes, many connections, receivers that stop and
 * guests that flood. Nothing is lost, and nobody else is held up.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "e2e/sibs.h"

enum { MIB = 1 << 20, MAX_CONNS = 4096, SHARE = MAX_CONNS / 2 };

static struct sib *const a = &sibs[0], *const b = &sibs[1];

static void setup_bare(void)
{
	e2e_setup_bare();
	sibs_spawn(2, NULL);
}

static void setup(void)
{
	setup_bare();
	sib_up(a, NULL);
	sib_up(b, NULL);
}

/* A may buffer what its guest has credit for, and has no room for large pipes. */
static void setup_tight(void)
{
	static const char *const groups[] = {
		"default,max-buffered=160000,tx-buffer-size=65536", "default",
	};

	e2e_setup_bare();
	sibs_spawn(2, groups);
	sib_up(a, NULL);
	sib_up(b, NULL);
}

/* A may buffer 2 MiB, and B's sockets take little. */
static void setup_bounded(void)
{
	static const char *const groups[] = { "default,max-buffered=2097152", "default" };
	static const struct driver_options small = { .buf_alloc = 4096, .sends_ahead = true };

	e2e_setup_bare();
	sibs_spawn(2, groups);
	sib_up(a, NULL);
	sib_up(b, &small);
}

/* Moves @len each way between A and B and between each and the host, at once. */
static void move_all(struct sib_pair p, uint64_t len)
{
	struct sib_host_flow ha, hb;
	struct flow fa[2], fb[2];
	struct sib_run ra = { .d = &a->d, .flows = fa, .n = 2 };
	struct sib_run rb = { .d = &b->d, .flows = fb, .n = 2 };

	sib_host_flow_start(&ha, a, len, 10);
	sib_host_flow_start(&hb, b, len, 20);
	fa[0] = sibs_flow(p.from, len, 1, 2);
	fb[0] = sibs_flow(p.to, len, 2, 1);
	fa[1] = ha.flow;
	fb[1] = hb.flow;
	sib_run_start(&ra);
	sib_run_start(&rb);
	sib_run_finish(&ra);
	sib_run_finish(&rb);
	sib_host_flow_finish(&ha);
	sib_host_flow_finish(&hb);
}

START_TEST(all_talk_16_mib_each_way_at_once)
{
	move_all(sibs_connect(a, b), 16 * MIB);
	sibs_check_alive(a, b);
}
END_TEST

START_TEST(small_pipes_do_it_too)
{
	struct sib_pair p = sibs_connect(a, b);
	struct flow fa = sibs_flow(p.from, 4 * MIB, 1, 2), fb = sibs_flow(p.to, 4 * MIB, 2, 1);
	struct sib_run ra = { .d = &a->d, .flows = &fa, .n = 1 };
	struct sib_run rb = { .d = &b->d, .flows = &fb, .n = 1 };

	sib_run_start(&ra);
	sib_run_start(&rb);
	sib_run_finish(&ra);
	sib_run_finish(&rb);
	sibs_close(p);
}
END_TEST

START_TEST(eight_connections_at_once)
{
	enum { N = 8 };
	struct flow fa[N], fb[N];
	struct sib_run ra = { .d = &a->d, .flows = fa, .n = N };
	struct sib_run rb = { .d = &b->d, .flows = fb, .n = N };

	for (uint32_t i = 0; i < N; i++) {
		struct sib_pair p = i & 1 ? sibs_connect(b, a) : sibs_connect(a, b);

		fa[i] = sibs_flow(i & 1 ? p.to : p.from, 2 * MIB, i, 100 + i);
		fb[i] = sibs_flow(i & 1 ? p.from : p.to, 2 * MIB, 100 + i, i);
	}
	sib_run_start(&ra);
	sib_run_start(&rb);
	sib_run_finish(&ra);
	sib_run_finish(&rb);
	sibs_check_alive(a, b);
}
END_TEST

static const struct driver_options shapes[] = {
	{ .rx_buf_len = 64 }, { .rx_buf_len = 44 + 1, .queue_size = 64 },
	{ .rx_buf_len = 100, .rx_shape = RX_SPLIT_HEADER }, { .rx_buf_len = 65536 + 44 },
	{ .queue_size = 4, .rx_buf_len = 256 }, { .buf_alloc = 1000 },
	{ .rx_buf_len = 200, .rx_shape = RX_INDIRECT, .tx_shape = TX_INDIRECT },
};

/* A's packets are larger than B's buffers, or B's credit. */
START_TEST(receiver_of_any_shape)
{
	struct flow fa, fb;
	struct sib_run ra = { .d = &a->d, .flows = &fa, .n = 1 };
	struct sib_run rb = { .d = &b->d, .flows = &fb, .n = 1 };
	struct sib_pair p;

	sib_up(a, NULL);
	sib_up(b, &shapes[_i]);
	p = sibs_connect(a, b);
	fa = sibs_flow(p.from, 300000, 1, 2);
	fb = sibs_flow(p.to, 300000, 2, 1);
	sib_run_start(&ra);
	sib_run_start(&rb);
	sib_run_finish(&ra);
	sib_run_finish(&rb);
	ck_assert_uint_ge(b->d.n_rx_pkts, 300000 / b->d.opt.rx_buf_len);
}
END_TEST

/* A<->B, A<->host, B<->host; B gives no more RX buffers; then it does again. */
START_TEST(four_way)
{
	enum { BEFORE = 1 * MIB, LEN = 8 * MIB };
	struct sib_pair p = sibs_connect(a, b);
	struct sib_host_flow ha, hb;
	struct flow fa[2], fb[2];
	struct sib_run ra = { .d = &a->d, .flows = fa, .n = 2 };
	struct sib_run rb = { .d = &b->d, .flows = fb, .n = 2 };
	uint64_t taken;

	move_all(p, BEFORE);
	fa[0] = sibs_flow(p.from, LEN, 1, 2);
	fb[0] = sibs_flow(p.to, LEN, 2, 1);
	flow_attach(&fb[0]);
	sib_host_flow_start(&hb, b, LEN, 20);
	fb[1] = hb.flow;
	flow_attach(&fb[1]);
	b->d.holds_rx = true;
	while (driver_wait(&b->d, deadline_in(QUIET_MS), false))
		;

	sib_host_flow_start(&ha, a, 4 * LEN, 10);
	fa[0].may_be_stuck = true;
	fa[1] = ha.flow;
	flow_run(&a->d, fa, 2);			/* in full, while B takes nothing */
	sib_host_flow_finish(&ha);
	taken = fa[0].sent;
	ck_assert_uint_lt(taken, LEN);
	ck_assert_uint_ge(taken, 64 * 1024);
	sib_check_host(a);
	ck_assert_int_eq(p.from->state, SOCK_OPEN);

	driver_release_rx(&b->d);
	sib_host_flow_start(&ha, a, LEN, 10);
	fa[0].may_be_stuck = false;
	fa[1] = ha.flow;
	sib_run_start(&ra);
	sib_run_start(&rb);
	sib_run_finish(&ra);
	sib_run_finish(&rb);
	sib_host_flow_finish(&ha);
	sib_host_flow_finish(&hb);
	ck_assert_uint_gt(fa[0].sent, taken);
	sibs_check_alive(a, b);
}
END_TEST

/* B reads nothing of one connection: A's others, to B too, go on. */
START_TEST(slow_socket_holds_up_nobody_else)
{
	struct sib_pair slow = sibs_connect(a, b), fast = sibs_connect(a, b);
	uint64_t sent = sibs_fill(slow.from, 7);

	move_all(fast, 4 * MIB);
	sock_shutdown(slow.from, VSOCK_SHUTDOWN_SEND);
	ck_assert_uint_eq(sibs_drain(slow.to, 7), sent);
}
END_TEST

/* Both send and neither reads: all stop, and go on as soon as one reads. */
START_TEST(both_full_is_no_deadlock)
{
	struct sib_pair p = sibs_connect(a, b);
	uint64_t one = sibs_fill(p.from, 1), two = sibs_fill(p.to, 2);

	sock_shutdown(p.from, VSOCK_SHUTDOWN_SEND);
	sock_shutdown(p.to, VSOCK_SHUTDOWN_SEND);
	ck_assert_uint_eq(sibs_drain(p.to, 1), one);
	ck_assert_uint_eq(sibs_drain(p.from, 2), two);
	sibs_check_alive(a, b);
}
END_TEST

static void pass_second(void)
{
	driver_is_quiet(&a->d, 1000);
}

START_TEST(nothing_moves_nobody_wakes)
{
	struct sib_pair p = sibs_connect(a, b), q = sibs_connect(b, a);

	sibs_fill(p.from, 1);
	sibs_check_talks(q);
	b->d.holds_rx = true;
	sibs_fill(q.to, 1);
	driver_is_quiet(&a->d, QUIET_MS);
	driver_is_quiet(&b->d, QUIET_MS);
	ck_assert(daemon_rests(&vhd, daemon_usage_both, pass_second, 50, 5 + E2E_WAKEUPS(2)));
	driver_release_rx(&b->d);
	sock_shutdown(p.from, VSOCK_SHUTDOWN_SEND);
	ck_assert_uint_gt(sibs_drain(p.to, 1), 0);
}
END_TEST

/* What A's connections leave in their pipes, which B does not read, is A's still. */
START_TEST(closed_connections_are_charged)
{
	enum { N = 240 };
	static struct sib_pair p[N];
	static uint8_t bytes[VSOCK_BODY_MAX];
	struct daemon_usage before, after;

	sibs_check_alive(a, b);
	before = daemon_usage(&vhd);
	for (int i = 0; i < N; i++) {
		struct driver_pkt rw;

		p[i] = sibs_connect(a, b);
		rw = driver_pkt(&a->d, VSOCK_OP_RW, p[i].from->port, PORT);
		rw.dst_cid = b->cid;
		rw.len = VSOCK_BODY_MAX;
		for (int j = 0; j < 2; j++)	/* a large pipe's worth */
			ck_assert(driver_send(&a->d, &rw, bytes));
		ck_assert(driver_flush(&a->d));
		sock_send_rst(p[i].from);
		sock_free(p[i].from);
	}
	ck_assert(driver_flush(&a->d));
	after = daemon_usage(&vhd);
	ck_assert_uint_lt(after.rss_bytes, before.rss_bytes + 3 * MIB + SANITIZER_RSS_SLACK);
	for (int i = 0; i < N; i++) {
		struct sock *s = p[i].to;

		while (sock_recv(s, bytes, sizeof bytes, DEADLINE_MS) > 0)
			;
		ck_assert_int_eq(s->state, SOCK_RESET);
		sock_free(s);
	}
	move_all(sibs_connect(a, b), MIB);	/* it has all of its budget again */
}
END_TEST

static void drop(struct driver *d, const struct driver_pkt *p, const uint8_t *data)
{
	(void)d, (void)p, (void)data;
}

/* 256 MiB from A without a look at its credit, while B talks to the host. */
START_TEST(flood_beyond_credit)
{
	struct sib_pair p = sibs_connect(a, b);
	struct driver_pkt rw = driver_pkt(&a->d, VSOCK_OP_RW, p.from->port, PORT);
	struct daemon_usage before, after;
	struct sib_host_flow hb;
	struct sib_run rb = { .d = &b->d, .flows = &hb.flow, .n = 1 };

	move_all(sibs_connect(a, b), MIB);	/* what all traffic needs once */
	rw.dst_cid = b->cid;
	rw.len = VSOCK_BODY_MAX;
	before = daemon_usage(&vhd);
	sib_host_flow_start(&hb, b, 16 * MIB, 1);
	sib_run_start(&rb);
	a->d.input = drop;
	for (int i = 0; i < 4096; i++) {
		ck_assert(driver_send(&a->d, &rw, NULL));
		driver_turn(&a->d);
	}
	ck_assert(driver_flush(&a->d));
	while (!driver_is_quiet(&a->d, QUIET_MS))
		;
	after = daemon_usage(&vhd);
	sib_run_finish(&rb);
	sib_host_flow_finish(&hb);
	ck_assert_uint_lt(after.rss_bytes, before.rss_bytes + 2 * MIB + SANITIZER_RSS_SLACK);
	a->d.input = sock_input;
	while (p.to->state == SOCK_OPEN) {	/* some of it, and a reset */
		static uint8_t bytes[65536];

		ck_assert_int_ge(sock_recv(p.to, bytes, sizeof bytes, DEADLINE_MS), 0);
	}
	ck_assert_uint_eq(p.to->peer_shutdown, 0);
	sock_free(p.from);
	sibs_check_alive(a, b);
}
END_TEST

START_TEST(connections_1000)
{
	enum { N = 1000 };
	struct sib_pair *p = calloc(N, sizeof *p);
	struct daemon_usage before;

	sibs_check_alive(a, b);
	before = daemon_usage(&vhd);
	for (uint32_t i = 0; i < N; i++)
		p[i] = i & 1 ? sibs_connect(a, b) : sibs_connect(b, a);
	for (uint32_t round = 0; round < 2; round++)
		for (uint32_t i = 0; i < N; i++) {
			sibs_check_moves(p[i].from, p[i].to, 3000, i);
			sibs_check_moves(p[i].to, p[i].from, 3000, N + i);
		}
	for (uint32_t i = 0; i < N; i++)
		sibs_close(p[i]);
	ck_assert(daemon_wait_fds(&vhd, before.fds, DEADLINE_MS));
	sibs_check_alive(a, b);
	free(p);
}
END_TEST

/* A takes all of B's connections that siblings may have: not the host's. */
START_TEST(half_of_the_table)
{
	struct sib_pair *p = calloc(SHARE, sizeof *p), last;
	struct sock *s;

	for (uint32_t i = 0; i < SHARE; i++)
		p[i] = sibs_connect(a, b);
	s = sock_dial_to(&a->d, b->cid, PORT);
	ck_assert(!sock_wait_open(s));
	sib_check_host(b);
	sib_check_host(a);
	last = sibs_connect(b, a);		/* B's own go on */
	sibs_check_talks(last);
	sibs_check_talks(p[SHARE - 1]);
	sibs_close(p[0]);
	ck_assert(driver_flush(&b->d));		/* its RST was taken */
	sibs_check_talks(sibs_connect(a, b));
	free(p);
}
END_TEST

static void setup_three(void)
{
	static const char *const groups[] = { "default", "default,max-connections=16", "default" };

	e2e_setup_bare();
	sibs_spawn(3, groups);
	for (int i = 0; i < 3; i++)
		sib_up(&sibs[i], NULL);
}

static void takes_all_it_can(struct sib *from, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		sibs_connect(from, b);
	ck_assert(!sock_wait_open(sock_dial_to(&from->d, b->cid, PORT)));
}

/* Of B's 16 siblings get 8: of these 4 are for any of them, and 2 for each of both. */
START_TEST(each_has_its_share)
{
	takes_all_it_can(a, 4 + 2);
	takes_all_it_can(&sibs[2], 2);
}
END_TEST

static void *send_single_bytes(void *arg)
{
	struct sock *s = arg;

	while (s->state == SOCK_OPEN) {
		sock_send_some(s, "x", 1);
		driver_turn(s->d);
	}
	return NULL;
}

/*
 * B closes while A sends. If A is told of an orderly end, then what the daemon
 * said it had passed on has arrived; otherwise the end is a reset.
 */
START_TEST(orderly_end_means_all_arrived)
{
	for (int i = 0; i < 1000; i++) {
		struct sib_pair p = sibs_connect(a, b);
		int64_t deadline = deadline_in(DEADLINE_MS);
		pthread_t thread;

		must(pthread_create(&thread, NULL, send_single_bytes, p.from) == 0);
		while (p.to->arrived < 10 + (uint32_t)i % 50)
			ck_assert(driver_wait(&b->d, deadline, false));
		sock_shutdown(p.to, VSOCK_SHUTDOWN_BOTH);
		ck_assert(sock_wait_reset(p.to, DEADLINE_MS));
		must(pthread_join(thread, NULL) == 0);
		if (p.from->peer_shutdown == VSOCK_SHUTDOWN_BOTH)
			ck_assert_uint_le(p.from->peer_fwd_cnt, p.to->arrived);
		sock_free(p.from);
		sock_free(p.to);
	}
	sibs_check_alive(a, b);
}
END_TEST

static TCase *add_case(Suite *s, const char *name, void (*setup_it)(void))
{
	return e2e_case_with(s, name, setup_it, sibs_teardown, 120);
}

int main(void)
{
	Suite *s = suite_create("sibling_load");
	TCase *up = add_case(s, "up", setup), *bare = add_case(s, "bare", setup_bare);

	tcase_add_test(add_case(s, "tight", setup_tight), small_pipes_do_it_too);
	tcase_add_test(add_case(s, "bounded", setup_bounded), closed_connections_are_charged);
	tcase_add_test(add_case(s, "three", setup_three), each_has_its_share);
	tcase_add_test(up, all_talk_16_mib_each_way_at_once);
	tcase_add_test(up, eight_connections_at_once);
	tcase_add_loop_test(bare, receiver_of_any_shape, 0,
			    (int)(sizeof shapes / sizeof *shapes));
	tcase_add_test(up, four_way);
	tcase_add_test(up, slow_socket_holds_up_nobody_else);
	tcase_add_test(up, both_full_is_no_deadlock);
	tcase_add_test(up, nothing_moves_nobody_wakes);
	tcase_add_test(up, orderly_end_means_all_arrived);
	tcase_add_test(up, flood_beyond_credit);
	if (e2e_may_open(4096, "1000 connections"))
		tcase_add_test(up, connections_1000);
	if (e2e_may_open(16384, "half of the table"))
		tcase_add_test(up, half_of_the_table);
	return e2e_run(s);
}
