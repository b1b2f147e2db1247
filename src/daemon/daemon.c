/* SPDX-License-Identifier: BSD-3-Clause */
/* Sockets -> sandbox -> workers, and the way back. */
#include "daemon/daemon.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>

#include "backend/sibling.h"
#include "config/plan.h"
#include "daemon/notify.h"
#include "daemon/prepare.h"
#include "daemon/vm.h"
#include "device/worker.h"
#include "sandbox/guard.h"
#include "sandbox/launch.h"
#include "sandbox/sandbox.h"
#include "util/closer.h"
#include "util/error.h"
#include "util/listener.h"
#include "util/log.h"
#include "util/watchdog.h"
#include "vhost/gmem.h"

struct daemon {
	struct worker **workers;
	size_t n_workers;
	bool *has_vm;				/* of each VM of the plan: it is served */
	size_t n_vms;				/* that are */
	struct sibling_dir *siblings;
};

static atomic_bool worker_failed;

static void on_worker_failed(void)
{
	atomic_store(&worker_failed, true);
	launch_end();
}

/* One whose only front-end has gone has nothing left to do. */
static atomic_size_t n_vms_left;

static void on_vm_over(void)
{
	if (atomic_fetch_sub(&n_vms_left, 1) == 1)
		launch_end();
}

static void on_came(void)
{
	notify_front_end(1);
}

static void on_gone(void)
{
	notify_front_end(-1);
}

static const struct device_hooks hooks = {
	.came = on_came, .gone = on_gone, .over = on_vm_over,
};

/* More would have nothing to do. */
static size_t count_workers(const struct plan *plan)
{
	size_t want = plan->threads ? plan->threads : launch_count_cpus();

	if (want > PLAN_THREADS_MAX)
		want = PLAN_THREADS_MAX;
	return want < plan->n_vms ? want : plan->n_vms;
}

/* What one VM lacks is no reason to refuse the others: 0 if any is there. */
static int add_vms(struct daemon *d, const struct plan *plan)
{
	int r, last = 0;

	d->has_vm = calloc(plan->n_vms, sizeof *d->has_vm);
	if (!d->has_vm)
		return -ENOMEM;
	for (size_t i = 0; i < plan->n_vms; i++) {
		const struct vm_plan *vm = &plan->vms[i];

		r = vm_open(plan, vm, d->workers[i % d->n_workers], d->siblings, &hooks);
		if (!r) {
			d->has_vm[i] = true;
			d->n_vms++;
			continue;
		}
		last = r;
		log_err("main", "vm %llu is left out: %s", (unsigned long long)vm->guest_cid,
			listener_str_error(r));
	}
	atomic_store(&n_vms_left, d->n_vms);
	return d->n_vms ? 0 : last;
}

/* The sockets of a VM that was left out have no name to keep in reach. */
static int enter_sandbox(const struct daemon *d, const struct plan *plan)
{
	struct sandbox_config config = {
		.is_strict = plan->sandbox == SANDBOX_STRICT,
		.only_reports = plan->sandbox == SANDBOX_LOG,
		.uid = plan->uid, .gid = plan->gid,
	};
	const char **sockets;
	int r;

	if (plan->sandbox == SANDBOX_OFF)
		return sandbox_change_user(plan->uid, plan->gid);
	sockets = calloc(2 * d->n_vms + 1, sizeof *sockets);
	if (!sockets)
		return -ENOMEM;
	for (size_t i = 0; i < plan->n_vms; i++) {
		const struct vm_plan *vm = &plan->vms[i];

		if (!d->has_vm[i])
			continue;
		if (vm->vhost_socket.fd < 0)	/* else its name is not ours */
			sockets[config.n_sockets++] = vm->socket ? vm->socket : vm->connect;
		if (vm->uds_path)
			sockets[config.n_sockets++] = vm->uds_path;
		config.has_vsock |= vm->has_forward_cid;
	}
	config.sockets = sockets;
	r = sandbox_enter(&config);
	free(sockets);
	return r;
}

/* Links between siblings end in mail from one worker to another, and back. */
static void stop_workers(struct daemon *d)
{
	bool had_mail;

	for (size_t i = 0; i < d->n_workers; i++)
		worker_stop(d->workers[i]);
	do {
		had_mail = false;
		for (size_t i = 0; i < d->n_workers; i++)
			had_mail |= worker_deliver_mail(d->workers[i]);
	} while (had_mail);
}

static void daemon_deinit(struct daemon *d)
{
	stop_workers(d);
	for (size_t i = 0; i < d->n_workers; i++)
		worker_free(d->workers[i]);
	free(d->workers);
	free(d->has_vm);
	sibling_dir_free(d->siblings);
	*d = (struct daemon){ .n_workers = 0 };
}

/* Sockets of all VMs first, then threads: what cannot be had is said while the
 * exit status can still tell. In between the sandbox closes: no byte of a guest,
 * a front-end or a host program is read outside of it. */
static int daemon_init(struct daemon *d, const struct plan *plan)
{
	size_t want = count_workers(plan);
	int r;

	*d = (struct daemon){ .workers = calloc(want, sizeof *d->workers) };
	if (!d->workers)
		return -ENOMEM;
	for (; d->n_workers < want; d->n_workers++)
		if ((r = worker_new(&d->workers[d->n_workers])) < 0)
			goto fail;
	if ((r = sibling_dir_new(&d->siblings, plan->n_vms)) < 0)
		goto fail;
	for (size_t i = 0; i < plan->n_vms; i++)
		sibling_dir_add(d->siblings, plan->vms[i].guest_cid, plan->vms[i].groups,
				plan->vms[i].n_groups, worker_mailbox(d->workers[i % want]));
	sibling_dir_seal(d->siblings);
	if ((r = add_vms(d, plan)) || (r = enter_sandbox(d, plan)) < 0)
		goto fail;
	if ((r = log_start_thread()) < 0)
		goto fail;
	for (size_t i = 0; i < want; i++)
		if ((r = worker_start(d->workers[i], on_worker_failed)) < 0)
			goto fail;
	return 0;
fail:
	daemon_deinit(d);
	return r;
}

int daemon_run(struct plan *plan)
{
	struct daemon daemon;
	sigset_t ends;
	int sig, r;

	launch_block_ends(&ends);
	if ((r = sandbox_check_user(plan->uid, plan->gid)) < 0)
		return r;
	if ((r = notify_init()) < 0)
		log_warn("main", "NOTIFY_SOCKET: %s: the service manager does not hear us",
			 error_str(r));
	prepare_plan(plan, count_workers(plan));
	if ((r = gmem_catch_sigbus()) < 0 || (r = closer_init()) < 0 ||
	    (r = watchdog_init()) < 0 || (r = daemon_init(&daemon, plan))) {
		log_err("main", "cannot start: %s", listener_str_error(r));
		return r;
	}
	log_info("main", "serving %zu of %zu VM%s with %zu worker%s", daemon.n_vms, plan->n_vms,
		 plan->n_vms == 1 ? "" : "s", daemon.n_workers, daemon.n_workers == 1 ? "" : "s");
	if ((r = notify_start(daemon.n_vms)) < 0)
		log_err("main", "no thread to tell the service manager: %s", error_str(r));
	sig = watchdog_wait(&ends);
	if (!atomic_load(&n_vms_left))
		log_info("main", "ends: the last front-end has gone, and no other can come");
	else
		log_info("main", "ends on signal %d", sig);
	guard_start(atomic_load(&worker_failed));
	notify_stop();
	daemon_deinit(&daemon);
	closer_deinit();
	return atomic_load(&worker_failed) ? -EIO : 0;
}
