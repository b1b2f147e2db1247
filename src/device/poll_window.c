/* SPDX-License-Identifier: BSD-3-Clause */
/* How long a VM's worker polls before it sleeps. */
#include "device/poll_window.h"

void poll_window_init(struct poll_window *w, uint32_t max_us)
{
	*w = (struct poll_window){ .max_us = max_us, .next_rest = POLL_WINDOW_REST_MIN };
}

void poll_window_set_max(struct poll_window *w, uint32_t max_us)
{
	if (w->max_us != max_us)
		poll_window_init(w, max_us);
}

/* It does not pay. */
static void rest(struct poll_window *w)
{
	w->us = 0;
	w->balance = 0;
	w->rest = w->next_rest;
	if (w->next_rest < POLL_WINDOW_REST_MAX)
		w->next_rest *= 2;
}

void poll_window_paid(struct poll_window *w)
{
	if (w->balance < POLL_WINDOW_BALANCE_MAX)
		w->balance++;
	else
		w->next_rest = POLL_WINDOW_REST_MIN;
}

void poll_window_wasted(struct poll_window *w)
{
	w->balance -= POLL_WINDOW_COST;
	if (w->balance <= POLL_WINDOW_BALANCE_MIN)
		rest(w);
}

void poll_window_preempted(struct poll_window *w)
{
	rest(w);
}

void poll_window_slept(struct poll_window *w, uint64_t us)
{
	if (w->rest)
		w->rest--;
	else if (us > w->max_us)
		w->us = 0;
	else if (us >= w->us)
		w->us = us < w->max_us / 2 ? 2 * (uint32_t)us : w->max_us;
}
