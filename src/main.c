/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * vhost-device-vsock: options -> plan -> sockets -> sandbox -> workers, and the way back.
 *
 * Exit status: 0 after SIGTERM, SIGINT or SIGHUP; 2: your command line or
 * configuration; 1: the system.
 */
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "backend/afvsock.h"
#include "backend/sibling.h"
#include "backend/uds.h"
#include "config/config.h"
#include "config/limits.h"
#include "config/plan.h"
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

static_assert((int)LIMITS_MEM_SLOTS_MAX == VHOST_USER_MEM_SLOTS_MAX &&
	      (int)LIMITS_MEM_SLOTS_MIN == VHOST_USER_MEM_TABLE_REGIONS, "any table fits");

static atomic_bool worker_failed;

static void on_worker_failed(void)
{
	atomic_store(&worker_failed, true);
	launch_end();
}

/* More would have nothing to do. */
static size_t count_workers(const struct plan *plan)
{
	size_t want = plan->threads ? plan->threads : launch_count_cpus();

	if (want > PLAN_THREADS_MAX)
		want = PLAN_THREADS_MAX;
	return want < plan->n_vms ? want : plan->n_vms;
}

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
static int add_backends(struct daemon *d, struct device *dev, const struct plan *plan,
			const struct vm_plan *vm, struct worker *w)
{
	int r = vm->uds_path ? add_uds(dev, plan, vm, w) : 0;

	if (!r)
		r = add_siblings(dev, d->siblings, vm, w);
	if (!r && vm->has_forward_cid)
		r = add_afvsock(dev, vm, w);
	return r;
}

