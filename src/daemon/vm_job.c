/* SPDX-License-Identifier: BSD-3-Clause */
/* What is done to one VM while the workers run. */
#include "daemon/vm_job.h"

#include "backend/uds.h"
#include "daemon/limits.h"
#include "daemon/vm.h"
#include "device/device.h"
#include "util/error.h"
#include "util/fd.h"

static struct vm_job *job_of(struct mail *mail)
{
	return container_of(mail, struct vm_job, mail);
}

static void post(struct vm_job *job, struct vm *vm, void (*deliver)(struct mail *mail))
{
	job->vm = vm;
	job->mail = (struct mail){ .deliver = deliver };
	mailbox_post(worker_mailbox(vm->worker), &job->mail);
}

/* ---- it comes ---- */

static void on_open(struct mail *mail)
{
	struct vm_job *job = job_of(mail);
	struct vm *vm = job->vm;
	int r = -ECANCELED;

	if (!worker_is_stopped(vm->worker))
		r = vm_open(vm, &job->plan, job->siblings, job->hooks);
	else
		vm_deinit(vm);
	job->done(job, r);
}

void vm_post_open(struct vm_job *job, struct vm *vm, const struct plan *plan, struct worker *w,
		  struct sibling_dir *siblings, const struct device_hooks *hooks)
{
	job->plan = *plan;
	job->siblings = siblings;
	job->hooks = hooks;
	vm->worker = w;
	post(job, vm, on_open);
}

/* ---- it changes ---- */

void vm_fds_close(struct vm_fds *fds)
{
	fd_close(&fds->vhost);
	fd_close(&fds->uds);
	fd_close(&fds->seqpacket);
}

/* Takes two of @fds over. 0 or -errno: it is as it was. */
static int change_uds(struct vm *vm, const struct plan *plan, const struct vm_plan *row,
		      struct vm_fds *fds)
{
	const struct uds_change change = {
		.path = row->uds_path, .fd = fd_take(&fds->uds),
		.seqpacket_fd = fd_take(&fds->seqpacket),
		.host_cids = row->host_cids, .n_host_cids = row->n_host_cids,
		.max_handshakes = limits_handshakes(row->limits.max_connections),
		.handshake_ms = plan->handshake_ms, .only_asks = row->is_by_api,
	};

	return uds_change(vm->uds, &change);
}

/* What can fail is first. */
static int change(struct vm_job *job)
{
	const struct vm_plan *row = job->row;
	const struct device_change change = {
		.limits = row->limits, .pause_grace_ms = job->plan.pause_grace_ms,
		.poll_us = row->poll_us, .queue_size = row->queue_size,
		.memory = {
			.max_memory = row->max_memory, .mem_slots = job->plan.mem_slots,
		},
	};
	struct vm *vm = job->vm;
	int r = 0;

	if (worker_is_stopped(vm->worker) || !vm->device)
		return -ECANCELED;
	if (job->fds.vhost >= 0)
		r = device_exchange_socket(vm->device, fd_take(&job->fds.vhost));
	if (!r && vm->uds && row->uds_path)
		r = change_uds(vm, &job->plan, row, &job->fds);
	if (r)
		return r;
	device_reconfigure(vm->device, &change);
	vm->plan = row;
	return 0;
}

static void on_change(struct mail *mail)
{
	struct vm_job *job = job_of(mail);
	int r = change(job);

	vm_fds_close(&job->fds);
	job->done(job, r);
}

void vm_post_change(struct vm_job *job, struct vm *vm, const struct plan *plan,
		    const struct vm_plan *row, const struct vm_fds *fds)
{
	job->plan = *plan;
	job->row = row;
	job->fds = *fds;
	post(job, vm, on_change);
}

/* ---- its packets are captured ---- */

static void on_capture(struct mail *mail)
{
	struct vm_job *job = job_of(mail);

	vm_set_capture(job->vm, job->capture);
	job->done(job, 0);
}

void vm_post_capture(struct vm_job *job, struct vm *vm, struct capture *c)
{
	job->capture = c;
	post(job, vm, on_capture);
}

/* ---- it goes ---- */

static void on_removed(struct worker_removal *removal)
{
	struct vm_job *job = container_of(removal, struct vm_job, removal);

	job->done(job, 0);
}

static void on_close(struct mail *mail)
{
	struct vm_job *job = job_of(mail);
	struct vm *vm = job->vm;
	struct device *dev = vm->device;

	vm->device = NULL;
	vm->uds = NULL;
	if (dev && !worker_is_stopped(vm->worker))
		worker_remove_device(vm->worker, dev, &job->removal);
	else
		job->done(job, 0);
}

void vm_post_close(struct vm_job *job, struct vm *vm)
{
	job->removal.removed = on_removed;
	post(job, vm, on_close);
}
