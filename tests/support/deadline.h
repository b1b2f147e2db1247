/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Deadlines: points on the monotonic clock, in milliseconds. Every wait in the
 * tests has one. DEADLINE_MS is only a safety net, so it is generous: a slow
 * machine or a sanitizer must not fail a test. QUIET_MS is how long a test
 * watches before it says that nothing happens.
 */
#pragma once

#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

enum { DEADLINE_MS = 20000, QUIET_MS = 200 };

static inline int64_t now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static inline int64_t now_ms(void)
{
	return now_us() / 1000;
}

static inline int64_t deadline_in(int ms)
{
	return now_ms() + ms;
}

/* Milliseconds left, never negative: a timeout for poll(). */
static inline int deadline_left(int64_t deadline)
{
	int64_t left = deadline - now_ms();

	return left > 0 ? (int)left : 0;
}

/* True when @fd had one of @events, or hung up, before the deadline. */
static inline bool deadline_poll(int fd, short events, int64_t deadline)
{
	struct pollfd p = { .fd = fd, .events = events };
	int r;

	do
		r = poll(&p, 1, deadline_left(deadline));
	while (r < 0);
	return r > 0;
}
