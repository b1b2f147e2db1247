/* SPDX-License-Identifier: BSD-3-Clause */
/* Workers, sandbox, devices, and the way back. */
#include "daemon/engine_internal.h"

#include <stdlib.h>

#include "backend/afvsock.h"
#include "backend/sibling.h"
#include "config/plan.h"
#include "control/api.h"
#include "control/events.h"
#include "control/snapshots.h"
#include "daemon/vm.h"
#include "daemon/vm_job.h"
#include "device/worker.h"
#include "sandbox/launch.h"
#include "sandbox/sandbox.h"
#include "util/closer.h"
#include "util/error.h"
#include "util/fd.h"
#include "util/listener.h"
#include "util/log.h"

size_t engine_count_workers(const struct plan *plan, size_t n_vms)
{
	size_t want = plan->threads ? plan->threads : launch_count_cpus();

	if (want > PLAN_THREADS_MAX)
		want = PLAN_THREADS_MAX;
	return want < n_vms ? want : n_vms;
}

/* With the fewest VMs; of several the first. Those come and go, so who has which number says
 * nothing. */
static size_t emptiest_worker(const struct engine *e)
{
	size_t emptiest = 0;

	for (size_t i = 1; i < e->n_workers; i++)
		if (e->placed[i].n_vms < e->placed[emptiest].n_vms)
			emptiest = i;
	return emptiest;
}

static void place(struct engine *e, struct vm *vm)
{
	size_t i = emptiest_worker(e);

	e->placed[i].n_vms++;
	vm->worker = e->workers[i];
}

size_t engine_find_worker(const struct engine *e, const struct vm *vm)
{
	size_t i = 0;

	while (e->workers[i] != vm->worker)
		i++;
	return i;
}

static void displace(struct engine *e, const struct vm *vm)
{
	e->placed[engine_find_worker(e, vm)].n_vms--;
}

static void count(struct engine *e, struct vm *vm)
{
	vm->is_counted = true;
	e->n_vms++;
}

/* One that could not be opened at the start was not counted. */
static void discount(struct engine *e, struct vm *vm)
{
	e->n_vms -= vm->is_counted;
	vm->is_counted = false;
}

/* What one VM lacks is no reason to refuse the others: 0 if any is there. */
int engine_open_vms(struct engine *e, struct vm **vms, size_t n_vms)
{
	const struct engine_config *config = &e->config;
	int last = 0;

	for (size_t i = 0; i < n_vms; i++) {
		struct vm *vm = vms[i];
		int r = vm_open(vm, config->plan, e->siblings, config->hooks);

		if (!r) {
			count(e, vm);
			continue;
		}
		last = r;
		log_err("main", "vm %llu is left out: %s", (unsigned long long)vm->cid,
			listener_str_error(r));
	}
	return e->n_vms ? 0 : last;
}

void engine_abandon_vm(struct engine *e, struct vm *vm)
{
	discount(e, vm);
	vm_abandon(vm);
}

/* Where names are removed, and connected to. Those of a supervisor are its own business, and so
 * are those that a client of the API has chosen: whoever may make names there makes links, too. */
static size_t list_sockets(const struct engine_config *config, const char **sockets)
{
	size_t n = 0;

	for (size_t i = 0; i < config->n_vms; i++) {
		const struct vm_plan *vm = config->vms[i]->plan;

		if (vm->is_by_api)
			continue;
		if (vm->connect)
			sockets[n++] = vm->connect;
		else if (vm->vhost_socket.fd < 0 && !config->is_hosted)
			sockets[n++] = vm->socket;
		if (vm->uds_path)
			sockets[n++] = vm->uds_path;
	}
	return n;
}

static bool has_vsock(const struct engine_config *config)
{
	bool has = false;

	for (size_t i = 0; i < config->n_vms; i++)
		has |= config->vms[i]->plan->has_forward_cid;
	return has;
}

