/* SPDX-License-Identifier: BSD-3-Clause */
/* A supervisor and its engine, or all in one process. */
#include "daemon/daemon.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "config/plan.h"
#include "control/api.h"
#include "control/capture.h"
#include "control/capture_files.h"
#include "control/events.h"
#include "daemon/api_socket.h"
#include "daemon/engine.h"
#include "daemon/notify.h"
#include "daemon/prepare.h"
#include "daemon/supervisor.h"
#include "daemon/vm.h"
#include "device/device.h"
#include "sandbox/guard.h"
#include "sandbox/launch.h"
#include "sandbox/sandbox.h"
#include "util/clock.h"
#include "util/closer.h"
#include "util/error.h"
#include "util/fd.h"
#include "util/log.h"
#include "util/watchdog.h"
#include "vhost/gmem.h"

enum { CAPTURES_MS = 700 };			/* for all of them to write the rest */

/* ---- all in one ---- */

static atomic_bool worker_failed;

static void on_worker_failed(void)
{
	atomic_store(&worker_failed, true);
	launch_end();
}

/* One whose only front-end has gone has nothing left to do. */
static atomic_size_t n_vms_left;

static void on_over(uint64_t cid)
{
	(void)cid;
	if (atomic_fetch_sub(&n_vms_left, 1) == 1)
		launch_end();
}

static void on_came(uint64_t cid)
{
	(void)cid;
	notify_front_end(1);
}

static void on_gone(uint64_t cid)
{
	(void)cid;
	notify_front_end(-1);
}

static struct device_hooks hooks = {
	.came = on_came, .gone = on_gone, .over = on_over, .wants_events = events_are_wanted,
};

struct alone {
	struct engine engine;
	struct vm *vms;				/* owned, one for each of the plan */
	struct vm **served;			/* owned; those that have their sockets */
	struct listener api;			/* the engine has its descriptor */
	size_t n_vms, n_served;
};

static bool is_wanted(const struct plan *plan, const struct vm_plan *vm)
{
	for (size_t i = 0; i < plan->n_vms; i++)
		if (vm_sockets_seqpacket_is_wanted(vm, &plan->vms[i]))
			return true;
	return false;
}

/* What one VM lacks is no reason to refuse the others: 0 if any is there. */
static int open_sockets(struct alone *a, const struct plan *plan)
{
	int last = 0;

	for (size_t i = 0; i < plan->n_vms; i++) {
		int r;

		r = vm_sockets_open(&a->vms[i].sockets, plan, &plan->vms[i]);
		if (!r)
			a->served[a->n_served++] = &a->vms[i];
		last = r ? r : last;
	}
	for (size_t i = 0; i < a->n_served; i++) {
		struct vm *vm = a->served[i];

		if (vm_sockets_want_seqpacket(&vm->sockets, vm->plan))
			vm_sockets_open_seqpacket(&vm->sockets, plan, vm->plan,
						  is_wanted(plan, vm->plan));
	}
	atomic_store(&n_vms_left, a->n_served);
	return a->n_served ? 0 : last;
}

static void alone_deinit(struct alone *a)
{
	listener_deinit(&a->api);
	for (size_t i = 0; i < a->n_vms; i++)
		vm_deinit(&a->vms[i]);
	free(a->vms);
	free(a->served);
}

static struct alone alone;			/* there is one in the process */

static void answer(const struct supervise_msg *m, enum supervise_outcome outcome, const char *why)
{
	api_answer(alone.engine.api, m->u.order.id, outcome, why, strlen(why));
}

static struct vm *served(size_t i)
{
	return alone.served[i];
}

static void on_beat(void)
{
	engine_balance(&alone.engine, served, alone.n_served);
}

/* In the API's thread. */
static int obey(struct supervise_msg *m, const void *text, size_t len, int fd)
{
	(void)text, (void)len, (void)fd;
	if (m->type == SUPERVISE_SET_LEVEL) {
		log_level = (enum log_level)m->u.order.code;
		log_info("main", "changed: log-level (API)");
		answer(m, SUPERVISE_OK, "");
	} else if (m->type == SUPERVISE_SHUTDOWN) {
		log_info("main", "ends: the API was asked for it");
		answer(m, SUPERVISE_OK, "");
		launch_end();
	} else {
		answer(m, SUPERVISE_NOT_NOW, "not without a supervisor (--supervise=off)");
	}
	return 0;
}

/* It is in the sandbox when it has been prepared, and the files are open by then. */
static void open_captures(struct alone *a)
{
	for (size_t i = 0; i < a->n_served; i++) {
		struct vm *vm = a->served[i];
		const struct capture_plan *plan = &vm->plan->capture;
		int r = plan->path ? capture_open(&vm->capture, vm->cid, plan) : 0;

		if (r)
			log_warn("main", "vm %llu: capture %s: %s: nothing is captured",
				 (unsigned long long)vm->cid, plan->path,
				 capture_files_str_error(r));
	}
}

/* As engine_open_vms(): none of it is left. */
static int start_engine(struct alone *a, const struct engine_config *config)
{
	int r = engine_prepare(&a->engine, config);

	if (r)
		return r;
	for (size_t i = 0; i < a->n_served; i++)
		if (a->served[i]->capture && (r = capture_start(a->served[i]->capture)))
			log_warn("main", "vm %llu: nothing is captured: %s",
				 (unsigned long long)a->served[i]->cid, error_str(r));
	r = engine_open_vms(&a->engine, config->vms, config->n_vms);
	if (!r)
		r = engine_begin(&a->engine, true);
	if (r)
		engine_deinit(&a->engine);
	else
		engine_go_on(&a->engine);
	return r;
}

