/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What waits in one loop waits in another from now on: its owner has moved to another thread.
 *
 * Each owner has an X_move() that names all of its sources, timers, works and pointers to the loop,
 * always in the same order, with the events that each source waits for. It is called for each
 * step: first the sources are added to the other loop, which can fail, and then that is undone; then
 * all is taken out of the old one. Nothing that is ready is lost: a source that is added tells what
 * is ready, also one that is edge-triggered and whose edge has passed, so it may tell that twice;
 * deadlines stay what they are; what was scheduled is scheduled.
 *
 * Neither loop runs meanwhile: both are between two works, or have not begun.
 */
#pragma once

#include <assert.h>

#include "util/loop.h"

struct mailbox;

enum loop_move_step { LOOP_MOVE_ADD, LOOP_MOVE_UNDO, LOOP_MOVE_DO };

struct loop_move {
	struct loop *from, *to;
	struct mailbox *mailbox;		/* of the thread that runs @to; NULL: nobody gets mail */
	enum loop_move_step step;		/* the rest is loop_move.c's */
	size_t n_added;				/* sources, to the other loop */
	int error;				/* -errno of the first that could not be added */
};

/* Moves what @visit names, which it calls for each step. 0; -errno: nothing has changed. */
int loop_move(struct loop_move *m, void (*visit)(struct loop_move *m, void *ctx), void *ctx);

/* ---- for an X_move() ---- */

/* Also of one that is not added. @events: what it was added with, or is modified to. */
void loop_move_source(struct loop_move *m, struct loop_source *src, uint32_t events);
void loop_move_timer(struct loop_move *m, struct loop_timer *timer);	/* also one that is not set */
void loop_move_work(struct loop_move *m, struct loop_work *work);	/* or not scheduled */

/* All has been added: what an owner has besides may follow. */
static inline bool loop_move_is_done(const struct loop_move *m)
{
	return m->step == LOOP_MOVE_DO;
}

static inline void loop_move_pointer(struct loop_move *m, struct loop **loop)	/* NULL stays that */
{
	if (!loop_move_is_done(m) || !*loop)
		return;
	assert(*loop == m->from);
	*loop = m->to;
}
