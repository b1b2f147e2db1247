/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Who asks the workers. A question is a survey for each of them, in memory that whoever is the
 * last to need it frees: the asker may have left when a worker that hung comes to it.
 */
#include "control/snapshots.h"

#include <pthread.h>
#include <stdlib.h>

#include "control/capture.h"
#include "control/events.h"
#include "device/survey.h"
#include "util/clock.h"
#include "util/error.h"
#include "util/log.h"
#include "util/log_limit.h"

struct snapshots {
	struct snapshots_shared shared;
	uint64_t begun_ms;
	pthread_mutex_t lock;			/* of what follows, and of all questions */
	pthread_cond_t changed;
	struct worker **workers;		/* owned array */
	size_t n_workers;
	unsigned n_pins;
	uint64_t n_moves;			/* of devices */
	bool is_held;
	bool is_closed;
};

struct question;

struct part {					/* of a question, for one worker */
	struct survey survey;
	struct question *question;
	bool is_done;
	int result;
};

struct question {
	struct snapshots *all;
	unsigned n_refs;			/* the asker's, and one for each part under way */
	struct survey_conn conn;		/* for surveys that reset one */
	size_t n_parts, n_done;
	struct part parts[];
};

const char *snapshots_str_error(int error)
{
	static const char *const text[] = {
		[SNAPSHOTS_E_CLOSED] = "the daemon ends",
		[SNAPSHOTS_E_SILENT] = "no answer in time",
		[SNAPSHOTS_E_NO_VM] = "there is no such VM",
		[SNAPSHOTS_E_NO_CONN] = "there is no such connection",
	};
	static_assert(sizeof text / sizeof *text == SNAPSHOTS_NUM_E, "each has a text");

	return error < 0 ? error_str(error) : text[error];
}

#define FAMILY(name_, metric_, is_counter_, unit_, help_)			\
	{ .name = #name_, .metric = metric_, .help = help_, .is_counter = is_counter_, \
	  .unit = unit_, .offset = offsetof(struct process_snapshot, name_),	\
	  .size = sizeof ((struct process_snapshot *)NULL)->name_ }

const struct snapshots_family snapshots_families[] = {
	FAMILY(uptime_ms, "uptime_seconds", false, UNIT_MS,
	       "Time since the process that serves the VMs has begun."),
	FAMILY(upgrades, "upgrades_total", true, UNIT_ONE,
	       "Upgrades since the daemon was started."),
	FAMILY(crashes, "crashes_total", true, UNIT_ONE,
	       "Crashes of the process that serves the VMs, since the daemon was started."),
	FAMILY(log_lines_lost, "log_lines_lost_total", true, UNIT_ONE,
	       "Log lines that could not be written."),
	FAMILY(log_lines_swallowed, "log_lines_swallowed_total", true, UNIT_ONE,
	       "Log lines that were not written because there were many like them."),
	FAMILY(events_lost, "events_lost_total", true, UNIT_ONE,
	       "Events that were lost on the way to the event monitor or to a client of the API."),
	FAMILY(captured_lost, "captured_packets_lost_total", true, UNIT_ONE,
	       "Packets that captures have lost."),
	FAMILY(workers, "workers", false, UNIT_ONE,
	       "Threads that serve VMs."),
	FAMILY(vm_moves, "vm_moves_total", true, UNIT_ONE,
	       "VMs that went to another of these threads, so that all that are busy get the same."),
	FAMILY(silent_workers, "silent_workers", false, UNIT_ONE,
	       "Threads that did not answer in time: their VMs are missing here."),
};
const size_t snapshots_num_families = sizeof snapshots_families / sizeof *snapshots_families;

uint64_t snapshots_process_value(const struct process_snapshot *p,
				 const struct snapshots_family *f)
{
	const char *at = (const char *)p + f->offset;

	return f->size == sizeof(uint64_t) ? *(const uint64_t *)at : *(const unsigned *)at;
}