static void end_captures(const struct alone *a)
{
	uint64_t until_ms = clock_ms() + CAPTURES_MS;

	for (size_t i = 0; i < a->n_vms; i++)
		if (a->vms[i].capture)
			capture_end(a->vms[i].capture);
	for (size_t i = 0; i < a->n_vms; i++)
		if (a->vms[i].capture)
			capture_wait(a->vms[i].capture, until_ms);
}

static int alone_init(struct alone *a, const struct plan *plan)
{
	struct engine_config config = {
		.plan = plan, .hooks = &hooks, .failed = on_worker_failed, .api_fd = -1,
		.order = obey,
	};
	int r;

	*a = (struct alone){
		.vms = calloc(plan->n_vms, sizeof *a->vms),
		.served = calloc(plan->n_vms, sizeof(struct vm *)),
	};
	listener_init(&a->api);
	if (!a->vms || !a->served)
		return -ENOMEM;
	for (; a->n_vms < plan->n_vms; a->n_vms++)
		vm_init(&a->vms[a->n_vms], &plan->vms[a->n_vms]);
	if ((r = gmem_catch_sigbus()) < 0 || (r = closer_init()) < 0 ||
	    (r = watchdog_init()) < 0 || (r = api_socket_open(&a->api, plan)) ||
	    (r = open_sockets(a, plan)))
		return r;
	launch_grow_files(plan->n_files);
	open_captures(a);
	config.vms = a->served;
	config.n_vms = a->n_served;
	config.api_fd = fd_take(&a->api.fd);
	return start_engine(a, &config);
}

/* VMs that were left out have no front-end that could go. */
static void count_served(const struct alone *a)
{
	size_t n = a->n_served - a->engine.n_vms;

	if (n && atomic_fetch_sub(&n_vms_left, n) == n)
		launch_end();
}

static void tell_started(const struct alone *a)
{
	for (size_t i = 0; i < a->n_served; i++)
		events_put_vm(a->served[i]->device ? EVENT_VM_ADDED : EVENT_VM_LEFT_OUT,
			      a->served[i]->cid);
}

static int run_alone(const struct plan *plan, const sigset_t *ends)
{
	struct alone *a = &alone;
	sigset_t set = *ends;
	int sig, r;

	sigaddset(&set, SIGUSR2);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	r = alone_init(a, plan);

	if (r) {
		log_err("main", "cannot start: %s", listener_str_error(r));
		alone_deinit(a);
		return r;
	}
	tell_started(a);
	count_served(a);
	prepare_log_serving(plan, a->engine.n_vms, plan->n_vms);
	if ((r = notify_start(a->engine.n_vms, watchdog_has_stuck)) < 0)
		log_err("main", "no thread to tell the service manager: %s", error_str(r));
	watchdog_set_beat(on_beat);
	while ((sig = watchdog_wait(&set, -1)) == SIGUSR2)
		log_warn("main", "SIGUSR2: without a supervisor nobody can take over");
	if (!atomic_load(&n_vms_left))
		log_info("main", "ends: the last front-end has gone, and no other can come");
	else
		log_info("main", "ends on signal %d", sig);
	events_put(&(struct event){
		.kind = EVENT_DAEMON_ENDED, .number = atomic_load(&worker_failed),
	});
	guard_start(atomic_load(&worker_failed));
	notify_stop();
	engine_deinit(&a->engine);
	end_captures(a);
	alone_deinit(a);
	closer_deinit();
	return atomic_load(&worker_failed) ? -EIO : 0;
}

static void init_notify(void)
{
	int r = notify_init();

	if (r < 0)
		log_warn("main", "NOTIFY_SOCKET: %s: the service manager does not hear us",
			 error_str(r));
}

static int open_events(const struct plan *plan)
{
	int r = 0;

	if (plan->event_path)
		r = events_open(plan->event_path);
	else if (plan->event_fd >= 0)
		r = events_open_passed(plan->event_fd);
	else
		return 0;
	if (r < 0)
		log_err("main", "event-monitor %s: %s", plan->event_path ? plan->event_path : "fd",
			error_str(r));
	hooks.event = events_put_device;
	events_put(&(struct event){ .kind = EVENT_DAEMON_STARTED, .pid = (int)getpid() });
	return r;
}

int daemon_run(struct plan *plan, int argc, char **argv)
{
	sigset_t ends;
	int r;

	launch_block_ends(&ends);
	if ((r = sandbox_check_user(plan->uid, plan->gid)) < 0)
		return r;
	if ((r = open_events(plan)) < 0)
		return r;
	if (plan->api_path || plan->api_socket.fd >= 0)
		hooks.event = events_put_device;
	init_notify();
	prepare_plan(plan, engine_count_workers(plan, plan->n_vms));
	if (!plan->is_supervised)
		r = run_alone(plan, &ends);
	else
		r = supervisor_run(&(struct supervisor_config){
			.plan = plan, .ends = &ends, .argc = argc, .argv = argv,
			.umask = plan->umask,
		});
	events_stop_thread();
	return r;
}

int daemon_resume(struct plan *plan, int argc, char **argv, int state)
{
	sigset_t ends;
	int r;

	launch_block_ends(&ends);
	init_notify();
	r = supervisor_resume(&(struct supervisor_config){
		.plan = plan, .ends = &ends, .argc = argc, .argv = argv,
	}, state);
	events_stop_thread();
	return r;
}
