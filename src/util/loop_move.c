/* SPDX-License-Identifier: BSD-3-Clause */
/* What waits in one loop waits in another. */
#include "util/loop_move.h"

void loop_move_source(struct loop_move *m, struct loop_source *src, uint32_t events)
{
	const int fd = src->fd;

	if (fd < 0)
		return;
	switch (m->step) {
	case LOOP_MOVE_ADD:
		if (!m->error)
			m->error = loop_add(m->to, src, fd, events);
		m->n_added += !m->error;
		break;
	case LOOP_MOVE_UNDO:
		if (!m->n_added)
			break;
		m->n_added--;
		loop_remove(m->to, src);
		src->fd = fd;
		break;
	case LOOP_MOVE_DO:
		loop_remove(m->from, src);
		src->fd = fd;
		break;
	}
}

void loop_move_timer(struct loop_move *m, struct loop_timer *timer)
{
	if (m->step != LOOP_MOVE_DO || !timer->is_set)
		return;
	loop_timer_cancel(m->from, timer);
	loop_timer_set(m->to, timer, timer->deadline_ms);
}

void loop_move_work(struct loop_move *m, struct loop_work *work)
{
	if (m->step != LOOP_MOVE_DO || list_is_empty(&work->node))
		return;
	loop_work_cancel(work);
	loop_work_schedule(m->to, work);
}

int loop_move(struct loop_move *m, void (*visit)(struct loop_move *m, void *ctx), void *ctx)
{
	loop_remind_now(m->from);		/* reminders are of one loop */
	m->step = LOOP_MOVE_ADD;
	m->n_added = 0;
	m->error = 0;
	visit(m, ctx);
	m->step = m->error ? LOOP_MOVE_UNDO : LOOP_MOVE_DO;
	visit(m, ctx);
	if (!m->error)
		loop_catch_up(m->to, m->from);
	return m->error;
}
