/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Round trips: a client that does one after the other and notes how long each
 * took, and a host program that gives back what it reads.
 */
#pragma once

#include <pthread.h>

#include "bench/vm.h"

struct echo {					/* a thread */
	int fd;
	size_t size;
	bool waits_in_epoll;			/* or in read(2) */
	pthread_t thread;
};

void echo_start(struct echo *e);
void echo_join(struct echo *e);			/* after the peer shut down */

/* Calls @once for r->seconds; value and percentiles into r->out. Returns the
 * number of round trips, those before the clock started included. */
uint64_t rr_measure(struct run *r, void (*once)(void *arg, uint64_t number),
		    void *arg);

/* A guest's program that sends a message and waits for one. */
struct rr_client {
	struct vm *v;
	struct sock *s;				/* with a sink */
	size_t size;
};

void rr_guest_once(void *client, uint64_t number);
