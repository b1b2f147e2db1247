/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * VMs that go from one worker to another, because some are busy and others are not: nobody's bytes
 * are lost, nor do those notice who are calm. How many go is up to the machine (unit engine_move
 * moves them by hand); it is printed.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "e2e/sibs.h"
#include "e2e/upgrade.h"

enum { VMS = 4, ROUNDS = 20, ROUNDS_LEAST = 3, MOVES = 3, UPGRADES = 2, CHUNK = 1 << 20,
       FLOW = 1 << 19 };

/* Of two workers the first has the busy ones, the second the others. */
static struct sib *const busy[] = { &sibs[0], &sibs[2] }, *const a = &sibs[1], *const b = &sibs[3];

static void vms_up(void)
{
	static const char *const extra[] = { "--threads=2", "--log-level=debug", NULL };

	sibs_spawn_with(VMS, NULL, extra);
	for (int i = 0; i < VMS; i++)
		sib_up(&sibs[i], NULL);
}

static int count_moves(void)
{
	return upgrade_count_logged(" goes to worker ");
}

/* ---- those that are busy ---- */

static struct load {
	struct pair p;
	uint64_t sent, received;
	pthread_t guest, host;
} loads[2];

static atomic_bool is_over;

/* Whatever lies in the slots: nothing is slower than the daemon. */
static void *run_guest(void *arg)
{
	struct load *l = arg;

	while (!atomic_load(&is_over)) {
		must(sock_send(l->p.guest, NULL, CHUNK));
		l->sent += CHUNK;
	}
	sock_shutdown(l->p.guest, VSOCK_SHUTDOWN_SEND);
	must(driver_flush(l->p.guest->d));
	return NULL;
}

static void *run_host(void *arg)
{
	struct load *l = arg;
	char *bytes = malloc(CHUNK);
	ssize_t n;

	must(bytes);
	while ((n = read(l->p.host, bytes, CHUNK)) > 0)
		l->received += (uint64_t)n;
	must(n == 0);
	free(bytes);
	return NULL;
}

static void loads_start(void)
{
	atomic_store(&is_over, false);
	for (int i = 0; i < 2; i++) {
		loads[i] = (struct load){ .p = e2e_guest_connects(&busy[i]->d, busy[i]->uds) };
		must(pthread_create(&loads[i].guest, NULL, run_guest, &loads[i]) == 0);
		must(pthread_create(&loads[i].host, NULL, run_host, &loads[i]) == 0);
	}
}

static void loads_finish(void)
{
	atomic_store(&is_over, true);
	for (int i = 0; i < 2; i++) {
		struct load *l = &loads[i];

		must(pthread_join(l->guest, NULL) == 0);
		must(pthread_join(l->host, NULL) == 0);
		ck_assert_uint_eq(l->received, l->sent);
		close(l->p.host);
		ck_assert(sock_wait_shutdown(l->p.guest, VSOCK_SHUTDOWN_BOTH, DEADLINE_MS));
		ck_assert(sock_close(l->p.guest));
	}
}

/* ---- those that are not ---- */

static void move_bytes(struct sib_pair p, uint32_t seed)
{
	struct flow fa = sibs_flow(p.from, FLOW, seed, ~seed), fb = sibs_flow(p.to, FLOW, ~seed, seed);
	struct sib_run ra = { .d = &a->d, .flows = &fa, .n = 1 };
	struct sib_run rb = { .d = &b->d, .flows = &fb, .n = 1 };

	sib_run_start(&ra);
	sib_run_start(&rb);
	sib_run_finish(&ra);
	sib_run_finish(&rb);
}

static void live(struct sib_pair p, uint32_t seed)
{
	struct sib_pair other;

	move_bytes(p, seed);
	other = seed & 1 ? sibs_connect(a, b) : sibs_connect(b, a);
	sibs_check_talks(other);
	sibs_close(other);
	sib_check_host(seed & 1 ? a : b);
}

/* _i: other engines take over meanwhile. */
START_TEST(busy_and_calm)
{
	struct upgrades u;
	struct sib_pair p;
	int n = 0;

	vms_up();
	p = sibs_connect(a, b);
	loads_start();
	if (_i)
		upgrades_start(&u, UPGRADES);
	while (n < ROUNDS_LEAST || (n < ROUNDS && count_moves() < MOVES) ||
	       (_i && upgrades_go_on(&u)))
		live(p, (uint32_t)++n);
	if (_i)
		upgrades_finish(&u);
	loads_finish();
	printf("# %d rounds, %d moves\n", n, count_moves());
	sibs_close(p);
	for (int i = 0; i < 2; i++)
		sibs_check_alive(busy[i], i ? a : b);
}
END_TEST

/* The next engine has them all, whoever had which. */
START_TEST(crash)
{
	struct sib_pair p;

	vms_up();
	p = sibs_connect(busy[0], busy[1]);
	for (int n = 0; n < ROUNDS && !count_moves(); n++)
		for (int i = 0; i < 2; i++) {
			struct sib_host_flow h;

			sib_host_flow_start(&h, busy[i], FLOW, 1);
			flow_run(&busy[i]->d, &h.flow, 1);
			sib_host_flow_finish(&h);
		}
	printf("# %d moves\n", count_moves());
	must(kill(daemon_engine(&vhd), SIGKILL) == 0);
	ck_assert(sock_wait_reset(p.from, DEADLINE_MS));
	ck_assert(sock_wait_reset(p.to, DEADLINE_MS));
	sibs_check_alive(busy[0], a);
	sibs_check_alive(busy[1], b);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("moves");
	TCase *tc = e2e_case_with(s, "moves", e2e_setup_bare, sibs_teardown, 120);

	tcase_add_loop_test(tc, busy_and_calm, 0, 2);
	tcase_add_test(tc, crash);
	return e2e_run(s);
}
