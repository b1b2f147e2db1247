/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Another engine takes over under load: siblings in the middle of everything, thousands of
 * connections; and nothing is left of those that have gone.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "e2e/sibs.h"
#include "e2e/upgrade.h"

enum { UPGRADES = 5, MIB = 1 << 20 };

static struct sib *const a = &sibs[0], *const b = &sibs[1];

/* ---- siblings ---- */

/* _i: whether each has a worker of its own. */
static void siblings_up(int has_own_workers)
{
	const char *const extra[] = { has_own_workers ? "--threads=2" : "--threads=1", NULL };

	sibs_spawn_with(2, NULL, extra);
	sib_up(a, NULL);
	sib_up(b, NULL);
}

enum { LINKS = 3 };

static void move(struct sib_pair *pairs, uint64_t len, uint32_t seed)
{
	struct flow fa[LINKS], fb[LINKS];
	struct sib_run ra = { .d = &a->d, .flows = fa, .n = LINKS };
	struct sib_run rb = { .d = &b->d, .flows = fb, .n = LINKS };

	for (uint32_t i = 0; i < LINKS; i++) {
		struct sock *of_a = i & 1 ? pairs[i].to : pairs[i].from;
		struct sock *of_b = i & 1 ? pairs[i].from : pairs[i].to;

		fa[i] = sibs_flow(of_a, len, seed + i, ~seed - i);
		fb[i] = sibs_flow(of_b, len, ~seed - i, seed + i);
	}
	sib_run_start(&ra);
	sib_run_start(&rb);
	sib_run_finish(&ra);
	sib_run_finish(&rb);
}

START_TEST(siblings_in_the_middle_of_transfers)
{
	struct sib_pair pairs[LINKS];
	struct upgrades u;
	uint32_t round = 0;

	siblings_up(_i);
	for (int i = 0; i < LINKS; i++)
		pairs[i] = i & 1 ? sibs_connect(b, a) : sibs_connect(a, b);
	upgrades_start(&u, UPGRADES);
	while (upgrades_go_on(&u))
		move(pairs, 2 * MIB, 100 * ++round);
	upgrades_finish(&u);
	for (int i = 0; i < LINKS; i++)
		sibs_close(pairs[i]);
	sibs_check_alive(a, b);
}
END_TEST

/* Each receiver sleeps; what was sent to it is in the pipe, and in the sender's buffer. */
START_TEST(siblings_that_read_nothing)
{
	struct sib_pair p;
	uint64_t there, back;

	siblings_up(_i);
	p = sibs_connect(a, b);
	b->d.holds_rx = true;
	there = sibs_fill(p.from, 1);
	upgrade();
	a->d.holds_rx = true;
	back = sibs_fill(p.to, 2);
	upgrade();
	driver_release_rx(&b->d);
	driver_release_rx(&a->d);
	sock_shutdown(p.from, VSOCK_SHUTDOWN_SEND);
	sock_shutdown(p.to, VSOCK_SHUTDOWN_SEND);
	upgrade();
	ck_assert_uint_eq(sibs_drain(p.to, 1), there);
	ck_assert_uint_eq(sibs_drain(p.from, 2), back);
	sock_send_rst(p.from);
	sibs_check_alive(a, b);
}
END_TEST

/* A connect between the two: after each of its packets another engine takes over. */
START_TEST(siblings_that_connect)
{
	struct sib_pair p;

	siblings_up(_i);
	sock_listen(&b->d, PORT);
	p.from = sock_dial_to(&a->d, b->cid, PORT);
	ck_assert(driver_flush(&a->d));
	upgrade();
	p.to = sock_accept(&b->d, PORT);
	ck_assert(driver_flush(&b->d));
	upgrade();
	ck_assert(sock_wait_open(p.from));
	sibs_check_talks(p);
	sock_shutdown(p.from, VSOCK_SHUTDOWN_BOTH);
	ck_assert(driver_flush(&a->d));
	upgrade();
	ck_assert(sock_wait_shutdown(p.to, VSOCK_SHUTDOWN_BOTH, DEADLINE_MS));
	upgrade();
	ck_assert(sock_close(p.to));
	upgrade();
	ck_assert(sock_wait_reset(p.from, DEADLINE_MS));
	sibs_check_alive(a, b);
	ck_assert_uint_eq(a->d.n_strangers + b->d.n_strangers, 0);
}
END_TEST

