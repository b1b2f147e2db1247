/* SPDX-License-Identifier: BSD-3-Clause */
/* The supervisor: an engine's life. */
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/wait.h>

#include "control/events.h"
#include "daemon/engine_process.h"
#include "daemon/supervisor_internal.h"
#include "util/clock.h"
#include "util/error.h"
#include "util/fd.h"
#include "util/log.h"

enum {
	STEADY_MS = 10 * 1000,			/* an engine that has lived so long is a good one */
	RESTARTS = 20,				/* at once; then they take their time: */
	RESTART_FIRST_MS = 100, RESTART_LAST_MS = 5000,
	FAULTS_MAX = 3,				/* engines that one VM may end in a row */
};

/* ---- an engine's life ---- */

void supervisor_forget_engine(struct supervisor *s)
{
	if (s->from_engine.fd >= 0)
		loop_remove(s->loop, &s->from_engine);
	fd_close(&s->channel);
	loop_timer_cancel(s->loop, &s->patience);
	s->engine = 0;
	supervisor_forget_leaving(s);
}

void supervisor_replace_engine(struct supervisor *s, const char *why)
{
	if (s->is_killed)
		return;
	log_err("main", "the engine %s: it is ended", why);
	kill(s->engine, SIGKILL);		/* how it ends is told by SIGCHLD */
	s->is_killed = true;
}

static uint32_t restart_pause(struct supervisor *s, uint64_t now_ms)
{
	uint32_t pause;

	if (now_ms - s->started_ms >= STEADY_MS) {
		s->n_restarts = 0;
		s->pause_ms = RESTART_FIRST_MS;
	}
	pause = s->pause_ms;
	if (++s->n_restarts <= RESTARTS && s->state == SUPERVISOR_SERVING)
		return 0;
	s->pause_ms = pause < RESTART_LAST_MS / 2 ? pause * 2 : RESTART_LAST_MS;
	return pause;
}

void supervisor_start_engine(struct supervisor *s)
{
	int r = engine_process_start(s->program, &s->engine, &s->channel);

	s->state = SUPERVISOR_STARTING;
	s->has_older_engine = false;
	s->started_ms = clock_ms();
	s->is_killed = false;
	s->has_vsock = supervisor_needs_vsock(s);
	if (!r)
		r = supervisor_feed(s, s->channel, SUPERVISE_START);
	if (!r)
		r = loop_add(s->loop, &s->from_engine, s->channel, EPOLLIN);
	if (!r)
		return;
	log_err("main", "cannot start an engine: %s", channel_str_error(r));
	if (s->engine) {
		supervisor_replace_engine(s, "cannot be told what to do");
	} else if (!s->has_served) {
		s->status = r < 0 ? r : -ECANCELED;
		s->state = SUPERVISOR_ENDING;
		loop_stop(s->loop);
	} else {
		loop_timer_set(s->loop, &s->restart, clock_ms() + restart_pause(s, s->started_ms));
	}
}

static void on_restart(struct loop_timer *timer)
{
	supervisor_start_engine(container_of(timer, struct supervisor, restart));
}

/* The VM whose input it was handling; NULL: of none, or of several. */
static struct held_vm *find_culprit(struct supervisor *s)
{
	struct held_vm *found = NULL;

	for (size_t i = 0; s->shared && i < SUPERVISE_WORKERS_MAX; i++) {
		uint64_t cid = atomic_load(&s->shared->handling[i]);
		struct held_vm *h = cid ? supervisor_find(s, cid) : NULL;

		if (h && found)
			return NULL;
		found = h ? h : found;
	}
	return found;
}

/* A signal that somebody sends is nobody's fault, nor is it that memory has run out. */
static void judge(struct supervisor *s, int sig, uint64_t now_ms)
{
	struct held_vm *culprit = sig == SIGKILL && !s->is_hung ? NULL : find_culprit(s);

	for (size_t i = 0; i < s->n_vms; i++)
		if (s->vms[i] != culprit || now_ms - s->started_ms >= STEADY_MS)
			s->vms[i]->faults = 0;
	if (!culprit || ++culprit->faults < FAULTS_MAX)
		return;
	log_err("main", "vm %llu is left out: %u engines in a row have died of it",
		(unsigned long long)culprit->plan.guest_cid, culprit->faults);
	supervisor_leave_out(s, culprit);
}

struct supervisor_with supervisor_busy_with(struct supervisor *s)
{
	const struct held_vm *culprit = find_culprit(s);
	struct supervisor_with with = { "" };

	if (culprit)
		snprintf(with.text, sizeof with.text, ", busy with vm %llu",
			 (unsigned long long)culprit->plan.guest_cid);
	return with;
}