static int add_vm(struct daemon *d, struct worker *w, const struct plan *plan,
		  const struct vm_plan *vm)
{
	struct device_config config = {
		.socket = vm->socket, .access = socket_access(plan, &vm->vhost_socket),
		.guest_cid = vm->guest_cid,
		.queue_size = vm->queue_size, .pause_grace_ms = plan->pause_grace_ms,
		.limits = vm->limits,
		.memory = { .max_memory = vm->max_memory, .mem_slots = plan->mem_slots },
		.loop = worker_loop(w), .scratch = worker_scratch(w),
	};
	struct device *dev;
	int r = device_new(&dev, &config);

	if (r) {
		log_unopened("socket", vm->guest_cid, vm->socket, r);
		return r;
	}
	r = add_backends(d, dev, plan, vm, w);
	if (!r)
		r = worker_add_device(w, dev);
	if (r) {
		device_free(dev);
		return r;
	}
	log_info(device_tag(dev), "listening on %s, mode %04o", vm->socket,
		 (unsigned)vm->vhost_socket.mode);
	return 0;
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

		r = add_vm(d, d->workers[i % d->n_workers], plan, vm);
		if (!r) {
			d->has_vm[i] = true;
			d->n_vms++;
			continue;
		}
		last = r;
		log_err("main", "vm %llu is left out: %s", (unsigned long long)vm->guest_cid,
			listener_str_error(r));
	}
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
	sockets = calloc(2 * d->n_vms, sizeof *sockets);
	if (!sockets)
		return -ENOMEM;
	for (size_t i = 0; i < plan->n_vms; i++) {
		const struct vm_plan *vm = &plan->vms[i];

		if (!d->has_vm[i])
			continue;
		sockets[config.n_sockets++] = vm->socket;
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

/* Such a VM still serves host programs, so it is let in. */
static void warn_of_long_paths(const struct plan *plan)
{
	for (const struct vm_plan *vm = plan->vms; vm < plan->vms + plan->n_vms; vm++) {
		char ports[] = "only ports of up to 10 digits";
		unsigned digits = vm->uds_path ? limits_port_digits(vm->uds_path) :
			LIMITS_PORT_DIGITS;

		if (digits == LIMITS_PORT_DIGITS)
			continue;
		snprintf(ports, sizeof ports, digits == 0 ? "no port" : digits == 1 ?
			 "only ports of 1 digit" : "only ports of up to %u digits", digits);
		log_warn("main", "vm %llu: uds-path %s has %zu bytes: the guest reaches %s of the "
			 "host; after %d bytes all would fit", (unsigned long long)vm->guest_cid,
			 vm->uds_path, strlen(vm->uds_path), ports, LIMITS_ALL_PORTS_FIT);
	}
}

static void warn_of_unseen(const struct vm_plan *vm, const char *key, const char *path,
			   const struct socket_place *at)
{
	if (at->error)
		log_warn("main", "vm %llu: %s %s: where it leads cannot be seen, and who else leads "
			 "there: %s", (unsigned long long)vm->guest_cid, key, path,
			 error_str(at->error));
}

/* Whether two paths are one was then decided by less than it could be. */
static void warn_of_unseen_folders(const struct plan *plan)
{
	for (const struct vm_plan *vm = plan->vms; vm < plan->vms + plan->n_vms; vm++) {
		warn_of_unseen(vm, "socket", vm->socket, &vm->socket_at);
		warn_of_unseen(vm, "uds-path", vm->uds_path, &vm->uds_at);
	}
}

/* One guest's connections must not take the descriptors of another's. */
static void share_descriptors(struct plan *plan, uint64_t n_fds)
{
	uint32_t share = limits_fit(plan, n_fds, count_workers(plan));

	if (share)
		log_warn("main", "only %llu files may be open: max-connections is at most %u "
			 "for each VM", (unsigned long long)n_fds, share);
}

/* Nor does what one front-end maps: all of it is this process's address space. */
static void share_memory(struct plan *plan)
{
	uint64_t space = launch_address_space();

	if (!limits_share_memory(plan, space, launch_max_maps(), count_workers(plan)))
		log_warn("main", "max-memory: all VMs together may map more than the %llu bytes of "
			 "address space that there are: one can leave another without",
			 (unsigned long long)space);
}

static int run(struct plan *plan)
{
	struct daemon daemon;
	sigset_t ends;
	int sig, r;

	launch_block_ends(&ends);
	if ((r = sandbox_check_user(plan->uid, plan->gid)) < 0)
		return r;
	share_descriptors(plan, launch_raise_files());
	share_memory(plan);
	warn_of_long_paths(plan);
	warn_of_unseen_folders(plan);
	if ((r = gmem_catch_sigbus()) < 0 || (r = closer_init()) < 0 ||
	    (r = watchdog_init()) < 0 || (r = daemon_init(&daemon, plan))) {
		log_err("main", "cannot start: %s", listener_str_error(r));
		return r;
	}
	log_info("main", "serving %zu of %zu VM%s with %zu worker%s", daemon.n_vms, plan->n_vms,
		 plan->n_vms == 1 ? "" : "s", daemon.n_workers, daemon.n_workers == 1 ? "" : "s");
	sig = watchdog_wait(&ends);
	log_info("main", "ends on signal %d", sig);
	guard_start(atomic_load(&worker_failed));
	daemon_deinit(&daemon);
	return atomic_load(&worker_failed) ? -EIO : 0;
}

int main(int argc, char **argv)
{
	struct plan plan;
	int r;

	if (launch_open_streams() < 0)
		return 1;			/* nowhere to say it */
	launch_reset_signals();
	r = config_read(&plan, umask(077), argc, argv);
	if (r == CONFIG_E_EXIT)
		return 0;
	if (r)
		return r == CONFIG_E_USAGE ? 2 : 1;
	r = log_init((enum log_level)plan.log_level, plan.log_file);
	if (r < 0)
		log_err("main", "log-file %s: %s", plan.log_file, error_str(r));
	else
		r = run(&plan);
	log_stop_thread();			/* but --sandbox=log may still have lines */
	plan_deinit(&plan);
	return r ? 1 : 0;
}
