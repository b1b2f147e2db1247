/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The engine: workers, and the devices and backends of all VMs of a plan. Everything that
 * reads a peer's byte, in the sandbox. A process of its own under a supervisor (hosted.h),
 * or the whole daemon (--supervise=off).
 */
#pragma once

#include <stdbool.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

struct api;
struct device_hooks;
struct plan;
struct sibling_dir;
struct snapshots;
struct supervise_msg;
struct vm;
struct vm_fds;
struct vm_job;
struct vm_plan;
struct worker;

struct engine_config {
	const struct plan *plan;		/* but for its rows; borrowed, as all here */
	struct vm **vms;			/* with their sockets; not used after engine_prepare() */
	size_t n_vms;
	const struct device_hooks *hooks;
	void (*failed)(void);			/* a worker's loop has ended by itself */
	bool is_hosted;				/* there is a supervisor */
	_Atomic uint64_t *handling;		/* of PLAN_THREADS_MAX workers; NULL: not noted */
	const _Atomic uint64_t *upgrades, *crashes;	/* for snapshots; or NULL */
	/* Where clients of the control API connect, taken over in any case; -1: there is none. And
	 * where its orders go, see api_config. */
	int api_fd;
	int (*order)(struct supervise_msg *m, const void *text, size_t len, int fd);
};

struct engine_placed {
	size_t n_vms;				/* that the worker has, or is about to have */
	uint32_t seen_us;			/* worker_busy_us(), at the last look */
};

struct engine {
	struct engine_config config;
	struct worker **workers;
	struct engine_placed *placed;		/* owned; for each of them */
	size_t n_workers;
	size_t n_vms;				/* that it serves, or is about to */
	struct sibling_dir *siblings;
	struct snapshots *snapshots;		/* for whoever asks */
	struct api *api;			/* NULL: there is none */
	bool has_api_thread;
	struct {				/* between engine_balance() and the next */
		uint64_t looked_us;
		unsigned n_looks;		/* at the VMs, one after the other */
		unsigned rest;			/* calls to come for which nothing is tried */
		unsigned n_vain;		/* tries in a row in which not all have parked */
	} balance;
};

/* So many VMs have no use for more. */
size_t engine_count_workers(const struct plan *plan, size_t n_vms);

/*
 * Makes workers and closes the sandbox; opens the VMs in it; starts the workers: what cannot be
 * had is said while the exit status can still tell, and where another process is replaced,
 * nothing happens before engine_begin(). In the main thread, once. 0 or -errno: none of it is
 * left.
 */
int engine_prepare(struct engine *e, const struct engine_config *config);
int engine_open_vms(struct engine *e, struct vm **vms, size_t n_vms);	/* 0, or as vm_open() */
void engine_abandon_vm(struct engine *e, struct vm *vm);	/* vm_abandon() */
int engine_begin(struct engine *e, bool is_parked);	/* 0 or -errno; parked: engine_go_on() is due */
void engine_deinit(struct engine *e);		/* stops the workers; also when not started */

/*
 * From the return on nothing happens in it, and all its mail is delivered: its devices may be
 * saved. engine_go_on() as if nothing had been. From the main thread.
 */
void engine_park(struct engine *e);
void engine_go_on(struct engine *e);

/*
 * For every beat of the watchdog, while it is not parked, from the main thread: a VM may go to
 * another worker, where that is fairer (balance.h). All workers are parked for that, as long as it
 * takes the last of them to end its batch, and a few microseconds; where that takes too long it is
 * given up. @vm: the VMs, of which there are @n_vms.
 */
void engine_balance(struct engine *e, struct vm *(*vm)(size_t i), size_t n_vms);

/*
 * While it runs, from the main thread: another VM, another row of one, one less; @job, the
 * caller's until it is done, does it (vm_job.h). 0; -ENOMEM: nothing has happened, @job is not
 * used, and the descriptors are the caller's.
 */
int engine_add(struct engine *e, struct vm *vm, struct vm_job *job);
int engine_change(struct engine *e, struct vm *vm, struct vm_job *job, const struct vm_plan *row,
		  const struct vm_fds *fds);
void engine_remove(struct engine *e, struct vm *vm, struct vm_job *job);