/* They come and go all the time, and none is lost. */
START_TEST(siblings_that_connect_meanwhile)
{
	struct upgrades u;
	int n = 0;

	siblings_up(_i);
	upgrades_start(&u, UPGRADES);
	for (; upgrades_go_on(&u); n++) {
		struct sib_pair p = n & 1 ? sibs_connect(b, a) : sibs_connect(a, b);

		sibs_check_talks(p);
		sibs_close(p);
	}
	upgrades_finish(&u);
	printf("# %d connections\n", n);
	ck_assert_uint_eq(a->d.n_strangers + b->d.n_strangers, 0);
}
END_TEST

/* ---- many ---- */

enum { CONNS = 2000, SLOW = 500, SLOW_BYTES = 20000 };

static uint8_t pattern[SLOW_BYTES], got[SLOW_BYTES];

START_TEST(connections_2000)
{
	static const char *const extra[] = { "--max-buffered=64000000", NULL };
	static struct pair pairs[CONNS];
	int listener;

	if (!e2e_may_open(CONNS + 100, "2,000 connections"))
		return;
	e2e_start(extra, NULL);
	listener = host_listen(vhd.uds, PORT, CONNS);
	for (int i = 0; i < CONNS; i++) {
		pairs[i].guest = sock_connect(&vm, PORT);
		pairs[i].host = host_accept(listener);
		if (i >= SLOW)
			continue;
		must(setsockopt(pairs[i].host, SOL_SOCKET, SO_RCVBUF, &(int){ 1 }, sizeof(int)) == 0);
		pattern_fill(pattern, sizeof pattern, 0, (uint32_t)i);
		ck_assert(sock_send(pairs[i].guest, pattern, sizeof pattern));
		ck_assert(host_write(pairs[i].host, pattern, sizeof pattern / 4));
	}
	for (int i = 0; i < 2; i++)
		upgrade();
	for (int i = 0; i < CONNS; i++) {
		if (i < SLOW) {
			size_t back = sizeof got / 4;

			ck_assert_uint_eq(host_read(pairs[i].host, got, sizeof got), sizeof got);
			ck_assert_uint_eq(pattern_check(got, sizeof got, 0, (uint32_t)i), sizeof got);
			ck_assert_uint_eq(sock_recv_full(pairs[i].guest, got, back), back);
			ck_assert_uint_eq(pattern_check(got, back, 0, (uint32_t)i), back);
		}
		e2e_check_guest_to_host(pairs[i], 1, 1);
		e2e_check_host_to_guest(pairs[i], 1, 1);
	}
	for (int i = 0; i < CONNS; i++)
		e2e_close(pairs[i]);
	host_unlisten(listener, vhd.uds, PORT);
	ck_assert_uint_eq(vm.n_strangers, 0);
}
END_TEST

/* With connections, and without, it costs the same after ten as after one. */
START_TEST(nothing_is_left_over)
{
	enum { N = 10, OPEN = 20 };
	static const struct e2e_growth of_engine = { .rss_bytes = MIB };
	static const struct e2e_growth of_supervisor = { .rss_bytes = MIB / 4 };
	struct daemon_usage engine, supervisor;
	struct pair pairs[OPEN];

	e2e_start(NULL, NULL);
	for (int i = 0; i < OPEN; i++)
		pairs[i] = i & 1 ? e2e_guest_connects(&vm, vhd.uds) : e2e_host_connects(&vm, vhd.uds);
	for (int i = 0; i < N; i++) {
		upgrade();
		for (int k = 0; k < OPEN; k++)
			e2e_check_talks(pairs[k]);
		e2e_check_alive();
		ck_assert(daemon_wait_asleep(&vhd, DEADLINE_MS));
		if (i == 0) {
			engine = daemon_usage(&vhd);
			supervisor = daemon_usage_supervisor(&vhd);
		}
	}
	e2e_check_growth(daemon_usage, &engine, &of_engine);
	e2e_check_growth(daemon_usage_supervisor, &supervisor, &of_supervisor);
	for (int i = 0; i < OPEN; i++)
		e2e_close(pairs[i]);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("upgrade_load");
	TCase *tc = e2e_case_with(s, "siblings", e2e_setup_bare, sibs_teardown, 60);

	tcase_add_loop_test(tc, siblings_in_the_middle_of_transfers, 0, 2);
	tcase_add_loop_test(tc, siblings_that_read_nothing, 0, 2);
	tcase_add_loop_test(tc, siblings_that_connect, 0, 2);
	tcase_add_loop_test(tc, siblings_that_connect_meanwhile, 0, 2);
	tc = e2e_case(s, "many", e2e_setup_bare, 120);
	tcase_add_test(tc, connections_2000);
	tcase_add_test(tc, nothing_is_left_over);
	return e2e_run(s);
}
