/* SPDX-License-Identifier: BSD-3-Clause */
/* A device and its backends, as the plan has them. */
#include "daemon/vm.h"

#include "backend/afvsock.h"
#include "backend/sibling.h"
#include "backend/uds.h"
#include "config/plan.h"
#include "daemon/limits.h"
#include "device/worker.h"
#include "util/listener.h"
#include "util/log.h"

/* Whoever we become owns the sockets, as if it had made them. */
static struct listener_access socket_access(const struct plan *plan,
					    const struct socket_plan *socket)
{
	return (struct listener_access){
		.mode = socket->mode,
		.uid = plan->uid,
		.gid = socket->gid != (gid_t)-1 ? socket->gid : plan->gid,
	};
}

static void log_unopened(const char *key, uint64_t cid, const char *path, int error)
{
	char why[LISTENER_TEXT_MAX];

	listener_explain(path, error, why);
	log_err("main", "vm %llu: %s %s: %s", (unsigned long long)cid, key, path, why);
}

static int add_siblings(struct device *dev, struct sibling_dir *dir, const struct vm_plan *vm,
			struct worker *w)
{
	struct sibling_config config = {
		.dir = dir, .cid = vm->guest_cid, .loop = worker_loop(w), .mux = device_mux(dev),
	};
	struct backend *backend;
	int r = sibling_new(&backend, &config);

	if (!r)
		device_add_backend(dev, backend);
	return r;
}

static int add_uds(struct device *dev, const struct plan *plan, const struct vm_plan *vm,
		   struct worker *w)
{
	struct uds_config config = {
		.path = vm->uds_path, .access = socket_access(plan, &vm->uds_socket),
		.fd = vm->uds_socket.fd,
		.host_cids = vm->host_cids, .n_host_cids = vm->n_host_cids,
		.max_handshakes = limits_handshakes(vm->limits.max_connections),
		.handshake_ms = plan->handshake_ms,
		.tag = device_tag(dev), .loop = worker_loop(w), .mux = device_mux(dev),
	};
	struct backend *backend;
	int r = uds_new(&backend, &config);

	if (r) {
		log_unopened("uds-path", vm->guest_cid, vm->uds_path, r);
		return r;
	}
	device_add_backend(dev, backend);
	return 0;
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
static int add_backends(struct device *dev, const struct plan *plan, const struct vm_plan *vm,
			struct worker *w, struct sibling_dir *siblings)
{
	int r = vm->uds_path ? add_uds(dev, plan, vm, w) : 0;

	if (!r)
		r = add_siblings(dev, siblings, vm, w);
	if (!r && vm->has_forward_cid)
		r = add_afvsock(dev, vm, w);
	return r;
}

static int log_no_front_end(const struct vm_plan *vm, int r)
{
	if (vm->connect)
		log_unopened("socket-connect", vm->guest_cid, vm->connect, r);
	else if (vm->vhost_socket.fd >= 0)
		log_err("main", "vm %llu: fd %d: %s", (unsigned long long)vm->guest_cid,
			vm->vhost_socket.fd, listener_str_error(r));
	else
		log_unopened("socket", vm->guest_cid, vm->socket, r);
	return r;
}

static void log_opened(const struct vm_plan *vm, const char *tag)
{
	if (vm->connect)
		log_info(tag, "connects to %s", vm->connect);
	else if (vm->vhost_socket.fd >= 0)
		log_info(tag, "%s descriptor %d",
			 vm->vhost_socket.fd_listens ? "listening on" : "connected by",
			 vm->vhost_socket.fd);
	else
		log_info(tag, "listening on %s, mode %04o", vm->socket,
			 (unsigned)vm->vhost_socket.mode);
}

int vm_open(const struct plan *plan, const struct vm_plan *vm, struct worker *w,
	    struct sibling_dir *siblings, const struct device_hooks *hooks)
{
	struct device_config config = {
		.address = {
			.listen = vm->socket, .access = socket_access(plan, &vm->vhost_socket),
			.connect = vm->connect, .fd = vm->vhost_socket.fd,
			.fd_listens = vm->vhost_socket.fd_listens,
		},
		.hooks = hooks, .guest_cid = vm->guest_cid,
		.queue_size = vm->queue_size, .pause_grace_ms = plan->pause_grace_ms,
		.limits = vm->limits,
		.memory = { .max_memory = vm->max_memory, .mem_slots = plan->mem_slots },
		.loop = worker_loop(w), .scratch = worker_scratch(w),
	};
	struct device *dev;
	int r = device_new(&dev, &config);

	if (r)
		return log_no_front_end(vm, r);
	r = add_backends(dev, plan, vm, w, siblings);
	if (!r)
		r = worker_add_device(w, dev);
	if (r) {
		device_free(dev);
		return r;
	}
	log_opened(vm, device_tag(dev));
	return 0;
}
