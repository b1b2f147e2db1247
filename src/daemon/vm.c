/* SPDX-License-Identifier: BSD-3-Clause */
/* A device and its backends, as the plan has them. */
#include "daemon/vm.h"

#include <stdlib.h>

#include "backend/afvsock.h"
#include "backend/sibling.h"
#include "backend/uds.h"
#include "config/plan.h"
#include "control/capture.h"
#include "daemon/limits.h"
#include "device/worker.h"
#include "util/closer.h"
#include "util/fd.h"

static int add_siblings(struct device *dev, struct sibling_dir *dir, struct vm *vm,
			struct worker *w)
{
	struct sibling_config config = {
		.dir = dir, .self = vm->sibling, .loop = worker_loop(w), .mux = device_mux(dev),
	};
	struct backend *backend;
	int r = sibling_new(&backend, &config);

	if (!r)
		device_add_backend(dev, backend);
	return r;
}

static int add_uds(struct device *dev, const struct plan *plan, struct vm *v, struct worker *w)
{
	const struct vm_plan *vm = v->plan;
	struct uds_config config = {
		.path = vm->uds_path, .fd = fd_take(&v->sockets.uds.fd),
		.seqpacket_fd = fd_take(&v->sockets.seqpacket.fd),
		.ask = v->ask, .ask_ctx = v->ask_ctx, .only_asks = vm->is_by_api,
		.is_held = v->is_held,
		.host_cids = vm->host_cids, .n_host_cids = vm->n_host_cids,
		.max_handshakes = limits_handshakes(vm->limits.max_connections),
		.handshake_ms = plan->handshake_ms,
		.tag = device_tag(dev), .loop = worker_loop(w), .mux = device_mux(dev),
	};
	int r = uds_new(&v->uds, &config);

	if (!r)
		device_add_backend(dev, v->uds);
	return r;
}

static int add_afvsock(struct device *dev, const struct vm *v, struct worker *w)
{
	const struct vm_plan *vm = v->plan;
	struct afvsock_config config = {
		.cid = vm->forward_cid, .listen = vm->forward_listen,
		.n_listen = vm->n_forward_listen,
		.listen_seqpacket = vm->forward_listen_seqpacket,
		.n_listen_seqpacket = vm->n_forward_listen_seqpacket,
		.listen_any = vm->forward_listen_any,
		.tag = device_tag(dev), .loop = worker_loop(w), .mux = device_mux(dev),
		.mailbox = worker_mailbox(w), .is_held = v->is_held,
	};
	struct backend *backend;
	int r = afvsock_new(&backend, &config);

	if (!r)
		device_add_backend(dev, backend);
	return r;
}

/* The first that serves a CID gets it; AF_VSOCK takes them all. */
static int add_backends(struct device *dev, const struct plan *plan, struct vm *vm,
			struct worker *w, struct sibling_dir *siblings)
{
	int r = vm->plan->uds_path ? add_uds(dev, plan, vm, w) : 0;

	if (!r)
		r = add_siblings(dev, siblings, vm, w);
	if (!r && vm->plan->has_forward_cid)
		r = add_afvsock(dev, vm, w);
	return r;
}

static struct frontend_address find_address(struct vm *vm)
{
	const struct vm_plan *plan = vm->plan;

	return (struct frontend_address){
		.connect = plan->connect, .ask = vm->call, .ask_ctx = vm->ask_ctx,
		.accept = vm->accept, .fd = fd_take(&vm->sockets.vhost.fd),
		.only_asks = plan->is_by_api,
		.is_sole = !plan->connect && !plan->socket && !plan->vhost_socket.fd_listens,
	};
}

static void tap(struct vm *vm)
{
	device_remove_tap(&vm->tap);
	if (!vm->capture)
		return;
	vm->tap = capture_tap(vm->capture);
	device_add_tap(vm->device, &vm->tap);
}