int snapshots_new(struct snapshots **out, const struct snapshots_shared *shared)
{
	struct snapshots *s = calloc(1, sizeof *s);

	if (!s)
		return -ENOMEM;
	if (shared)
		s->shared = *shared;
	s->begun_ms = clock_ms();
	pthread_mutex_init(&s->lock, NULL);
	pthread_cond_init(&s->changed, NULL);
	*out = s;
	return 0;
}

int snapshots_add_worker(struct snapshots *s, struct worker *w)
{
	struct worker **workers;

	pthread_mutex_lock(&s->lock);
	workers = realloc(s->workers, (s->n_workers + 1) * sizeof(struct worker *));
	if (workers) {
		s->workers = workers;
		workers[s->n_workers++] = w;
	}
	pthread_mutex_unlock(&s->lock);
	return workers ? 0 : -ENOMEM;
}

bool snapshots_hold(struct snapshots *s)
{
	pthread_mutex_lock(&s->lock);
	s->is_held = !s->n_pins;
	pthread_mutex_unlock(&s->lock);
	return s->is_held;
}

void snapshots_release(struct snapshots *s, unsigned n_moved)
{
	pthread_mutex_lock(&s->lock);
	s->is_held = false;
	s->n_moves += n_moved;
	pthread_cond_broadcast(&s->changed);
	pthread_mutex_unlock(&s->lock);
}

static void pin(struct snapshots *s, int n)
{
	pthread_mutex_lock(&s->lock);
	s->n_pins += (unsigned)n;
	pthread_mutex_unlock(&s->lock);
}

void snapshots_pin(struct snapshots *s)
{
	pin(s, 1);
}

void snapshots_unpin(struct snapshots *s)
{
	pin(s, -1);
}

/* With the lock, which it gives up meanwhile. */
static void wait_released(struct snapshots *s)
{
	while (s->is_held)
		pthread_cond_wait(&s->changed, &s->lock);
}

void snapshots_close(struct snapshots *s)
{
	if (!s)
		return;
	pthread_mutex_lock(&s->lock);
	s->is_closed = true;
	pthread_cond_broadcast(&s->changed);
	pthread_mutex_unlock(&s->lock);
}

void snapshots_free(struct snapshots *s)
{
	if (!s)
		return;
	pthread_cond_destroy(&s->changed);
	pthread_mutex_destroy(&s->lock);
	free(s->workers);
	free(s);
}

/* ---- questions ---- */

/* With the lock, which is given up. */
static void unref_unlock(struct question *q)
{
	bool is_last = !--q->n_refs;

	pthread_mutex_unlock(&q->all->lock);
	if (!is_last)
		return;
	for (size_t i = 0; i < q->n_parts; i++)
		survey_deinit(&q->parts[i].survey);
	free(q);
}

static void on_done(struct survey *survey, int result)
{
	struct part *part = container_of(survey, struct part, survey);
	struct question *q = part->question;

	pthread_mutex_lock(&q->all->lock);
	part->is_done = true;
	part->result = result;
	q->n_done++;
	pthread_cond_broadcast(&q->all->changed);
	unref_unlock(q);
}

int snapshots_post(struct snapshots *s, unsigned worker, struct survey *survey)
{
	bool is_closed;

	pthread_mutex_lock(&s->lock);
	wait_released(s);
	is_closed = s->is_closed || worker >= s->n_workers;
	if (!is_closed)
		survey_post(survey, s->workers[worker]);
	pthread_mutex_unlock(&s->lock);
	return is_closed ? SNAPSHOTS_E_CLOSED : 0;
}

