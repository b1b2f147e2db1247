/* SPDX-License-Identifier: BSD-3-Clause */
/* The supervisor: sockets, descriptors, engines. */
#include "daemon/supervisor.h"

#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "config/plan.h"
#include "control/events.h"
#include "daemon/api_socket.h"
#include "daemon/engine_process.h"
#include "daemon/fd_store.h"
#include "daemon/notify.h"
#include "daemon/supervisor_internal.h"
#include "sandbox/guard.h"
#include "sandbox/sandbox.h"
#include "util/clock.h"
#include "util/closer.h"
#include "util/error.h"
#include "util/fd.h"
#include "util/log.h"

enum { STOP_MS = 1000 };			/* for an engine that is to end */

struct held_vm *supervisor_find(struct supervisor *s, uint64_t cid)
{
	for (size_t i = 0; i < s->n_vms; i++)
		if (s->vms[i]->plan.guest_cid == cid && s->vms[i]->is_served && !s->vms[i]->waits)
			return s->vms[i];
	return NULL;
}

size_t supervisor_count_served(const struct supervisor *s)
{
	size_t n = 0;

	for (size_t i = 0; i < s->n_vms; i++)
		n += s->vms[i]->is_served;
	return n;
}

void supervisor_end(struct supervisor *s, int status)
{
	if (s->state == SUPERVISOR_ENDING)
		return;
	s->state = SUPERVISOR_ENDING;
	s->status = status;
	events_put(&(struct event){ .kind = EVENT_DAEMON_ENDED, .number = status ? 1 : 0 });
	guard_start(status != 0);
	supervisor_give_up_successor(s, "the daemon ends");
	notify_stop();
	loop_timer_cancel(s->loop, &s->restart);
	loop_timer_cancel(s->loop, &s->folders.timer);
	loop_timer_cancel(s->loop, &s->captures_due);
	if (!s->engine || supervisor_say(s, SUPERVISE_STOP, 0) != 0)
		loop_stop(s->loop);
	else
		loop_timer_set(s->loop, &s->patience, clock_ms() + STOP_MS);
}

/* As process 1 of a container we have children that we have not made. */
static void reap(struct supervisor *s)
{
	for (;;) {
		siginfo_t info = { .si_pid = 0 };

		if (waitid(P_ALL, 0, &info, WEXITED | WSTOPPED | WCONTINUED | WNOHANG) < 0 ||
		    !info.si_pid)
			return;
		supervisor_on_child(s, &info);
	}
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
	if (info.ssi_signo == SIGUSR2) {
		supervisor_upgrade(s);
		return;
	}
	if (info.ssi_signo == SIGHUP && s->plan->config) {
		supervisor_reload(s);
		return;
	}
	log_info("main", "ends on signal %u", info.ssi_signo);
	supervisor_end(s, 0);
}

/* Of an engine that another program has started: it may have ended meanwhile. */
static void supervisor_go_on(struct supervisor *s)
{
	supervisor_adopt_engine(s, s->engine, s->channel);
	s->has_served = s->has_older_engine = true;
	s->has_vsock = supervisor_needs_vsock(s);	/* it was told of the same VMs */
	s->is_upgrading = true;
	supervisor_notify(s);
	supervisor_share_later(s);		/* it may have been about to */
	reap(s);
	if (s->state == SUPERVISOR_SERVING)
		supervisor_hand_over(s);
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
	sigaddset(&child, SIGUSR2);
	sigaddset(&set, SIGUSR2);
	signal(SIGCHLD, SIG_DFL);		/* ignored, children would end without a word */
	pthread_sigmask(SIG_BLOCK, &child, NULL);
	s->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (s->signal_fd < 0)
		return error_last();
	r = loop_add(s->loop, &s->signals, s->signal_fd, EPOLLIN);
	return r < 0 ? r : listen_to_pings(s);
}

/* ---- the beginning and the end ---- */

void supervisor_yield_names(struct supervisor *s, const struct vm_plan *row)
{
	for (size_t i = 0; i < s->n_vms; i++)
		vm_sockets_yield(&s->vms[i]->sockets, &s->vms[i]->plan, row);
}

static bool is_wanted(const struct supervisor *s, const struct vm_plan *row)
{
	for (size_t i = 0; i < s->n_vms; i++)
		if (vm_sockets_seqpacket_is_wanted(row, &s->vms[i]->plan))
			return true;
	return false;
}

void supervisor_open_seqpackets(struct supervisor *s)
{
	if (s->has_older_engine)
		return;
	for (size_t i = 0; i < s->n_vms; i++) {
		struct held_vm *h = s->vms[i];

		if (h->is_served && vm_sockets_want_seqpacket(&h->sockets, &h->plan) &&
		    vm_sockets_open_seqpacket(&h->sockets, s->plan, &h->plan,
					      is_wanted(s, &h->plan)))
			supervisor_tell_vm(s, h);
	}
}

void supervisor_on_served(struct supervisor *s, struct held_vm *h)
{
	events_put_vm(EVENT_VM_ADDED, h->plan.guest_cid);
	if (h->plan.capture.path)
		supervisor_plan_capture(s, h);
}

int supervisor_add_vm(struct supervisor *s, struct vm_plan *row, struct held_vm **out)
{
	struct held_vm **vms = realloc(s->vms, (s->n_vms + 1) * sizeof *vms), *h;
	int r;

	if (!vms)
		return -ENOMEM;
	s->vms = vms;
	h = held_vm_new(row);
	if (!h)
		return -ENOMEM;
	supervisor_yield_names(s, &h->plan);
	r = vm_sockets_open(&h->sockets, s->plan, &h->plan);
	h->is_served = !r;
	h->open_error = r;
	h->awaits_folder = r && !vm_sockets_have_folders(&h->plan);
	s->vms[s->n_vms++] = h;
	*out = h;
	if (h->is_served)
		supervisor_on_served(s, h);
	return r;
}