static void tell_death(struct supervisor *s, const siginfo_t *info)
{
	const struct held_vm *culprit = find_culprit(s);

	events_put(&(struct event){
		.kind = EVENT_ENGINE_DIED, .pid = (int)info->si_pid, .number = info->si_status,
		.is_signal = info->si_code != CLD_EXITED,
		.cid = culprit ? culprit->plan.guest_cid : 0,
	});
}

static void log_death(struct supervisor *s, const siginfo_t *info)
{
	const char *then = s->has_served ? "; another takes over" : "";
	const struct supervisor_with with = supervisor_busy_with(s);

	tell_death(s, info);
	if (info->si_code == CLD_EXITED)
		log_err("main", "the engine (process %d) ended with status %d%s%s",
			(int)info->si_pid, info->si_status, with.text, then);
	else
		log_err("main", "the engine (process %d) was ended by signal %d (%s)%s%s",
			(int)info->si_pid, info->si_status, strsignal(info->si_status),
			with.text, then);
}

/* Besides one that waits to become the next. */
static bool is_front_end_kept(const struct held_vm *h)
{
	return h->n_kept > (held_vm_get(h, SUPERVISE_SLOT_ACCEPTED) >= 0 ? 1 : 0);
}

/* What it had to say of those that left in its last moment: nothing is kept of them. */
static void forget_front_ends(struct supervisor *s)
{
	for (size_t i = 0; i < s->n_vms; i++)
		if (!is_front_end_kept(s->vms[i]))
			supervisor_note_session(s->vms[i], false);
	supervisor_catch_up_all(s);
}

static void on_engine_ended(struct supervisor *s, const siginfo_t *info)
{
	uint64_t now_ms = clock_ms();

	if (!supervisor_part_with_engine(s))
		return;
	supervisor_give_up_successor(s, "the present engine has ended");
	if (!s->has_served) {			/* it has logged why */
		if (!s->has_failed)
			log_death(s, info);
		s->status = -ECANCELED;
		s->state = SUPERVISOR_ENDING;
		loop_stop(s->loop);
		return;
	}
	log_death(s, info);
	judge(s, info->si_code == CLD_EXITED ? 0 : info->si_status, now_ms);
	forget_front_ends(s);
	supervisor_settle_captures(s);
	s->is_hung = false;
	if (s->shared) {
		memset(s->shared->handling, 0, sizeof s->shared->handling);
		atomic_fetch_add(&s->shared->crashes, 1);
	}
	loop_timer_set(s->loop, &s->restart, now_ms + restart_pause(s, now_ms));
	s->state = SUPERVISOR_WAITING;
}

/* An engine does not end, or begin, or go on. */
static void on_impatient(struct loop_timer *timer)
{
	struct supervisor *s = container_of(timer, struct supervisor, patience);

	if (s->state != SUPERVISOR_ENDING) {
		supervisor_replace_engine(s, "was stopped, and does not go on");
		return;
	}
	log_warn("main", "something hangs: the daemon ends without it");
	kill(s->engine, SIGKILL);
}

static void on_engine_stopped(struct supervisor *s, bool has_stopped)
{
	if (s->state == SUPERVISOR_ENDING || !s->plan->watchdog_ms)
		return;
	if (has_stopped)
		loop_timer_set(s->loop, &s->patience, clock_ms() + s->plan->watchdog_ms);
	else
		loop_timer_cancel(s->loop, &s->patience);
}

void supervisor_adopt_engine(struct supervisor *s, pid_t pid, int channel)
{
	s->engine = pid;
	s->channel = channel;
	s->state = SUPERVISOR_SERVING;
	s->has_older_engine = false;
	s->started_ms = clock_ms();
	s->is_killed = false;
	if (loop_add(s->loop, &s->from_engine, channel, EPOLLIN) < 0)
		supervisor_replace_engine(s, "cannot be listened to");
}

void supervisor_on_child(struct supervisor *s, const siginfo_t *info)
{
	bool has_ended = info->si_code != CLD_STOPPED && info->si_code != CLD_CONTINUED;

	if (supervisor_on_successor(s, info) || supervisor_on_checker(s, info))
		return;
	if (info->si_pid != s->engine) {
		if (has_ended)
			connects_ended(&s->connects, info->si_pid);
		return;
	}
	if (has_ended)
		on_engine_ended(s, info);
	else
		on_engine_stopped(s, info->si_code == CLD_STOPPED);
}

/* ---- for the other files ---- */

void supervisor_engine_init(struct supervisor *s)
{
	s->channel = -1;
	s->pause_ms = RESTART_FIRST_MS;
	supervisor_hear_init(s);
	supervisor_handover_init(s);
	supervisor_upgrade_init(s);
	supervisor_orders_init(s);
	supervisor_shares_init(s);
	s->restart.expire = on_restart;
	s->patience.expire = on_impatient;
}
