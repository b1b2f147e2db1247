/* SPDX-License-Identifier: BSD-3-Clause */
/* What the operator should know before the VMs are served. */
#include "daemon/prepare.h"

#include <stdio.h>
#include <string.h>

#include "config/plan.h"
#include "daemon/engine.h"
#include "daemon/limits.h"
#include "sandbox/launch.h"
#include "util/error.h"
#include "util/log.h"

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
		warn_of_unseen(vm, "socket-connect", vm->connect, &vm->connect_at);
		warn_of_unseen(vm, "uds-path", vm->uds_path, &vm->uds_at);
	}
}

/* One guest's connections must not take the descriptors of another's. */
static void share_descriptors(struct plan *plan, size_t n_workers)
{
	uint64_t n_fds = launch_raise_files();
	uint64_t ours = plan->is_supervised ? launch_engine_files(n_fds) : n_fds;
	uint32_t before = plan->connections_share;

	limits_fit(plan, ours, n_workers);
	if (plan->connections_share && plan->connections_share != before)
		log_warn("main", "only %llu files may be open: max-connections is at most %u "
			 "for each VM", (unsigned long long)n_fds, plan->connections_share);
}

/* Nor does what one front-end maps: all of it is this process's address space. */
static void share_memory(struct plan *plan, size_t n_workers)
{
	uint64_t space = launch_address_space();
	bool was_known = plan->has_too_little_memory;

	limits_share_memory(plan, space, launch_max_maps(), n_workers);
	if (plan->has_too_little_memory && !was_known)
		log_warn("main", "max-memory: all VMs together may map more than the %llu bytes of "
			 "address space that there are: one can leave another without",
			 (unsigned long long)space);
}

void prepare_log_serving(const struct plan *plan, size_t n_served, size_t n_vms)
{
	size_t n_workers = engine_count_workers(plan, n_served);

	log_info("main", "serving %zu of %zu VM%s with %zu worker%s", n_served, n_vms,
		 n_vms == 1 ? "" : "s", n_workers, n_workers == 1 ? "" : "s");
}

void prepare_shares(struct plan *plan, size_t n_workers)
{
	share_memory(plan, n_workers);
	share_descriptors(plan, n_workers);
	plan->n_files = limits_files(plan, n_workers);
}

void prepare_warn(const struct plan *plan)
{
	warn_of_long_paths(plan);
	warn_of_unseen_folders(plan);
}

void prepare_plan(struct plan *plan, size_t n_workers)
{
	prepare_shares(plan, n_workers);
	prepare_warn(plan);
}
