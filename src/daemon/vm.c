/* SPDX-License-Identifier: BSD-3-Clause */
/* A device and its backends, as the plan has them. */
#include "daemon/vm.h"

#include "backend/afvsock.h"
#include "backend/sibling.h"
#include "backend/uds.h"
#include "config/plan.h"
#include "daemon/limits.h"
#include "device/worker.h"
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
		.host_cids = vm->host_cids, .n_host_cids = vm->n_host_cids,
		.max_handshakes = limits_handshakes(vm->limits.max_connections),
		.handshake_ms = plan->handshake_ms,
		.tag = device_tag(dev), .loop = worker_loop(w), .mux = device_mux(dev),
	};
	struct backend *backend;
	int r = uds_new(&backend, &config);

	if (!r)
		device_add_backend(dev, backend);
	return r;
}

static int add_afvsock(struct device *dev, const struct vm_plan *vm, struct worker *w)
{
	struct afvsock_config config = {
		.cid = vm->forward_cid, .listen = vm->forward_listen,
		.n_listen = vm->n_forward_listen, .listen_any = vm->forward_listen_any,
		.tag = device_tag(dev), .loop = worker_loop(w), .mux = device_mux(dev),
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
		r = add_afvsock(dev, vm->plan, w);
	return r;
}

static struct frontend_address find_address(struct vm *vm)
{
	const struct vm_plan *plan = vm->plan;

	return (struct frontend_address){
		.connect = plan->connect, .fd = fd_take(&vm->sockets.vhost.fd),
		.fd_listens = plan->socket || plan->vhost_socket.fd_listens,
	};
}

int vm_open(struct vm *vm, const struct plan *plan, struct worker *w, struct sibling_dir *siblings,
	    const struct device_hooks *hooks)
{
	const struct vm_plan *row = vm->plan;
	struct device_config config = {
		.address = find_address(vm), .hooks = hooks, .guest_cid = row->guest_cid,
		.queue_size = row->queue_size, .pause_grace_ms = plan->pause_grace_ms,
		.limits = row->limits,
		.memory = { .max_memory = row->max_memory, .mem_slots = plan->mem_slots },
		.loop = worker_loop(w), .scratch = worker_scratch(w),
	};
	struct device *dev;
	int r = device_new(&dev, &config);

	if (r) {
		vm_sockets_explain(row, r);
	} else {
		r = add_backends(dev, plan, vm, w, siblings);
		if (!r)
			r = worker_add_device(w, dev);
		if (r)
			device_free(dev);
	}
	if (r)
		vm_deinit(vm);
	return r;
}

void vm_deinit(struct vm *vm)
{
	vm_sockets_deinit(&vm->sockets);
}
