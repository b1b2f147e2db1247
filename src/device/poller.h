/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A worker's poller: for VMs that may have it (poll-us), the worker looks at the guest's TX ring
 * and at its descriptors for a moment, before it sleeps. Whoever answers in that moment need not
 * wake it up: the guest saves its kick, the worker two changes of context, and both the time
 * until a sleeping CPU runs again.
 *
 * The worker polls as long as one of its VMs is within its window (poll_window.h), which begins
 * when the VM's turn ends. What comes for another VM meanwhile comes as ever: each round looks
 * for events first.
 *
 * While it polls, and not a moment longer, kicks are not wanted. They are asked for before
 * anything else is done, and what came meanwhile is looked for after that, as at the end of a
 * turn: no kick is lost, whatever the poll has ended by.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "device/poll_window.h"
#include "util/list.h"
#include "util/loop.h"
#include "vhost/virtq.h"
#include "vsock/counters.h"

struct poller {
	struct loop_poller base;
	struct list vms;			/* poller_vm::node; else it is not wanted */
};

struct poller_vm {				/* embedded in a device */
	struct poller *poller;			/* borrowed; NULL: it is never polled for */
	struct poll_window window;
	struct virtq *(*queue)(void *ctx);	/* the TX ring if it runs, or NULL */
	void (*came)(void *ctx);		/* there is something in it */
	void *ctx;
	struct vsock_counters *counters;	/* borrowed */
	struct list node;			/* poller::vms, while it is polled for */
	struct virtq *q;			/* in a poll: whose kicks are not wanted, or NULL */
	uint64_t idle_us;			/* when its last turn ended; 0: it has begun anew */
	uint64_t n_waits;			/* of the poller, then */
	uint64_t until_us;			/* in the list: the end of its window */
	bool is_polled;				/* in the list: there was a poll since */
};

/* For the worker's loop, see loop_set_poller(). */
void poller_init(struct poller *p);

/* @vm with what its owner has set: queue, came, ctx, counters. @p NULL: never. */
void poller_vm_init(struct poller_vm *vm, struct poller *p, uint32_t max_us);
void poller_vm_deinit(struct poller_vm *vm);	/* also without init, and twice */
void poller_vm_move(struct poller_vm *vm, struct poller *p);	/* to another; not in a poll */

/* From now on; not in a poll. */
void poller_vm_set_max(struct poller_vm *vm, uint32_t max_us);

/* Of poller_turn_...(). */
void poller_wait_is_over(struct poller_vm *vm, uint64_t now_us);
void poller_wait_begins(struct poller_vm *vm, uint64_t now_us);

/* The VM's turn begins, ends; or another's has given its guest something. @now_us: loop_now_us()
 * or later. */
static inline void poller_turn_begins(struct poller_vm *vm, uint64_t now_us)
{
	if (vm->idle_us)
		poller_wait_is_over(vm, now_us);
}

static inline void poller_turn_ends(struct poller_vm *vm, uint64_t now_us)
{
	if (vm->poller && vm->window.max_us)
		poller_wait_begins(vm, now_us);
}
