/* SPDX-License-Identifier: BSD-3-Clause */
/* Workers, sandbox, devices, and the way back. */
#include "daemon/engine.h"

#include <stdlib.h>

#include "backend/sibling.h"
#include "config/plan.h"
#include "daemon/limits.h"
#include "daemon/vm.h"
#include "device/worker.h"
#include "sandbox/launch.h"
#include "sandbox/sandbox.h"
#include "util/error.h"
#include "util/listener.h"
#include "util/log.h"

size_t engine_count_workers(const struct plan *plan)
{
	size_t want = plan->threads ? plan->threads : launch_count_cpus();

	if (want > PLAN_THREADS_MAX)
		want = PLAN_THREADS_MAX;
	return want < plan->n_vms ? want : plan->n_vms;
}

/* What one VM lacks is no reason to refuse the others: 0 if any is there. */
static int open_vms(struct engine *e, const struct engine_config *config)
{
	int last = 0;

	for (size_t i = 0; i < e->n_vms; i++) {
		struct vm *vm = &e->vms[i];
		int r;

		if (!vm->is_wanted)
			continue;
		e->n_wanted++;
		r = vm_open(vm, e->plan, e->workers[i % e->n_workers], e->siblings, config->hooks);
		if (!r) {
			e->n_served++;
			continue;
		}
		last = r;
		log_err("main", "vm %llu is left out: %s", (unsigned long long)vm->plan->guest_cid,
			listener_str_error(r));
	}
	return e->n_served ? 0 : last;
}

/* Where names are removed, and connected to. Those of a supervisor are its own business. */
static size_t list_sockets(const struct engine *e, bool is_hosted, const char **sockets)
{
	size_t n = 0;

	for (size_t i = 0; i < e->n_vms; i++) {
		const struct vm_plan *vm = e->vms[i].plan;

		if (!e->vms[i].is_wanted)
			continue;
		if (vm->connect)
			sockets[n++] = vm->connect;
		else if (vm->vhost_socket.fd < 0 && !is_hosted)
			sockets[n++] = vm->socket;
		if (vm->uds_path)
			sockets[n++] = vm->uds_path;
	}
	return n;
}

static int enter_sandbox(const struct engine *e, bool is_hosted)
{
	const struct plan *plan = e->plan;
	struct sandbox_config config = {
		.is_strict = plan->sandbox == SANDBOX_STRICT,
		.only_reports = plan->sandbox == SANDBOX_LOG,
		.has_names = !is_hosted, .dies_with_parent = is_hosted,
		.uid = plan->uid, .gid = plan->gid,
	};
	const char **sockets;
	int r;

	if (plan->sandbox == SANDBOX_OFF) {
		r = sandbox_change_user(plan->uid, plan->gid);
		return r || !is_hosted ? r : sandbox_die_with_parent();
	}
	sockets = calloc(2 * e->n_vms + 1, sizeof *sockets);
	if (!sockets)
		return -ENOMEM;
	for (size_t i = 0; i < plan->n_vms; i++)
		config.has_vsock |= plan->vms[i].has_forward_cid;
	config.n_sockets = list_sockets(e, is_hosted, sockets);
	config.sockets = sockets;
	r = sandbox_enter(&config);
	free(sockets);
	return r;
}

/* Links between siblings end in mail from one worker to another, and back. */
static void stop_workers(struct engine *e)
{
	bool had_mail;

	for (size_t i = 0; i < e->n_workers; i++)
		worker_stop(e->workers[i]);
	do {
		had_mail = false;
		for (size_t i = 0; i < e->n_workers; i++)
			had_mail |= worker_deliver_mail(e->workers[i]);
	} while (had_mail);
}

void engine_deinit(struct engine *e)
{
	stop_workers(e);
	for (size_t i = 0; i < e->n_workers; i++)
		worker_free(e->workers[i]);
	free(e->workers);
	for (size_t i = 0; i < e->n_vms; i++)
		vm_deinit(&e->vms[i]);
	free(e->vms);
	sibling_dir_free(e->siblings);
	*e = (struct engine){ .n_workers = 0 };
}

static int make_workers(struct engine *e, size_t want)
{
	int r = 0;

	e->workers = calloc(want, sizeof *e->workers);
	if (!e->workers)
		return -ENOMEM;
	for (; !r && e->n_workers < want; e->n_workers += !r)
		r = worker_new(&e->workers[e->n_workers]);
	return r;
}

static int make_siblings(struct engine *e)
{
	int r = sibling_dir_new(&e->siblings);

	for (size_t i = 0; !r && i < e->n_vms; i++) {
		const struct vm_plan *vm = e->vms[i].plan;

		r = sibling_dir_add(e->siblings, vm->guest_cid, vm->groups, vm->n_groups,
				    worker_mailbox(e->workers[i % e->n_workers]),
				    &e->vms[i].sibling);
	}
	return r ? r : sibling_dir_publish(e->siblings);
}

int engine_init(struct engine *e, const struct engine_config *config)
{
	int r;

	*e = (struct engine){
		.plan = config->plan, .vms = config->vms, .n_vms = config->plan->n_vms,
	};
	launch_grow_files(limits_files(e->plan, engine_count_workers(e->plan)));
	if ((r = make_workers(e, engine_count_workers(e->plan))) < 0 ||
	    (r = make_siblings(e)) < 0 || (r = enter_sandbox(e, config->is_hosted)) < 0 ||
	    (r = open_vms(e, config)) || (r = log_start_thread()) < 0)
		goto fail;
	for (size_t i = 0; i < e->n_workers; i++)
		if ((r = worker_start(e->workers[i], config->failed)) < 0)
			goto fail;
	return 0;
fail:
	engine_deinit(e);
	return r;
}