static int enter_sandbox(const struct engine_config *config)
{
	const struct plan *plan = config->plan;
	struct sandbox_config sandbox = {
		.is_strict = plan->sandbox == SANDBOX_STRICT,
		.only_reports = plan->sandbox == SANDBOX_LOG,
		.has_names = !config->is_hosted, .dies_with_parent = config->is_hosted,
		.has_vsock = has_vsock(config), .uid = plan->uid, .gid = plan->gid,
	};
	const char **sockets;
	int r;

	if (sandbox.has_vsock)
		afvsock_init();
	if (plan->sandbox == SANDBOX_OFF) {
		r = sandbox_change_user(plan->uid, plan->gid);
		return r || !config->is_hosted ? r : sandbox_die_with_parent();
	}
	sockets = calloc(2 * config->n_vms + 1, sizeof *sockets);
	if (!sockets)
		return -ENOMEM;
	sandbox.n_sockets = list_sockets(config, sockets);
	sandbox.sockets = sockets;
	r = sandbox_enter(&sandbox);
	free(sockets);
	return r;
}

/* Links between siblings end in it. */
void engine_deliver_mail(struct engine *e)
{
	bool had_mail;

	do {
		had_mail = false;
		for (size_t i = 0; i < e->n_workers; i++)
			had_mail |= worker_deliver_mail(e->workers[i]);
	} while (had_mail);
}

bool engine_deliver_parked(struct engine *e, uint64_t until_ms)
{
	bool had_mail, is_parked = true;

	do {
		had_mail = false;
		for (size_t i = 0; i < e->n_workers && is_parked; i++)
			if (worker_ask_to_deliver(e->workers[i])) {
				had_mail = true;
				is_parked = worker_wait_parked(e->workers[i], until_ms);
			}
	} while (had_mail && is_parked);
	return is_parked;
}

static void stop_workers(struct engine *e)
{
	for (size_t i = 0; i < e->n_workers; i++)
		worker_stop(e->workers[i]);
	engine_deliver_mail(e);
}

/* Entries of the directory have to do with the mailboxes. */
void engine_deinit(struct engine *e)
{
	snapshots_close(e->snapshots);
	api_free(e->api);
	fd_close(&e->config.api_fd);
	stop_workers(e);
	snapshots_free(e->snapshots);
	sibling_dir_free(e->siblings);
	for (size_t i = 0; i < e->n_workers; i++)
		worker_free(e->workers[i]);
	free(e->workers);
	free(e->placed);
	*e = (struct engine){ .config.api_fd = -1 };
}

static int add_worker(struct engine *e)
{
	struct worker **workers = realloc(e->workers, (e->n_workers + 1) * sizeof *workers);
	struct engine_placed *placed = realloc(e->placed, (e->n_workers + 1) * sizeof *placed);
	int r;

	e->workers = workers ? workers : e->workers;
	e->placed = placed ? placed : e->placed;
	if (!workers || !placed)
		return -ENOMEM;
	placed[e->n_workers] = (struct engine_placed){ .n_vms = 0 };
	r = worker_new(&workers[e->n_workers]);
	if (r)
		return r;
	if (e->config.handling)
		worker_set_handling(workers[e->n_workers], &e->config.handling[e->n_workers]);
	e->n_workers++;
	return 0;
}

/* It is placed. */
static int enter_siblings(struct engine *e, struct vm *vm)
{
	const struct vm_plan *row = vm->plan;

	return sibling_dir_add(e->siblings, vm->cid, row->groups, row->n_groups,
			       worker_mailbox(vm->worker), &vm->sibling);
}

static int make_siblings(struct engine *e)
{
	int r = sibling_dir_new(&e->siblings);

	for (size_t i = 0; !r && i < e->config.n_vms; i++) {
		place(e, e->config.vms[i]);
		r = enter_siblings(e, e->config.vms[i]);
	}
	return r ? r : sibling_dir_publish(e->siblings);
}

static int make_workers(struct engine *e)
{
	size_t want = engine_count_workers(e->config.plan, e->config.n_vms);
	int r = 0;

	while (!r && e->n_workers < want)
		r = add_worker(e);
	return r;
}

