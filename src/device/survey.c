/* SPDX-License-Identifier: BSD-3-Clause */
/* What somebody in another thread wants to know of a worker's devices. */
#include "device/survey.h"

#include <stdlib.h>

#include "util/error.h"

static void finish(struct survey *s, int result)
{
	list_remove(&s->watch.node);
	loop_work_cancel(&s->work);
	s->done(s, result);
}

static struct survey_vm *add_vm(struct survey *s)
{
	struct survey_vm *vm = calloc(1, sizeof *vm);

	if (!vm)
		return NULL;
	if (s->last)
		s->last->next = vm;
	else
		s->first = vm;
	s->last = vm;
	return vm;
}

static struct survey_rows *add_rows(struct survey_vm *vm)
{
	struct survey_rows *rows = malloc(sizeof *rows);

	if (!rows)
		return NULL;
	rows->next = NULL;
	rows->n = 0;
	if (vm->last)
		vm->last->next = rows;
	else
		vm->first = rows;
	vm->last = rows;
	return rows;
}

/* A portion of the VM's rows. 0 or -ENOMEM. */
static int take_rows(struct survey *s, const struct device *dev)
{
	struct survey_vm *vm = s->vm;
	struct survey_rows *rows = add_rows(vm);

	if (!rows)
		return -ENOMEM;
	rows->n = device_snapshot_conns(dev, &s->cursor, rows->rows, SURVEY_ROWS);
	if (rows->n > s->max_conns - vm->n_conns) {
		rows->n = s->max_conns - vm->n_conns;
		vm->is_cut = true;
	}
	vm->n_conns += rows->n;
	if (s->cursor.is_over || vm->is_cut) {
		s->vm = NULL;
		s->next++;
	}
	return 0;
}

static int look_at(struct survey *s, struct device *dev)
{
	struct survey_vm *vm;

	s->was_found = true;
	if (s->reset) {
		s->was_reset = device_reset_conn(dev, s->reset->type, s->reset->guest_port,
						 &s->reset->peer);
		s->next++;
		return 0;
	}
	if (s->tap) {
		device_add_tap(dev, s->tap);
		s->next++;
		return 0;
	}
	vm = add_vm(s);
	if (!vm)
		return -ENOMEM;
	device_snapshot(dev, &vm->device);
	if (s->max_conns) {
		s->vm = vm;
		s->cursor = (struct conn_cursor){ .at = 0 };
	} else {
		s->next++;
	}
	return 0;
}

static bool is_wanted(const struct survey *s, const struct device *dev)
{
	return !device_is_ending(dev) && (!s->cid || device_cid(dev) == s->cid);
}

/* A portion. 0 or -ENOMEM. */
static int step(struct survey *s)
{
	int r;

	if (s->vm)
		return take_rows(s, worker_device(s->worker, s->next));
	for (int n = 0; n < SURVEY_DEVICES && s->next < worker_count_devices(s->worker); ) {
		struct device *dev = worker_device(s->worker, s->next);

		if (!is_wanted(s, dev)) {
			s->next++;
			continue;
		}
		r = look_at(s, dev);
		if (r || s->vm)
			return r;
		n++;
	}
	return 0;
}

static bool is_over(const struct survey *s)
{
	return (s->cid && s->was_found && !s->vm) ||
		s->next == worker_count_devices(s->worker);
}

static void on_work(struct loop_work *work)
{
	struct survey *s = container_of(work, struct survey, work);
	int r = atomic_load_explicit(&s->is_abandoned, memory_order_relaxed) ? -ECANCELED : step(s);

	if (r || is_over(s))
		finish(s, r);
	else
		loop_work_schedule(worker_loop(s->worker), &s->work);
}

/* The devices after it move up. */
static void on_removed(struct worker_watch *watch, size_t i)
{
	struct survey *s = container_of(watch, struct survey, watch);

	if (i < s->next)
		s->next--;
	else if (i == s->next && s->vm) {
		s->vm->is_cut = true;
		s->vm = NULL;
	}
}

static void on_stopped(struct worker_watch *watch)
{
	finish(container_of(watch, struct survey, watch), -ECANCELED);
}

/* Maybe while the worker is parked, and in another thread: nothing is looked at yet. */
static void on_mail(struct mail *mail)
{
	struct survey *s = container_of(mail, struct survey, mail);

	if (worker_is_stopped(s->worker)) {
		s->done(s, -ECANCELED);
		return;
	}
	worker_add_watch(s->worker, &s->watch);
	loop_work_schedule(worker_loop(s->worker), &s->work);
}

void survey_post(struct survey *s, struct worker *w)
{
	s->worker = w;
	s->mail.deliver = on_mail;
	s->watch.removed = on_removed;
	s->watch.stopped = on_stopped;
	list_init(&s->watch.node);
	loop_work_init(&s->work, on_work);
	mailbox_post(worker_mailbox(w), &s->mail);
}

void survey_deinit(struct survey *s)
{
	while (s->first) {
		struct survey_vm *vm = s->first;

		s->first = vm->next;
		while (vm->first) {
			struct survey_rows *rows = vm->first;

			vm->first = rows->next;
			free(rows);
		}
		free(vm);
	}
	s->last = NULL;
}
