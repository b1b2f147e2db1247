/* SPDX-License-Identifier: BSD-3-Clause */
/* A VM that does nothing wrong: see bystander.h. */
#include "e2e/bystander.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#include "e2e/neighbour.h"

enum { ROUND_BYTES = 256 * 1024, SPIN_WATCH_MS = 500 };

static struct {
	pthread_t thread;
	bool is_running;
	atomic_bool ends;
	atomic_uint rounds;
} bystander;

static void *run(void *arg)
{
	struct sib *s = &sibs[1];

	for (uint32_t seed = 1; !atomic_load(&bystander.ends); seed += 2) {
		struct sib_host_flow h;

		sib_host_flow_start(&h, s, ROUND_BYTES, seed);
		flow_run(&s->d, &h.flow, 1);
		sib_host_flow_finish(&h);
		sock_close(h.flow.sock);
		atomic_fetch_add(&bystander.rounds, 1);
	}
	return arg;
}

void bystander_start(void)
{
	atomic_store(&bystander.ends, false);
	must(pthread_create(&bystander.thread, NULL, run, NULL) == 0);
	bystander.is_running = true;
}

void bystander_stop(void)
{
	if (!bystander.is_running)
		return;
	atomic_store(&bystander.ends, true);
	must(pthread_join(bystander.thread, NULL) == 0);
	bystander.is_running = false;
}

void bystander_begin(int place, const char *const *extra)
{
	const char *all[16] = { "--vm", neighbour_words(), "--threads",
				place == ON_ONE_WORKER ? "1" : "2" };

	for (unsigned i = 0; extra && extra[i]; i++)
		all[4 + i] = extra[i];
	sibs_spawn_with(2, NULL, all);
	sib_up(&sibs[0], NULL);
	sib_up(&sibs[1], NULL);
	neighbour_up();
	neighbour_start();
	bystander_start();
}

void bystander_check(void)
{
	unsigned end = atomic_load(&bystander.rounds) + 2;
	int64_t deadline = deadline_in(DEADLINE_MS);

	while (atomic_load(&bystander.rounds) < end) {
		if (!deadline_left(deadline))
			die("the other VM is not served");
		poll(NULL, 0, 1);
	}
}

static void pass(void)
{
	poll(NULL, 0, SPIN_WATCH_MS);
}

void bystander_check_no_spin(bool polls)
{
	bool was_running = bystander.is_running;

	bystander_stop();
	neighbour_rest();
	poll(NULL, 0, QUIET_MS);		/* what is going on comes to rest */
	ck_assert(daemon_rests(&vhd, daemon_usage_both, pass, polls ? 100 : 30,
			       (polls ? 2 * SPIN_WATCH_MS : 30) + E2E_WAKEUPS(1)));
	neighbour_go_on();
	if (was_running)
		bystander_start();
}

void bystander_end(bool renew)
{
	bystander_check();
	bystander_stop();
	if (renew) {
		driver_deinit(&sibs[0].d);
		sib_up(&sibs[0], NULL);
	}
	sibs_check_alive(&sibs[0], &sibs[1]);
}

void bystander_teardown(void)
{
	neighbour_judge();
	neighbour_down();
	sibs_teardown();
}

TCase *bystander_case(Suite *s, const char *name, int timeout_s)
{
	return neighbour_case(s, name, e2e_setup_bare, bystander_teardown, timeout_s);
}
