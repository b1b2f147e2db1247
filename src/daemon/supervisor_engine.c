/* SPDX-License-Identifier: BSD-3-Clause */
/* The supervisor: an engine's life, and what it says. */
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "control/events.h"
#include "daemon/engine_process.h"
#include "daemon/notify.h"
#include "daemon/prepare.h"
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
	MESSAGES_PER_TURN = 64,
};

/* For a thread that knows of no object. */
static struct supervisor *sole;

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

static void note_session(struct held_vm *h, bool has_come)
{
	if (h->has_front_end != has_come)
		notify_front_end(has_come ? 1 : -1);
	h->has_front_end = has_come;
}

static void leave_out(struct supervisor *s, struct held_vm *h)
{
	h->is_left_out = true;
	events_put_vm(EVENT_VM_LEFT_OUT, h->plan.guest_cid);
	note_session(h, false);
	held_vm_close(h);
	notify_reloaded(supervisor_count_served(s));
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
	leave_out(s, culprit);
}

struct with {
	char text[48];				/* ", busy with vm N", or nothing */
};

static struct with busy_with(struct supervisor *s)
{
	const struct held_vm *culprit = find_culprit(s);
	struct with with = { "" };

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
	const struct with with = busy_with(s);

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
			note_session(s->vms[i], false);
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

/* ---- what the engine says ---- */

static void ping(struct supervisor *s)
{
	if (s->state == SUPERVISOR_SERVING)
		supervisor_say(s, SUPERVISE_PING, atomic_load(&s->ping));
}

static void on_ping(struct loop_source *source, uint32_t events)
{
	struct supervisor *s = container_of(source, struct supervisor, pings);
	eventfd_t count;

	(void)events;
	eventfd_read(source->fd, &count);
	ping(s);
}

/* From the thread that tells the service manager: has the engine not answered since it was
 * asked last? It is asked again. */
static bool is_engine_held_up(void)
{
	struct supervisor *s = sole;
	bool is_held_up = atomic_load(&s->pong) != atomic_load(&s->ping);

	atomic_fetch_add(&s->ping, 1);
	eventfd_write(s->ping_fd, 1);
	return is_held_up;
}

void supervisor_notify(struct supervisor *s)
{
	int r = notify_start(supervisor_count_served(s), is_engine_held_up);

	if (r < 0)
		log_err("main", "no thread to tell the service manager: %s", error_str(r));
	for (size_t i = 0; i < s->n_vms; i++)
		if (s->vms[i]->has_front_end)
			notify_front_end(1);
}

/* Said once: 0; CHANNEL_E_GARBAGE. */
static int on_ready(struct supervisor *s)
{
	if (s->state != SUPERVISOR_STARTING)
		return CHANNEL_E_GARBAGE;
	s->state = SUPERVISOR_SERVING;
	events_put(&(struct event){ .kind = EVENT_ENGINE_STARTED, .pid = (int)s->engine });
	if (s->has_served) {
		log_info("main", "another engine serves, process %d", (int)s->engine);
		ping(s);
		if (s->wants_upgrade)		/* what was leaving has left with the other */
			supervisor_upgrade(s);
		return 0;
	}
	s->has_served = true;
	prepare_log_serving(s->plan, supervisor_count_served(s), s->n_vms);
	supervisor_notify(s);
	return 0;
}

static void on_session(struct supervisor *s, struct held_vm *h, bool has_come)
{
	note_session(h, has_come);
	if (!has_come)
		supervisor_catch_up(s, h);
}

static void on_hung(struct supervisor *s)
{
	char why[64];

	snprintf(why, sizeof why, "hangs%s", busy_with(s).text);
	s->is_hung = true;
	supervisor_replace_engine(s, why);
}

/* About a VM that was removed meanwhile: nothing. */
static int on_vm_message(struct supervisor *s, struct held_vm *h, struct channel_msg *msg)
{
	const struct supervise_msg *m = &msg->m;

	switch (m->type) {
	case SUPERVISE_KEEP:
		supervisor_passed_on(h);
		return held_vm_keep(h, m->u.kept.slot, channel_take_fd(msg, 0));
	case SUPERVISE_DROP:
		held_vm_drop(h, m->u.kept.slot);
		return 0;
	case SUPERVISE_CAME:
	case SUPERVISE_GONE:
		on_session(s, h, m->type == SUPERVISE_CAME);
		return 0;
	case SUPERVISE_LEFT_OUT:
		leave_out(s, h);
		return 0;
	case SUPERVISE_OVER:
		return supervisor_on_over(s, h);
	case SUPERVISE_CAPTURE_ENDED:
		supervisor_on_capture_ended(s, h, m->u.number);
		return 0;
	case SUPERVISE_ACCEPT:
		return supervisor_accept(s, h);
	case SUPERVISE_AGAIN:			/* of one that takes over only */
		return CHANNEL_E_GARBAGE;
	case SUPERVISE_CALL:
		return connects_call(&s->connects, h, s->channel, clock_ms());
	default:
		return connects_begin(&s->connects, h, s->channel,
				      m->type == SUPERVISE_CONNECT ? SOCK_STREAM : SOCK_SEQPACKET,
				      m->u.connect.port, m->u.connect.id, clock_ms());
	}
}

static int on_message(struct supervisor *s, struct channel_msg *msg)
{
	struct held_vm *h = msg->m.cid ? supervisor_find(s, msg->m.cid) : NULL;

	if (supervisor_is_order(msg->m.type))
		return supervisor_on_order(s, msg);
	if (msg->m.type == SUPERVISE_REMOVED)
		supervisor_on_removed(s, msg->m.cid);
	else if (h)
		return on_vm_message(s, h, msg);
	if (msg->m.cid)
		return 0;
	switch (msg->m.type) {
	case SUPERVISE_READY:
		return on_ready(s);
	case SUPERVISE_FAILED:
		s->has_failed = true;
		return 0;
	case SUPERVISE_STUCK:
		on_hung(s);
		return 0;
	case SUPERVISE_PARKED:
		supervisor_on_parked(s);
		return 0;
	default:
		atomic_store(&s->pong, msg->m.u.number);
		return 0;
	}
}

/* False: no more to be heard. */
static bool hear_one(struct supervisor *s)
{
	struct channel_msg msg;
	int r = channel_receive(s->channel, CHANNEL_ENGINE, &msg);

	if (r == CHANNEL_E_NONE)
		return false;
	if (!r) {
		r = on_message(s, &msg);
		channel_msg_deinit(&msg);
	}
	if (!r)
		return true;
	loop_remove(s->loop, &s->from_engine);
	if (s->is_killed)
		return false;
	if (r == CHANNEL_E_END)			/* it ends, or is of no use any more */
		kill(s->engine, SIGKILL);
	else if (s->state != SUPERVISOR_ENDING)
		supervisor_replace_engine(s, r == HELD_VM_E_SLOT ? "keeps too much" :
					  channel_str_error(r));
	return false;
}

static void hear_all(struct supervisor *s)
{
	while (s->from_engine.fd >= 0 && hear_one(s))
		;
}

bool supervisor_part_with_engine(struct supervisor *s)
{
	s->is_killed = true;			/* its number may be another's soon */
	hear_all(s);
	supervisor_forget_engine(s);
	if (s->state == SUPERVISOR_ENDING)
		loop_stop(s->loop);
	return s->state != SUPERVISOR_ENDING;
}

static void on_channel(struct loop_source *source, uint32_t events)
{
	struct supervisor *s = container_of(source, struct supervisor, from_engine);

	(void)events;
	for (int i = 0; i < MESSAGES_PER_TURN && source->fd >= 0 && hear_one(s); i++)
		;
}

/* ---- for the other files ---- */

void supervisor_engine_init(struct supervisor *s)
{
	sole = s;
	s->channel = -1;
	s->pause_ms = RESTART_FIRST_MS;
	s->from_engine = (struct loop_source){ .dispatch = on_channel, .fd = -1 };
	s->pings = (struct loop_source){ .dispatch = on_ping, .fd = -1 };
	supervisor_handover_init(s);
	supervisor_upgrade_init(s);
	supervisor_orders_init(s);
	supervisor_shares_init(s);
	s->restart.expire = on_restart;
	s->patience.expire = on_impatient;
}
