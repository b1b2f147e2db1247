/* SPDX-License-Identifier: BSD-3-Clause */
/* How the VMs share what the process can have. */
#include "daemon/limits.h"

#include <assert.h>
#include <string.h>
#include <sys/un.h>

#include "config/plan.h"
#include "control/api.h"
#include "protocol/vhost_user.h"

static_assert(LIMITS_ALL_PORTS_FIT + sizeof "_" + LIMITS_PORT_DIGITS ==
	      sizeof ((struct sockaddr_un *)0)->sun_path, "the NUL included");

static_assert((int)PLAN_MEM_SLOTS_MAX == (int)VHOST_USER_MEM_SLOTS_MAX, "one number");

enum {
	MEM_SLOTS_MIN = 8,			/* what a SET_MEM_TABLE of the spec has */
	HANDSHAKES_MIN = 4,
	HANDSHAKES_MAX = 1024,
	FDS_OF_DAEMON = 64,			/* standard streams, log, a message's, spare */
	FDS_OF_WORKER = 4,			/* epoll, two eventfds, a timerfd */
	FDS_OF_VM = 16,				/* three listeners, front-ends, three rings */
	FDS_OF_CAPTURE = 1,			/* an eventfd, besides its files */
	SHARE_OF_MEMORY = 8,			/* one part of so many */
};

/* Enough for any VM of today, and little of what 47 bits of address can name. */
static const uint64_t share_max = UINT64_C(16) << 40;

enum {
	MAPS_OF_DAEMON = 2048,			/* libraries, stacks, heaps, pages lost */
	MAPS_OF_WORKER = 64,
};

uint32_t limits_handshakes(uint32_t max_connections)
{
	uint32_t n = max_connections / 4;

	return n < HANDSHAKES_MIN ? HANDSHAKES_MIN : n > HANDSHAKES_MAX ? HANDSHAKES_MAX : n;
}

/* Beside those of connections and handshakes. */
static uint64_t fixed_fds(const struct vm_plan *vm)
{
	uint64_t capture = vm->capture.path ? FDS_OF_CAPTURE + vm->capture.n_files : 0;

	return FDS_OF_VM + vm->n_forward_listen + vm->n_forward_listen_seqpacket + capture;
}

/* The most connections that fit into @n_fds with their handshakes; at least one. */
static uint32_t connections_in(uint64_t n_fds)
{
	uint64_t n;

	if (n_fds <= HANDSHAKES_MIN)
		return 1;
	n = (n_fds - HANDSHAKES_MIN) * 4 / 5;
	return n < 1 ? 1 : n > UINT32_MAX ? UINT32_MAX : (uint32_t)n;
}

/* Of each VM's memory: where it is kept for the next engine, each region is a descriptor. */
static uint64_t memory_fds(const struct plan *plan)
{
	return plan->is_supervised && plan->mem_slots > MEM_SLOTS_MIN ?
		plan->mem_slots - MEM_SLOTS_MIN : 0;
}

/* Returns what connections and handshakes want; the rest is *@fixed. */
static uint64_t count_wanted(const struct plan *plan, size_t n_workers, uint64_t *fixed)
{
	uint64_t wanted = 0;

	*fixed = FDS_OF_DAEMON + FDS_OF_WORKER * (uint64_t)n_workers;
	if (plan_has_api(plan))
		*fixed += API_FDS;
	for (size_t i = 0; i < plan->n_vms; i++) {
		const struct vm_plan *vm = &plan->vms[i];

		*fixed += fixed_fds(vm) + memory_fds(plan);
		wanted += vm->limits.max_connections + limits_handshakes(vm->limits.max_connections);
	}
	return wanted;
}

uint64_t limits_files(const struct plan *plan, size_t n_workers)
{
	uint64_t fixed, wanted = count_wanted(plan, n_workers, &fixed);

	return fixed + wanted;
}

/*
 * Its upper four bits. VMs come and go one at a time, and each would change the shares of all
 * the others a little: of which all of them would have to be told. At most an eighth is left.
 */
static uint64_t steady(uint64_t share)
{
	int below = share ? 64 - __builtin_clzll(share) - 4 : 0;

	return below > 0 ? share >> below << below : share;
}

/* All VMs together get so much of @n_fds for their memory. */
static void fit_slots(struct plan *plan, uint64_t n_fds)
{
	uint64_t n = steady(n_fds / SHARE_OF_MEMORY / plan->n_vms);

	if (n < MEM_SLOTS_MIN)
		n = MEM_SLOTS_MIN;
	if (plan->is_supervised && plan->mem_slots > n)
		plan->mem_slots = (uint32_t)n;
}

static void give_all(struct plan *plan)
{
	for (size_t i = 0; i < plan->n_vms; i++)
		limits_give(plan, &plan->vms[i]);
}

void limits_fit(struct plan *plan, uint64_t n_fds, size_t n_workers)
{
	uint64_t fixed, wanted;

	plan->connections_share = 0;
	give_all(plan);
	fit_slots(plan, n_fds);
	wanted = count_wanted(plan, n_workers, &fixed);
	if (fixed < n_fds && wanted <= n_fds - fixed)
		return;
	plan->connections_share =
		(uint32_t)steady(connections_in(fixed < n_fds ? (n_fds - fixed) / plan->n_vms : 0));
	give_all(plan);
}

void limits_give(const struct plan *plan, struct vm_plan *vm)
{
	uint32_t most = plan->connections_share;

	vm->max_memory = vm->said.max_memory ? vm->said.max_memory : plan->memory_share;
	vm->limits.max_connections = most && vm->said.max_connections > most ? most :
		vm->said.max_connections;
}

static uint64_t add_capped(uint64_t a, uint64_t b)
{
	return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

static uint32_t fair_slots(uint64_t max_maps, size_t n_vms, size_t n_workers)
{
	uint64_t others = MAPS_OF_DAEMON + MAPS_OF_WORKER * (uint64_t)n_workers;
	uint64_t n = max_maps > others ? (max_maps - others) / n_vms : 0;

	return n < MEM_SLOTS_MIN ? MEM_SLOTS_MIN :
		n > VHOST_USER_MEM_SLOTS_MAX ? VHOST_USER_MEM_SLOTS_MAX : (uint32_t)steady(n);
}

void limits_share_memory(struct plan *plan, uint64_t space, uint64_t max_maps, size_t n_workers)
{
	uint64_t said = 0, largest = 0, share;
	size_t n_silent = 0;
	bool fits;

	plan->mem_slots = fair_slots(max_maps, plan->n_vms, n_workers);
	for (size_t i = 0; i < plan->n_vms; i++) {
		uint64_t bytes = plan->vms[i].said.max_memory;

		n_silent += !bytes;
		said = add_capped(said, bytes);
		largest = bytes > largest ? bytes : largest;
	}
	for (size_t i = 0; i < n_workers; i++)
		said = add_capped(said, largest);
	fits = said <= space;
	share = fits && said < space ? (space - said) / (n_silent + n_workers) :
		space / (plan->n_vms + n_workers);
	share = steady(share < share_max ? share : share_max);
	plan->memory_share = share ? share : 1;
	plan->has_too_little_memory = !fits || (said >= space && n_silent);
	give_all(plan);
}

unsigned limits_port_digits(const char *uds_path)
{
	size_t len = strlen(uds_path), room = LIMITS_ALL_PORTS_FIT + LIMITS_PORT_DIGITS;

	if (len <= LIMITS_ALL_PORTS_FIT)
		return LIMITS_PORT_DIGITS;
	return len < room ? (unsigned)(room - len) : 0;
}
