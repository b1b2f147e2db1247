/* SPDX-License-Identifier: BSD-3-Clause */
/* The monotonic clock: what deadlines are measured by. */
#pragma once

#include <errno.h>
#include <stdint.h>
#include <time.h>

static inline uint64_t clock_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

static inline uint64_t clock_ms(void)
{
	return clock_us() / 1000;
}

/* @ms of it, for pthread_cond_clockwait(). */
static inline struct timespec clock_timespec(uint64_t ms)
{
	return (struct timespec){
		.tv_sec = (time_t)(ms / 1000), .tv_nsec = (long)(ms % 1000) * 1000000L,
	};
}

/* Blocks the thread for @ms, whatever signals come. */
static inline void clock_rest(uint64_t ms)
{
	struct timespec left = clock_timespec(ms);

	while (clock_nanosleep(CLOCK_MONOTONIC, 0, &left, &left) == EINTR)
		;
}
