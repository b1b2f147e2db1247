/* SPDX-License-Identifier: BSD-3-Clause */
/* A supervisor and its engine, or all in one process. */
#include "daemon/daemon.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "config/plan.h"
#include "daemon/engine.h"
#include "daemon/notify.h"
#include "daemon/prepare.h"
#include "daemon/supervisor.h"
#include "daemon/vm.h"
#include "device/device.h"
#include "sandbox/guard.h"
#include "sandbox/launch.h"
#include "sandbox/sandbox.h"
#include "util/closer.h"
#include "util/error.h"
#include "util/log.h"
#include "util/watchdog.h"
#include "vhost/gmem.h"

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

static const struct device_hooks hooks = { .came = on_came, .gone = on_gone, .over = on_over };

/* What one VM lacks is no reason to refuse the others: 0 if any is there. */
static int open_sockets(struct vm *vms, const struct plan *plan)
{
	int last = 0;

	for (size_t i = 0; i < plan->n_vms; i++) {
		int r;

		vm_init(&vms[i], &plan->vms[i]);
		r = vm_sockets_open(&vms[i].sockets, plan, vms[i].plan);
		vms[i].is_wanted = !r;
		n_vms_left += !r;
		last = r ? r : last;
	}
	return n_vms_left ? 0 : last;
}

static int start_alone(struct engine *engine, const struct plan *plan)
{
	struct engine_config config = {
		.plan = plan, .vms = calloc(plan->n_vms, sizeof *config.vms), .hooks = &hooks,
		.failed = on_worker_failed,
	};
	int r;

	if (!config.vms)
		return -ENOMEM;
	if ((r = gmem_catch_sigbus()) < 0 || (r = closer_init()) < 0 ||
	    (r = watchdog_init()) < 0 || (r = open_sockets(config.vms, plan))) {
		free(config.vms);
		return r;
	}
	return engine_init(engine, &config);
}

static int run_alone(const struct plan *plan, const sigset_t *ends)
{
	struct engine engine;
	int sig, r = start_alone(&engine, plan);

	if (r) {
		log_err("main", "cannot start: %s", listener_str_error(r));
		return r;
	}
	if (atomic_fetch_sub(&n_vms_left, engine.n_wanted - engine.n_served) ==
	    engine.n_wanted - engine.n_served)
		launch_end();
	prepare_log_serving(plan, engine.n_served);
	if ((r = notify_start(engine.n_served, watchdog_has_stuck)) < 0)
		log_err("main", "no thread to tell the service manager: %s", error_str(r));
	sig = watchdog_wait(ends, -1);
	if (!atomic_load(&n_vms_left))
		log_info("main", "ends: the last front-end has gone, and no other can come");
	else
		log_info("main", "ends on signal %d", sig);
	guard_start(atomic_load(&worker_failed));
	notify_stop();
	engine_deinit(&engine);
	closer_deinit();
	return atomic_load(&worker_failed) ? -EIO : 0;
}

int daemon_run(struct plan *plan, int argc, char **argv)
{
	sigset_t ends;
	int r;

	launch_block_ends(&ends);
	if ((r = sandbox_check_user(plan->uid, plan->gid)) < 0)
		return r;
	if ((r = notify_init()) < 0)
		log_warn("main", "NOTIFY_SOCKET: %s: the service manager does not hear us",
			 error_str(r));
	prepare_plan(plan, engine_count_workers(plan));
	if (!plan->is_supervised)
		return run_alone(plan, &ends);
	return supervisor_run(&(struct supervisor_config){
		.plan = plan, .ends = &ends, .argc = argc, .argv = argv, .umask = plan->umask,
	});
}