/* Before the sandbox: libraries open this and that. */
static int make_api(struct engine *e)
{
	const struct api_config config = {
		.fd = fd_take(&e->config.api_fd), .is_supervised = e->config.is_hosted,
		.order = e->config.order,
	};

	return config.fd < 0 ? 0 : api_new(&e->api, &config);
}

/* Nobody's life depends on it. */
static void serve_api(struct engine *e)
{
	int r;

	if (e->has_api_thread) {
		api_go_on(e->api);
		return;
	}
	r = e->api ? api_start(e->api, e->snapshots) : 0;
	if (r)
		log_err("main", "no control API: %s", error_str(r));
	e->has_api_thread = e->api && !r;
}

static int make_snapshots(struct engine *e)
{
	const struct snapshots_shared shared = { e->config.upgrades, e->config.crashes };

	return snapshots_new(&e->snapshots, &shared);
}

int engine_prepare(struct engine *e, const struct engine_config *config)
{
	int r;

	*e = (struct engine){ .config = *config };
	if ((r = make_snapshots(e)) < 0 || (r = make_workers(e)) < 0 ||
	    (r = make_api(e)) < 0 || (r = make_siblings(e)) < 0 ||
	    (r = enter_sandbox(config)) < 0 || (r = log_start_thread()) < 0 ||
	    (r = events_start_thread()) < 0)
		engine_deinit(e);
	else
		closer_start();
	return r;
}

/* From now on it can be asked. */
static int start_worker(struct engine *e, struct worker *w, bool is_parked)
{
	int r = worker_start(w, is_parked, e->config.failed);

	return r ? r : snapshots_add_worker(e->snapshots, w);
}

int engine_begin(struct engine *e, bool is_parked)
{
	int r = 0;

	for (size_t i = 0; !r && i < e->n_workers; i++)
		r = start_worker(e, e->workers[i], is_parked);
	return r;
}

/* ---- while it runs ---- */

void engine_park(struct engine *e)
{
	api_hold(e->api);
	for (size_t i = 0; i < e->n_workers; i++)
		worker_ask_to_park(e->workers[i]);
	for (size_t i = 0; i < e->n_workers; i++)
		worker_wait_parked(e->workers[i], 0);
	engine_deliver_parked(e, 0);
}

void engine_go_on(struct engine *e)
{
	engine_let_go(e);
	serve_api(e);
}

/* One more worker may have something to do now. Without it the others do it. */
static void grow(struct engine *e)
{
	if (e->n_workers >= engine_count_workers(e->config.plan, e->n_vms) || add_worker(e) < 0)
		return;
	if (start_worker(e, e->workers[e->n_workers - 1], false) < 0)
		worker_free(e->workers[--e->n_workers]);
}

int engine_add(struct engine *e, struct vm *vm, struct vm_job *job)
{
	int r;

	count(e, vm);
	grow(e);
	place(e, vm);
	r = enter_siblings(e, vm);
	if (!r) {
		r = sibling_dir_publish(e->siblings);
		if (r)
			sibling_dir_remove(e->siblings, vm->sibling);
	}
	if (r) {
		displace(e, vm);
		discount(e, vm);
		return r;
	}
	vm_post_open(job, vm, e->config.plan, vm->worker, e->siblings, e->config.hooks);
	return 0;
}

int engine_change(struct engine *e, struct vm *vm, struct vm_job *job, const struct vm_plan *row,
		  const struct vm_fds *fds)
{
	int r = sibling_dir_set_groups(e->siblings, vm->sibling, row->groups, row->n_groups);

	if (!r)
		r = sibling_dir_publish(e->siblings);
	if (!r)
		vm_post_change(job, vm, e->config.plan, row, fds);
	return r;
}

/* Nobody may find it any more, or not before the next change. */
void engine_remove(struct engine *e, struct vm *vm, struct vm_job *job)
{
	displace(e, vm);
	discount(e, vm);
	sibling_dir_remove(e->siblings, vm->sibling);
	sibling_dir_publish(e->siblings);
	vm_post_close(job, vm);
}
