/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The timers of a loop: a pairing heap. Each has the later ones as children, so that the first to
 * expire is the root. It is made of what the timers themselves have: setting one needs no memory,
 * and cannot fail just when memory is short.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct loop_timer {
	void (*expire)(struct loop_timer *timer);
	uint64_t deadline_ms;
	bool is_set;
	struct loop_timer *child, *next, *prev;	/* in the loop's heap; prev of a first
						   child: its parent */
};

/* *@heap: its root, the first to expire; NULL: there is none. @timer is in none; in this one. */
void timer_heap_add(struct loop_timer **heap, struct loop_timer *timer);
void timer_heap_remove(struct loop_timer **heap, struct loop_timer *timer);
