/* SPDX-License-Identifier: BSD-3-Clause */
/* Timers, the first to expire first. */
#include "util/timer_heap.h"

static struct loop_timer *meld(struct loop_timer *a, struct loop_timer *b)
{
	struct loop_timer *parent, *child;

	if (!a || !b)
		return a ? a : b;
	parent = b->deadline_ms < a->deadline_ms ? b : a;
	child = parent == a ? b : a;
	child->prev = parent;
	child->next = parent->child;
	if (child->next)
		child->next->prev = child;
	parent->child = child;
	return parent;
}

/* One heap of a list of siblings: pairs from the left, then all from the right. */
static struct loop_timer *meld_all(struct loop_timer *first)
{
	struct loop_timer *pairs = NULL, *heap = NULL;

	while (first) {
		struct loop_timer *a = first, *b = a->next, *pair;

		first = b ? b->next : NULL;
		a->next = a->prev = NULL;
		if (b)
			b->next = b->prev = NULL;
		pair = meld(a, b);
		pair->next = pairs;
		pairs = pair;
	}
	while (pairs) {
		struct loop_timer *pair = pairs;

		pairs = pair->next;
		pair->next = NULL;
		heap = meld(heap, pair);
	}
	return heap;
}

/* Out of its parent's list of children; @timer is not the root. */
static void cut(struct loop_timer *timer)
{
	if (timer->prev->child == timer)
		timer->prev->child = timer->next;
	else
		timer->prev->next = timer->next;
	if (timer->next)
		timer->next->prev = timer->prev;
	timer->next = timer->prev = NULL;
}

void timer_heap_add(struct loop_timer **heap, struct loop_timer *timer)
{
	*heap = meld(*heap, timer);
}

void timer_heap_remove(struct loop_timer **heap, struct loop_timer *timer)
{
	struct loop_timer *later = meld_all(timer->child);

	timer->child = NULL;
	if (timer == *heap) {
		*heap = later;
	} else {
		cut(timer);
		*heap = meld(*heap, later);
	}
}