int vm_open(struct vm *vm, const struct plan *plan, struct sibling_dir *siblings,
	    const struct device_hooks *hooks)
{
	const struct vm_plan *row = vm->plan;
	struct worker *w = vm->worker;
	struct device_config config = {
		.address = find_address(vm), .hooks = hooks, .guest_cid = row->guest_cid,
		.queue_size = row->queue_size, .pause_grace_ms = plan->pause_grace_ms,
		.limits = row->limits,
		.memory = { .max_memory = row->max_memory, .mem_slots = plan->mem_slots },
		.loop = worker_loop(w), .scratch = worker_scratch(w),
		.poller = worker_poller(w), .poll_us = row->poll_us,
		.handling = worker_handling(w), .busy_us = &vm->balance.busy_us,
		.keeper = vm->keeper.keep ? &vm->keeper : NULL,
		.kept = vm->kept, .n_kept = vm->n_kept,
	};
	struct device *dev;
	int r;

	vm->n_kept = 0;				/* they are the device's now */
	r = device_new(&dev, &config);
	if (r) {
		vm_sockets_explain(plan, row, r);
	} else {
		r = add_backends(dev, plan, vm, w, siblings);
		if (!r)
			r = worker_add_device(w, dev);
		if (r)
			device_free(dev);
	}
	if (r)
		vm_deinit(vm);
	else
		vm->device = dev;
	if (!r && vm->capture)
		tap(vm);
	return r;
}

void vm_set_capture(struct vm *vm, struct capture *c)
{
	struct capture *old = vm->capture;

	vm->capture = c;
	if (vm->device)
		tap(vm);
	capture_free(old);
}

/* ---- what others see and do for us ---- */

struct answer {
	struct mail mail;
	struct vm *vm;
	bool is_accept;
	uint32_t id;
	int result, fd;
};

static void on_answer(struct mail *mail)
{
	struct answer *a = container_of(mail, struct answer, mail);

	if (a->is_accept && a->vm->device)
		device_accepted(a->vm->device, a->result, fd_take(&a->fd));
	else if (!a->id && a->vm->device)
		device_answer(a->vm->device, a->result, fd_take(&a->fd));
	else if (a->id && a->vm->uds)
		uds_answer(a->vm->uds, a->id, a->result, fd_take(&a->fd));
	fd_close(&a->fd);
	free(a);
}

/* Without memory there is none, and who has asked runs into its timer. */
static void post_answer(const struct answer *answer)
{
	struct answer *a = malloc(sizeof *a);
	int fd = answer->fd;

	if (!a) {
		fd_close(&fd);
		return;
	}
	*a = *answer;
	a->mail.deliver = on_answer;
	mailbox_post(worker_mailbox(a->vm->worker), &a->mail);
}

void vm_answer(struct vm *vm, uint32_t id, int result, int fd)
{
	post_answer(&(struct answer){ .vm = vm, .id = id, .result = result, .fd = fd });
}

void vm_accepted(struct vm *vm, int result, int fd)
{
	post_answer(&(struct answer){ .vm = vm, .is_accept = true, .result = result, .fd = fd });
}

void vm_init(struct vm *vm, const struct vm_plan *plan)
{
	*vm = (struct vm){ .cid = plan->guest_cid, .plan = plan };
	list_init(&vm->tap.node);
	vm_sockets_init(&vm->sockets);
}

int vm_add_kept(struct vm *vm, uint32_t slot, int fd)
{
	struct journal_kept *kept = realloc(vm->kept, (vm->n_kept + 1) * sizeof *kept);

	if (!kept) {
		closer_close(&fd);
		return -ENOMEM;
	}
	vm->kept = kept;
	vm->kept[vm->n_kept++] = (struct journal_kept){ .slot = slot, .fd = fd };
	return 0;
}

static void close_all(struct vm *vm)
{
	vm_sockets_deinit(&vm->sockets);
	for (size_t i = 0; i < vm->n_kept; i++)
		closer_close(&vm->kept[i].fd);
	free(vm->kept);
	vm->kept = NULL;
	vm->n_kept = 0;
	vm->uds = NULL;
	vm->device = NULL;
}

void vm_abandon(struct vm *vm)
{
	struct device *dev = vm->device;

	if (dev) {
		device_remove_tap(&vm->tap);
		worker_forget_device(vm->worker, dev);
		device_free(dev);
	}
	close_all(vm);
}

void vm_deinit(struct vm *vm)
{
	close_all(vm);
	capture_free(vm->capture);
	vm->capture = NULL;
}
