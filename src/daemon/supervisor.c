/* SPDX-License-Identifier: BSD-3-Clause */
/* The supervisor: sockets, descriptors, engines. */
#include "daemon/supervisor.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "config/plan.h"
#include "daemon/engine_process.h"
#include "daemon/notify.h"
#include "daemon/prepare.h"
#include "daemon/supervisor_internal.h"
#include "sandbox/guard.h"
#include "sandbox/sandbox.h"
#include "util/clock.h"
#include "util/closer.h"
#include "util/error.h"
#include "util/fd.h"
#include "util/log.h"

enum {
	STOP_MS = 1000,				/* for an engine that is to end */
	STEADY_MS = 10 * 1000,			/* an engine that has lived so long is a good one */
	RESTARTS = 20,				/* at once; then they take their time: */
	RESTART_FIRST_MS = 100, RESTART_LAST_MS = 5000,
	FAULTS_MAX = 3,				/* engines that one VM may end in a row */
	MESSAGES_PER_TURN = 64,
};

/* For a thread that knows of no object. */
static struct supervisor *sole;

struct held_vm *supervisor_find(struct supervisor *s, uint64_t cid)
{
	for (struct held_vm *h = s->vms; h < s->vms + s->n_vms; h++)
		if (h->plan->guest_cid == cid && h->is_served)
			return h;
	return NULL;
}

static void end(struct supervisor *s, int status)
{
	if (s->state == SUPERVISOR_ENDING)
		return;
	s->state = SUPERVISOR_ENDING;
	s->status = status;
	guard_start(status != 0);
	notify_stop();
	loop_timer_cancel(s->loop, &s->restart);
	if (!s->engine || supervisor_say(s, SUPERVISE_STOP, 0) != 0)
		loop_stop(s->loop);
	else
		loop_timer_set(s->loop, &s->patience, clock_ms() + STOP_MS);
}

/* ---- an engine's life ---- */

static void forget_engine(struct supervisor *s)
{
	loop_remove(s->loop, &s->from_engine);
	fd_close(&s->channel);
	loop_timer_cancel(s->loop, &s->patience);
	s->engine = 0;
}

static void kill_engine(struct supervisor *s, const char *why)
{
	log_err("main", "the engine %s: it is ended", why);
	kill(s->engine, SIGKILL);		/* how it ends is told by SIGCHLD */
	s->is_killed = true;
}

static uint32_t restart_pause(struct supervisor *s, uint64_t now_ms)
{
	uint32_t pause = s->pause_ms;

	if (now_ms - s->started_ms >= STEADY_MS) {
		s->n_restarts = 0;
		s->pause_ms = RESTART_FIRST_MS;
	}
	if (++s->n_restarts <= RESTARTS && s->state == SUPERVISOR_SERVING)
		return 0;
	s->pause_ms = pause < RESTART_LAST_MS / 2 ? pause * 2 : RESTART_LAST_MS;
	return pause;
}

static void start_engine(struct supervisor *s)
{
	int r = engine_process_start(s->program, &s->engine, &s->channel);

	s->state = SUPERVISOR_STARTING;
	s->started_ms = clock_ms();
	s->is_killed = false;
	if (!r)
		r = supervisor_feed(s);
	if (!r)
		r = loop_add(s->loop, &s->from_engine, s->channel, EPOLLIN);
	if (!r)
		return;
	log_err("main", "cannot start an engine: %s", channel_str_error(r));
	if (s->engine)
		kill_engine(s, "cannot be told what to do");
	else
		loop_timer_set(s->loop, &s->restart, clock_ms() + restart_pause(s, s->started_ms));
}

