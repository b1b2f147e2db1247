/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The engine: workers, and the devices and backends of all VMs of a plan. Everything that
 * reads a peer's byte, in the sandbox. A process of its own under a supervisor (hosted.h),
 * or the whole daemon (--supervise=off).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct device_hooks;
struct plan;
struct sandbox_config;
struct sibling_dir;
struct vm;
struct worker;

struct engine {
	const struct plan *plan;		/* borrowed */
	struct worker **workers;
	size_t n_workers;
	struct vm *vms;				/* owned, one for each of the plan */
	size_t n_vms, n_wanted, n_served;
	struct sibling_dir *siblings;
};

struct engine_config {
	const struct plan *plan;		/* borrowed, as all here */
	struct vm *vms;				/* one for each, with its sockets; taken over */
	const struct device_hooks *hooks;
	void (*failed)(void);			/* a worker's loop has ended by itself */
	bool is_hosted;				/* there is a supervisor */
};

/* More workers would have nothing to do. */
size_t engine_count_workers(const struct plan *plan);

/*
 * Makes workers, closes the sandbox, opens the VMs in it and starts the workers: what cannot
 * be had is said while the exit status can still tell. In the main thread, once. 0, or as
 * vm_open(): none of it is left.
 */
int engine_init(struct engine *e, const struct engine_config *config);
void engine_deinit(struct engine *e);		/* stops the workers; also when not started */