/* What a supervisor that was killed held for it. */
static void take_back(struct held_vm *h)
{
	uint32_t slot;
	int fd;

	while ((fd = fd_store_take_slot(h->plan.guest_cid, &slot)) >= 0)
		held_vm_restore(h, slot, fd);
}

/* What one VM lacks is no reason to refuse the others: 0 if any is there. */
static int open_vms(struct supervisor *s)
{
	struct held_vm *h;
	size_t n_served = 0;
	int r = 0, opened;

	for (size_t i = 0; i < s->plan->n_vms; i++) {
		opened = supervisor_add_vm(s, &s->plan->vms[i], &h);
		n_served += !opened;
		if (!opened)
			take_back(h);
		r = opened ? opened : r;
	}
	supervisor_open_seqpackets(s);
	fd_store_drop_untaken();
	for (size_t i = 0; n_served && i < s->n_vms; i++)
		if (s->vms[i]->awaits_folder)
			log_warn("main", "vm %llu: served once its folder is there",
				 (unsigned long long)s->vms[i]->plan.guest_cid);
	return n_served ? 0 : r;
}

static void supervisor_deinit(struct supervisor *s)
{
	supervisor_forget_engine(s);
	supervisor_folders_deinit(s);
	events_watch(NULL, NULL);
	listener_deinit(&s->api);
	fd_close(&s->orders.upgrade_fd);
	for (size_t i = 0; i < s->n_vms; i++)
		held_vm_free(s->vms[i]);
	free(s->vms);
	free(s->leaving);
	loop_forget(s->loop, &s->signals);
	loop_forget(s->loop, &s->pings);
	fd_close(&s->signal_fd);
	fd_close(&s->ping_fd);
	fd_close(&s->program);
	free(s->path);
	supervisor_unshare(s);
	loop_free(s->loop);
}

static int supervisor_init(struct supervisor *s, const struct supervisor_config *config)
{
	*s = (struct supervisor){
		.config = *config, .plan = config->plan, .signal_fd = -1, .program = -1,
		.shared_fd = -1, .ping_fd = -1,
		.signals = { .dispatch = on_signal, .fd = -1 },
	};
	listener_init(&s->api);
	supervisor_engine_init(s);
	supervisor_folders_init(s);
	supervisor_capture_init(s);
	return closer_init();
}

/* Its threads begin as what it is to be. */
static int become_supervisor(const struct supervisor *s)
{
	int r = 0;

	if (s->plan->sandbox >= SANDBOX_ON)
		r = sandbox_enter_supervisor(s->plan->sandbox == SANDBOX_STRICT);
	if (!r)
		r = log_start_thread();
	if (!r)
		r = events_start_thread();
	if (!r)
		closer_start();
	return r;
}

/* What is the same for one that begins and one that goes on. */
static int set_up(struct supervisor *s)
{
	int r;

	s->connects.within = sockets_api_folders(s->plan);
	s->path = engine_process_path();
	if ((r = engine_process_open(&s->program)) < 0 || (r = loop_new(&s->loop)) < 0 ||
	    (r = listen_to_signals(s, s->config.ends)) < 0)
		return r;
	r = supervisor_share(s);
	if (r < 0)				/* a limit of files' sizes, maybe */
		log_warn("main", "no memory to share with an engine: %s: if one dies, it is not "
			 "known which VM it was busy with", error_str(r));
	return become_supervisor(s);
}

static int run(struct supervisor *s)
{
	int r;

	supervisor_watch_folders(s);
	r = loop_run(s->loop);
	if (r < 0) {
		log_err("main", "event loop: %s", error_str(r));
		s->status = r;
	}
	return s->status;
}

int supervisor_run(const struct supervisor_config *config)
{
	struct supervisor s;
	int r = supervisor_init(&s, config);

	fd_store_init();
	if (!r)
		r = api_socket_open(&s.api, s.plan);
	supervisor_events_init(&s);
	if (!r)
		r = open_vms(&s);
	if (!r)
		r = set_up(&s);
	if (r) {
		log_err("main", "cannot start: %s", listener_str_error(r));
	} else {
		supervisor_start_engine(&s);
		r = run(&s);
	}
	supervisor_deinit(&s);
	return r;
}

int supervisor_resume(const struct supervisor_config *config, int state)
{
	struct supervisor s;
	int r = supervisor_init(&s, config);

	if (!r)
		r = supervisor_state_load(&s, state);
	supervisor_events_init(&s);
	fd_close(&state);
	s.config.umask = s.plan->umask;
	if (s.log_fd >= 0)
		log_adopt((enum log_level)s.plan->log_level, fd_take(&s.log_fd));
	if (s.events_fd >= 0)
		events_adopt(fd_take(&s.events_fd));
	if (!r)
		r = set_up(&s);
	if (r) {
		log_err("main", "cannot go on from the program before: %s",
			r > 0 ? "its state is not as it has to be" : error_str(r));
	} else {
		fd_store_resume();
		for (size_t i = 0; i < s.n_vms; i++)
			held_vm_put_all(s.vms[i]);
		supervisor_go_on(&s);
		r = run(&s);
	}
	supervisor_deinit(&s);
	return r;
}