static void on_restart(struct loop_timer *timer)
{
	start_engine(container_of(timer, struct supervisor, restart));
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

static void leave_out(struct held_vm *h)
{
	log_err("main", "vm %llu is left out: %u engines in a row have died of it",
		(unsigned long long)h->plan->guest_cid, h->faults);
	h->is_left_out = true;
	if (h->has_front_end)
		notify_front_end(-1);
	held_vm_deinit(h);
}

/* A signal that somebody sends is nobody's fault, nor is it that memory has run out. */
static void judge(struct supervisor *s, int sig, uint64_t now_ms)
{
	struct held_vm *culprit = sig == SIGKILL && !s->is_hung ? NULL : find_culprit(s);

	for (struct held_vm *h = s->vms; h < s->vms + s->n_vms; h++)
		if (h != culprit || now_ms - s->started_ms >= STEADY_MS)
			h->faults = 0;
	if (culprit && ++culprit->faults >= FAULTS_MAX)
		leave_out(culprit);
}

static void log_death(struct supervisor *s, const siginfo_t *info)
{
	const struct held_vm *culprit = find_culprit(s);
	char with[64] = "";

	if (culprit)
		snprintf(with, sizeof with, ", busy with vm %llu",
			 (unsigned long long)culprit->plan->guest_cid);
	if (info->si_code == CLD_EXITED)
		log_err("main", "the engine (process %d) ended with status %d%s; another takes "
			"over", (int)info->si_pid, info->si_status, with);
	else
		log_err("main", "the engine (process %d) was ended by signal %d (%s)%s; another "
			"takes over", (int)info->si_pid, info->si_status,
			strsignal(info->si_status), with);
}

static void on_engine_ended(struct supervisor *s, const siginfo_t *info)
{
	uint64_t now_ms = clock_ms();

	supervisor_hear(s);			/* its last words */
	forget_engine(s);
	if (s->state == SUPERVISOR_ENDING) {
		loop_stop(s->loop);
		return;
	}
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
	s->is_hung = false;
	if (s->shared)
		memset(s->shared, 0, sizeof *s->shared);
	loop_timer_set(s->loop, &s->restart, now_ms + restart_pause(s, now_ms));
	s->state = SUPERVISOR_WAITING;
}

/* An engine does not end, or begin, or go on. */
static void on_impatient(struct loop_timer *timer)
{
	struct supervisor *s = container_of(timer, struct supervisor, patience);

	if (s->state == SUPERVISOR_ENDING)
		kill(s->engine, SIGKILL);
	else
		kill_engine(s, "was stopped, and does not go on");
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

static void on_child(struct supervisor *s, const siginfo_t *info)
{
	bool has_ended = info->si_code != CLD_STOPPED && info->si_code != CLD_CONTINUED;

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

/* As process 1 of a container we have children that we have not made. */
static void reap(struct supervisor *s)
{
	for (;;) {
		siginfo_t info = { .si_pid = 0 };

		if (waitid(P_ALL, 0, &info, WEXITED | WSTOPPED | WCONTINUED | WNOHANG) < 0 ||
		    !info.si_pid)
			return;
		on_child(s, &info);
	}
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

static void on_ready(struct supervisor *s)
{
	int r;

	s->state = SUPERVISOR_SERVING;
	s->pause_ms = RESTART_FIRST_MS;
	if (s->has_served) {
		log_info("main", "another engine serves, process %d", (int)s->engine);
		ping(s);
		return;
	}
	s->has_served = true;
	prepare_log_serving(s->plan, s->n_served);
	r = notify_start(s->n_served, is_engine_held_up);
	if (r < 0)
		log_err("main", "no thread to tell the service manager: %s", error_str(r));
}

static void on_session(struct held_vm *h, bool has_come)
{
	if (h->has_front_end != has_come)
		notify_front_end(has_come ? 1 : -1);
	h->has_front_end = has_come;
}

/* One whose only front-end has gone has nothing left to do. */
static void on_over(struct supervisor *s, struct held_vm *h)
{
	h->is_over = true;
	for (h = s->vms; h < s->vms + s->n_vms; h++)
		if (h->is_served && !h->is_over)
			return;
	log_info("main", "ends: the last front-end has gone, and no other can come");
	end(s, 0);
}

static void on_hung(struct supervisor *s)
{
	const struct held_vm *culprit = find_culprit(s);
	char why[80] = "hangs";

	if (culprit)
		snprintf(why, sizeof why, "hangs, busy with vm %llu",
			 (unsigned long long)culprit->plan->guest_cid);
	s->is_hung = true;
	kill_engine(s, why);
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
		on_session(h, m->type == SUPERVISE_CAME);
		return 0;
	case SUPERVISE_OVER:
		on_over(s, h);
		return 0;
	default:
		return connects_begin(&s->connects, h, s->channel, m->u.connect.port,
				      m->u.connect.id, clock_ms());
	}
}

static int on_message(struct supervisor *s, struct channel_msg *msg)
{
	struct held_vm *h = msg->m.cid ? supervisor_find(s, msg->m.cid) : NULL;

	if (msg->m.cid)
		return h ? on_vm_message(s, h, msg) : 0;
	switch (msg->m.type) {
	case SUPERVISE_READY:
		on_ready(s);
		return 0;
	case SUPERVISE_FAILED:
		s->has_failed = true;
		return 0;
	case SUPERVISE_STUCK:
		on_hung(s);
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
	if (r != CHANNEL_E_END && !s->is_killed && s->state != SUPERVISOR_ENDING)
		kill_engine(s, r == HELD_VM_E_SLOT ? "keeps too much" : channel_str_error(r));
	return false;
}

void supervisor_hear(struct supervisor *s)
{
	while (s->from_engine.fd >= 0 && hear_one(s))
		;
}

static void on_channel(struct loop_source *source, uint32_t events)
{
	struct supervisor *s = container_of(source, struct supervisor, from_engine);

	(void)events;
	for (int i = 0; i < MESSAGES_PER_TURN && source->fd >= 0 && hear_one(s); i++)
		;
}

/* ---- signals ---- */

static void on_signal(struct loop_source *source, uint32_t events)
{
	struct supervisor *s = container_of(source, struct supervisor, signals);
	struct signalfd_siginfo info;

	(void)events;
	if (read(source->fd, &info, sizeof info) != sizeof info)
		return;
	if (info.ssi_signo == SIGCHLD) {
		reap(s);
		return;
	}
	log_info("main", "ends on signal %u", info.ssi_signo);
	end(s, 0);
}

static int listen_to_pings(struct supervisor *s)
{
	s->ping_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (s->ping_fd < 0)
		return error_last();
	return loop_add(s->loop, &s->pings, s->ping_fd, EPOLLIN);
}

static int listen_to_signals(struct supervisor *s, const sigset_t *ends)
{
	sigset_t set = *ends, child;
	int r;

	sigemptyset(&child);
	sigaddset(&child, SIGCHLD);
	sigaddset(&set, SIGCHLD);
	signal(SIGCHLD, SIG_DFL);		/* ignored, children would end without a word */
	pthread_sigmask(SIG_BLOCK, &child, NULL);
	s->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (s->signal_fd < 0)
		return error_last();
	r = loop_add(s->loop, &s->signals, s->signal_fd, EPOLLIN);
	return r < 0 ? r : listen_to_pings(s);
}

/* ---- the beginning and the end ---- */

/* What one VM lacks is no reason to refuse the others: 0 if any is there. */
static int open_vms(struct supervisor *s)
{
	int r = 0;

	s->vms = calloc(s->plan->n_vms, sizeof *s->vms);
	if (!s->vms)
		return -ENOMEM;
	for (; s->n_vms < s->plan->n_vms; s->n_vms++) {
		struct held_vm *h = &s->vms[s->n_vms];
		int opened;

		held_vm_init(h, &s->plan->vms[s->n_vms]);
		opened = vm_sockets_open(&h->sockets, s->plan, h->plan);
		h->is_served = !opened;
		s->n_served += !opened;
		r = opened ? opened : r;
	}
	return s->n_served ? 0 : r;
}

static void supervisor_deinit(struct supervisor *s)
{
	forget_engine(s);
	for (size_t i = 0; i < s->n_vms; i++)
		held_vm_deinit(&s->vms[i]);
	free(s->vms);
	loop_forget(s->loop, &s->signals);
	loop_forget(s->loop, &s->pings);
	fd_close(&s->signal_fd);
	fd_close(&s->ping_fd);
	fd_close(&s->program);
	supervisor_unshare(s);
	loop_free(s->loop);
}

static int supervisor_init(struct supervisor *s, struct plan *plan, const sigset_t *ends)
{
	int r;

	sole = s;
	*s = (struct supervisor){
		.plan = plan, .channel = -1, .signal_fd = -1, .program = -1, .shared_fd = -1, .ping_fd = -1,
		.from_engine = { .dispatch = on_channel, .fd = -1 },
		.signals = { .dispatch = on_signal, .fd = -1 },
		.pings = { .dispatch = on_ping, .fd = -1 },
		.restart = { .expire = on_restart }, .patience = { .expire = on_impatient },
		.pause_ms = RESTART_FIRST_MS,
	};
	if ((r = closer_init()) < 0 || (r = open_vms(s)) ||
	    (r = engine_process_open(&s->program)) < 0 ||
	    (r = loop_new(&s->loop)) < 0 || (r = listen_to_signals(s, ends)) < 0)
		return r;
	r = supervisor_share(s);
	if (r < 0)				/* a limit of files' sizes, maybe */
		log_warn("main", "no memory to share with an engine: %s: if one dies, it is not "
			 "known which VM it was busy with", error_str(r));
	return log_start_thread();
}

int supervisor_run(struct plan *plan, const sigset_t *ends)
{
	struct supervisor s;
	int r = supervisor_init(&s, plan, ends);

	if (!r && plan->sandbox >= SANDBOX_ON)
		r = sandbox_enter_supervisor(plan->sandbox == SANDBOX_STRICT);
	if (r) {
		log_err("main", "cannot start: %s", listener_str_error(r));
		supervisor_deinit(&s);
		return r;
	}
	start_engine(&s);
	r = loop_run(s.loop);
	if (r < 0) {
		log_err("main", "event loop: %s", error_str(r));
		s.status = r;
	}
	r = s.status;
	supervisor_deinit(&s);
	return r;
}