/* Asks all workers; with the lock, under which no worker is added. NULL: no memory. */
static struct question *ask(struct snapshots *s, const struct snapshots_want *want,
			    const struct survey_conn *reset)
{
	struct question *q = calloc(1, sizeof *q + s->n_workers * sizeof *q->parts);

	if (!q)
		return NULL;
	q->all = s;
	q->n_parts = s->n_workers;
	q->n_refs = 1 + (unsigned)s->n_workers;
	if (reset)
		q->conn = *reset;
	for (size_t i = 0; i < q->n_parts; i++) {
		struct part *part = &q->parts[i];

		part->question = q;
		part->survey.cid = want->cid;
		part->survey.max_conns = want->max_conns;
		part->survey.reset = reset ? &q->conn : NULL;
		part->survey.done = on_done;
		survey_post(&part->survey, s->workers[i]);
	}
	return q;
}

/* With the lock, which it gives up meanwhile. */
static void wait_for(struct question *q, uint32_t wait_ms)
{
	struct snapshots *s = q->all;
	const struct timespec until = clock_timespec(clock_ms() + wait_ms);
	int r = 0;

	while (q->n_done < q->n_parts && !s->is_closed && r == 0)
		r = pthread_cond_clockwait(&s->changed, &s->lock, CLOCK_MONOTONIC, &until);
	for (size_t i = 0; i < q->n_parts; i++)
		if (!q->parts[i].is_done)
			atomic_store(&q->parts[i].survey.is_abandoned, true);
}

/* ---- answers ---- */

static uint64_t load(const _Atomic uint64_t *number)
{
	return number ? atomic_load_explicit(number, memory_order_relaxed) : 0;
}

/* With the lock. */
static struct process_snapshot look_at_process(const struct snapshots *s)
{
	return (struct process_snapshot){
		.uptime_ms = clock_ms() - s->begun_ms,
		.upgrades = load(s->shared.upgrades), .crashes = load(s->shared.crashes),
		.log_lines_lost = log_count_lost(),
		.log_lines_swallowed = log_limit_count_swallowed(),
		.events_lost = events_count_lost(),
		.captured_lost = capture_count_lost(),
		.workers = (unsigned)s->n_workers, .vm_moves = s->n_moves,
	};
}

static int copy_rows(struct vm_snapshot *out, const struct survey_vm *vm)
{
	if (!vm->n_conns)
		return 0;
	out->conns = malloc(vm->n_conns * sizeof *out->conns);
	if (!out->conns)
		return -ENOMEM;
	for (const struct survey_rows *rows = vm->first; rows; rows = rows->next) {
		memcpy(out->conns + out->n_conns, rows->rows, rows->n * sizeof *out->conns);
		out->n_conns += rows->n;
	}
	return 0;
}

/* What a worker has found, which nobody else looks at any more. */
static int take_part(struct snapshots_answer *answer, const struct part *part, unsigned worker)
{
	int r = 0;

	for (const struct survey_vm *vm = part->survey.first; vm && !r; vm = vm->next) {
		struct vm_snapshot *out = &answer->vms[answer->n_vms++];

		*out = (struct vm_snapshot){
			.device = vm->device, .worker = worker, .is_cut = vm->is_cut,
		};
		r = copy_rows(out, vm);
	}
	return r;
}

static size_t count_vms(const struct part *part)
{
	size_t n = 0;

	for (const struct survey_vm *vm = part->survey.first; vm; vm = vm->next)
		n++;
	return n;
}

static int by_cid(const void *a, const void *b)
{
	uint64_t x = ((const struct vm_snapshot *)a)->device.cid;
	uint64_t y = ((const struct vm_snapshot *)b)->device.cid;

	return (x > y) - (x < y);
}

/* @done: those that are, as of the moment when the lock was given up. */
static int collect(const struct question *q, const bool *done, struct snapshots_answer *answer)
{
	size_t n = 0;
	int r = 0;

	for (size_t i = 0; i < q->n_parts; i++)
		n += done[i] ? count_vms(&q->parts[i]) : 0;
	answer->vms = calloc(n ? n : 1, sizeof *answer->vms);
	if (!answer->vms)
		return -ENOMEM;
	for (size_t i = 0; i < q->n_parts && !r; i++)
		if (done[i])
			r = q->parts[i].result == -ENOMEM ? -ENOMEM :
				take_part(answer, &q->parts[i], (unsigned)i);
	qsort(answer->vms, answer->n_vms, sizeof *answer->vms, by_cid);
	return r;
}

