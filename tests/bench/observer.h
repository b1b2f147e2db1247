/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Whoever watches a daemon: a client of its API that reads all metrics at once and then each
 * second, as Prometheus does.
 */
#pragma once

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct observer {
	char socket[96];
	pthread_t thread;
	int stop;				/* an eventfd; -1: it does not run */
	unsigned n_answers;
};

void observer_start(struct observer *o, const char *socket);
void observer_stop(struct observer *o);		/* nothing if it does not run */

/* GETs @path: how many bytes the answer has, which go to @copy, or, if that is NULL, nowhere. Any
 * answer but 200 ends the run. */
size_t observer_get(const char *socket, const char *path, FILE *copy);

/* How many turns of its one VM's device have been no longer than that, as the metrics have it. */
enum { OBSERVER_BOUNDS = 16 };
struct observer_turns {
	unsigned n_bounds;
	double bounds_us[OBSERVER_BOUNDS];	/* the last one: INFINITY */
	uint64_t n[OBSERVER_BOUNDS];
};

void observer_get_turns(const char *socket, struct observer_turns *out);

/* As much as @share of the turns in between has taken no more than so many microseconds; as
 * exactly as there are bounds. */
double observer_turns_us(const struct observer_turns *before, const struct observer_turns *after,
			 double share);
