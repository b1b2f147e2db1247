/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Whoever watches a daemon: a client of its API that reads all metrics at once and then each
 * second, as Prometheus does.
 */
#pragma once

#include <pthread.h>
#include <stddef.h>

struct observer {
	char socket[96];
	pthread_t thread;
	int stop;				/* an eventfd; -1: it does not run */
	unsigned n_answers;
};

void observer_start(struct observer *o, const char *socket);
void observer_stop(struct observer *o);		/* nothing if it does not run */

/* GETs @path: how many bytes the answer has. Any answer but 200 ends the run. */
size_t observer_get(const char *socket, const char *path);