/* With the lock. NULL: no memory. */
static bool *list_done(const struct question *q, unsigned *n_silent)
{
	bool *done = calloc(q->n_parts ? q->n_parts : 1, sizeof *done);

	*n_silent = 0;
	for (size_t i = 0; done && i < q->n_parts; i++) {
		done[i] = q->parts[i].is_done;
		*n_silent += !done[i];
	}
	return done;
}

/* What the question has come to, if there is no answer to it. */
static int judge(const struct snapshots_want *want, const struct snapshots_answer *answer)
{
	const struct process_snapshot *p = &answer->process;

	if (p->silent_workers && p->silent_workers == p->workers)
		return SNAPSHOTS_E_SILENT;
	if (want->cid && !answer->n_vms)
		return p->silent_workers ? SNAPSHOTS_E_SILENT : SNAPSHOTS_E_NO_VM;
	return 0;
}

int snapshots_take(struct snapshots *s, const struct snapshots_want *want,
		   struct snapshots_answer *out)
{
	struct snapshots_answer answer;
	struct question *q;
	bool *done = NULL, is_closed;
	int r = -ENOMEM;

	pthread_mutex_lock(&s->lock);
	wait_released(s);
	answer = (struct snapshots_answer){ .process = look_at_process(s) };
	q = s->is_closed ? NULL : ask(s, want, NULL);
	if (q) {
		wait_for(q, want->wait_ms);
		done = list_done(q, &answer.process.silent_workers);
	}
	is_closed = s->is_closed;
	pthread_mutex_unlock(&s->lock);
	if (done)
		r = collect(q, done, &answer);
	free(done);
	if (q) {
		pthread_mutex_lock(&s->lock);
		unref_unlock(q);
	}
	if (is_closed)
		r = SNAPSHOTS_E_CLOSED;
	if (!r)
		r = judge(want, &answer);
	if (r)
		snapshots_answer_deinit(&answer);
	else
		*out = answer;
	return r;
}

void snapshots_answer_deinit(struct snapshots_answer *answer)
{
	for (size_t i = 0; i < answer->n_vms; i++)
		free(answer->vms[i].conns);
	free(answer->vms);
	*answer = (struct snapshots_answer){ .n_vms = 0 };
}

/* With the lock. */
static int judge_reset(const struct question *q)
{
	bool was_found = false, was_reset = false;

	for (size_t i = 0; i < q->n_parts; i++) {
		const struct part *part = &q->parts[i];

		was_found |= part->is_done && part->survey.was_found;
		was_reset |= part->is_done && part->survey.was_reset;
	}
	if (was_reset)
		return 0;
	if (was_found)
		return SNAPSHOTS_E_NO_CONN;
	if (q->all->is_closed)
		return SNAPSHOTS_E_CLOSED;
	return q->n_done < q->n_parts ? SNAPSHOTS_E_SILENT : SNAPSHOTS_E_NO_VM;
}

int snapshots_reset_conn(struct snapshots *s, const struct snapshots_conn *conn,
			 uint32_t wait_ms)
{
	const struct snapshots_want want = { .cid = conn->cid };
	const struct survey_conn reset = { conn->type, conn->guest_port, conn->peer };
	struct question *q;
	int r;

	pthread_mutex_lock(&s->lock);
	wait_released(s);
	q = s->is_closed ? NULL : ask(s, &want, &reset);
	if (!q) {
		r = s->is_closed ? SNAPSHOTS_E_CLOSED : -ENOMEM;
		pthread_mutex_unlock(&s->lock);
		return r;
	}
	wait_for(q, wait_ms);
	r = judge_reset(q);
	unref_unlock(q);
	return r;
}
