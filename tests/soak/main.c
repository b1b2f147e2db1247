/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The soak: random traffic for a while, with an oracle that knows every byte.
 *
 *	soak [--seconds N | --steps N] [--seed S] [--threads N] [--log-level L]
 *
 * In rounds: a stretch of the script, then all parties become willing and wait
 * until nobody is owed anything; now and then all connections and VMs go, and
 * the daemon has to be as small as before the first one. Without --seed, one is
 * made up and printed. Script and VMs depend on the seed alone (so does the number
 * of threads, unless it is given), and a failing seed can be run again, up to the
 * step that is printed; when the daemon does its part is not in it, so a race may
 * need a few runs.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "soak/world.h"
#include "support/deadline.h"
#include "support/must.h"
#include "support/sanitized.h"
#include "support/scratch.h"

enum { ROUND_STEPS = 6000, ROUNDS_PER_LIFE = 4 };

struct run {
	struct world_options world;
	uint64_t seconds, steps;		/* whichever comes first; 0: no limit */
};

static void on_must(const char *file, int line, const char *text)
{
	printf("# %s:%d: %s\n", file, line, text);
	printf("not ok 1 - soak: seed %llu, step %llu, %u threads\n",
	       (unsigned long long)world.seed, (unsigned long long)soak_step,
	       world.n_threads);
	for (unsigned i = 0; i < SOAK_VMS; i++)
		vm_print(&world.vms[i]);
	world_print_log();
	fflush(stdout);
	daemon_deinit(&world.daemon);
	scratch_end();
	exit(EXIT_FAILURE);
}

static uint64_t number(const char *option, const char *text)
{
	char *end;
	unsigned long long n = strtoull(text ? text : "", &end, 0);

	if (text && *text && !*end)
		return n;
	fprintf(stderr, "soak: %s needs a number\n", option);
	exit(2);
}

static struct run parse(char **argv)
{
	static const unsigned threads[] = { 1, 2, 3, 8 };
	struct run r = { .world = { .log_level = "warn" } };
	bool has_seed = false;

	for (; *argv; argv += 2) {
		const char *name = argv[0], *value = argv[1];

		if (strcmp(name, "--log-level") == 0 && value) {
			r.world.log_level = value;
		} else if (strcmp(name, "--seconds") == 0) {
			r.seconds = number(name, value);
		} else if (strcmp(name, "--steps") == 0) {
			r.steps = number(name, value);
		} else if (strcmp(name, "--threads") == 0) {
			r.world.threads = (unsigned)number(name, value);
		} else if (strcmp(name, "--seed") == 0) {
			r.world.seed = number(name, value);
			has_seed = true;
		} else {
			fprintf(stderr, "soak: what is %s?\n", name);
			exit(2);
		}
	}
	if (!has_seed)
		must(getrandom(&r.world.seed, 4, 0) == 4);
	if (!r.world.threads)
		r.world.threads = threads[r.world.seed % 4];
	if (!r.seconds && !r.steps)
		r.seconds = 20;
	return r;
}

static void play(struct script *s)
{
	struct act a = script_next(s);

	soak_step++;
	world_wake_up();
	if (act_perform(&a))
		world.done[a.kind]++;
	if (!world_turn())
		world_wait(1);
}

static void print_counts(int64_t started_ms)
{
	unsigned lives = 0;

	for (unsigned i = 0; i < SOAK_VMS; i++)
		lives += world.vms[i].n_lives;
	for (int i = 0; i < ACT_COUNT; i++)
		printf("# %8llu  %s\n", (unsigned long long)world.done[i],
		       action_name((enum action)i));
	printf("# %llu steps in %.1f s; %u lives of %u VMs; %llu connections begun, "
	       "%llu refused, %llu ended, %llu ends saw a reset\n",
	       (unsigned long long)soak_step, (double)(now_ms() - started_ms) / 1000, lives,
	       (unsigned)SOAK_VMS, (unsigned long long)link_counts.opened,
	       (unsigned long long)link_counts.refused,
	       (unsigned long long)link_counts.finished,
	       (unsigned long long)link_counts.reset);
	printf("# MiB checked: %.1f guest to host, %.1f host to guest, %.1f between siblings\n",
	       (double)link_counts.bytes[0] / (1 << 20), (double)link_counts.bytes[1] / (1 << 20),
	       (double)link_counts.bytes[2] / (1 << 20));
	printf("# messages checked: %llu guest to host, %llu host to guest, %llu between siblings\n",
	       (unsigned long long)link_counts.messages[0],
	       (unsigned long long)link_counts.messages[1],
	       (unsigned long long)link_counts.messages[2]);
}

int main(int argc, char **argv)
{
	struct run r = parse(argv + (argc > 0));
	struct script script = script_new(r.world.seed);
	int64_t started_ms = now_ms(), deadline = deadline_in((int)r.seconds * 1000);
	unsigned rounds = 0;

	scratch_begin();
	must_hook = on_must;
	if (IS_SANITIZED)
		soak_patience_ms *= 3;
	printf("TAP version 13\n1..1\n# seed %llu, %u threads\n",
	       (unsigned long long)r.world.seed, r.world.threads);
	fflush(stdout);
	world_init(&r.world);
	while ((!r.seconds || deadline_left(deadline)) && (!r.steps || soak_step < r.steps)) {
		for (int i = 0; i < ROUND_STEPS && (!r.steps || soak_step < r.steps); i++)
			play(&script);
		world_settle();
		if (++rounds % ROUNDS_PER_LIFE)
			continue;
		world_empty();
		world_refill();
	}
	world_empty();
	world_deinit();
	scratch_end();
	print_counts(started_ms);
	printf("ok 1 - soak: seed %llu\n", (unsigned long long)r.world.seed);
	return EXIT_SUCCESS;
}
