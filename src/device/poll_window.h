/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How long a VM's worker polls for what comes next, before it sleeps: arithmetic alone.
 *
 * A guest or a host program that answers at once is heard sooner by who looks than by who has to
 * be woken up; but whoever looks takes a CPU, and if nothing comes that was for nothing. How
 * long it takes until something comes is not known before. So the window follows what has been,
 * as KVM's halt_poll_ns does: it is 0 until something has come soon after the wait began; it
 * grows to twice the time that the last thing took, while things come soon, but after it; and is
 * 0 again when nothing has come for as long as it may ever be. So an idle guest costs one window.
 *
 * That alone grows again with each quick event, and wastes each poll where quick events and long
 * waits alternate, or where whoever is waited for needs the CPU that polls. So polls that paid
 * are weighed against those that did not, which have to be one in four at most; and one that
 * was preempted, as somebody else needs the CPU, decides at once. Then there is none for a
 * number of waits, which doubles each time until a trial goes well.
 */
#pragma once

#include <stdint.h>

enum {
	POLL_WINDOW_COST = 3,			/* of a poll for nothing, in such that paid */
	POLL_WINDOW_BALANCE_MIN = -4 * POLL_WINDOW_COST,	/* it does not pay */
	POLL_WINDOW_BALANCE_MAX = 24,		/* it has paid for long: more is not remembered */
	POLL_WINDOW_REST_MIN = 512,		/* waits without a poll */
	POLL_WINDOW_REST_MAX = 65536,
};

struct poll_window {
	uint32_t max_us;			/* what the operator lets it be; 0: never poll */
	uint32_t us;				/* what it is, see poll_window_us() */
	uint32_t rest, next_rest;		/* waits that go by, and how many the next time */
	int balance;				/* > 0: it pays */
};

void poll_window_init(struct poll_window *w, uint32_t max_us);

/* From now on. */
void poll_window_set_max(struct poll_window *w, uint32_t max_us);

/* How long the next wait is to be polled, 0: not at all. */
static inline uint32_t poll_window_us(const struct poll_window *w)
{
	return w->rest ? 0 : w->us;
}

/* A poll is over: something came meanwhile; or it did not, and whoever waits sleeps now; or the
 * CPU was taken away in the middle. */
void poll_window_paid(struct poll_window *w);
void poll_window_wasted(struct poll_window *w);
void poll_window_preempted(struct poll_window *w);

/* A wait is over, in which we slept, after a poll or without one: something has come, @us after
 * the wait began. */
void poll_window_slept(struct poll_window *w, uint64_t us);
