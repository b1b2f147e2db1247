/* SPDX-License-Identifier: BSD-3-Clause */
/* A worker's poller: who is polled for, and until when. */
#include "device/poller.h"

static struct poller_vm *vm_of(struct list *node)
{
	return container_of(node, struct poller_vm, node);
}

static void stop_waiting(struct poller_vm *vm)
{
	list_remove(&vm->node);
	vm->is_polled = false;
	vm->poller->base.is_wanted = !list_is_empty(&vm->poller->vms);
}

/* It was polled for, if at all, and that was for nothing. */
static void give_up(struct poller_vm *vm, void (*why)(struct poll_window *w))
{
	if (vm->is_polled) {
		why(&vm->window);
		vm->counters->polls[POLL_WASTED]++;
	}
	stop_waiting(vm);
}

static uint64_t on_begin(struct loop_poller *base, uint64_t now_us)
{
	struct poller *p = container_of(base, struct poller, base);
	uint64_t until_us = 0;

	list_for_each_safe(node, &p->vms) {
		struct poller_vm *vm = vm_of(node);
		struct virtq *q = now_us < vm->until_us ? vm->queue(vm->ctx) : NULL;

		if (!q) {
			give_up(vm, poll_window_wasted);
			continue;
		}
		virtq_suppress_notify(q);
		vm->q = q;
		vm->is_polled = true;
		if (vm->until_us > until_us)
			until_us = vm->until_us;
	}
	return until_us;
}

static bool on_look(struct loop_poller *base)
{
	struct poller *p = container_of(base, struct poller, base);

	list_for_each(node, &p->vms)
		if (virtq_has_more(vm_of(node)->q))
			return true;
	return false;
}

/* The one whose window was the longest has caused all of it. */
static struct poller_vm *find_longest(struct poller *p)
{
	struct poller_vm *longest = NULL;

	list_for_each(node, &p->vms)
		if (!longest || vm_of(node)->until_us > longest->until_us)
			longest = vm_of(node);
	return longest;
}

static void on_end(struct loop_poller *base, const struct loop_polled *polled)
{
	struct poller *p = container_of(base, struct poller, base);

	find_longest(p)->counters->polled[0] += polled->end_us - polled->begin_us;
	list_for_each_safe(node, &p->vms) {
		struct poller_vm *vm = vm_of(node);
		bool has_come = virtq_enable_notify(vm->q);

		vm->q = NULL;
		if (has_come)
			vm->came(vm->ctx);
		if (polled->was_preempted)
			give_up(vm, poll_window_preempted);
		else if (!has_come && vm->until_us <= polled->end_us)
			give_up(vm, poll_window_wasted);
	}
}

void poller_init(struct poller *p)
{
	p->base = (struct loop_poller){ .begin = on_begin, .look = on_look, .end = on_end };
	list_init(&p->vms);
}

void poller_vm_init(struct poller_vm *vm, struct poller *p, uint32_t max_us)
{
	vm->poller = p;
	list_init(&vm->node);
	poll_window_init(&vm->window, max_us);
}

void poller_vm_deinit(struct poller_vm *vm)
{
	if (vm->poller)
		stop_waiting(vm);
	vm->poller = NULL;
	vm->idle_us = 0;
}

void poller_vm_move(struct poller_vm *vm, struct poller *p)
{
	poller_vm_deinit(vm);
	vm->poller = p;
}

void poller_vm_set_max(struct poller_vm *vm, uint32_t max_us)
{
	poll_window_set_max(&vm->window, max_us);
}

void poller_wait_is_over(struct poller_vm *vm, uint64_t now_us)
{
	uint64_t idle_us = vm->idle_us;

	vm->idle_us = 0;
	if (vm->is_polled) {
		poll_window_paid(&vm->window);
		vm->counters->polls[POLL_PAID]++;
	} else if (list_is_empty(&vm->node) && vm->n_waits != vm->poller->base.n_waits) {
		poll_window_slept(&vm->window, now_us - idle_us);
	}
	stop_waiting(vm);
}

void poller_wait_begins(struct poller_vm *vm, uint64_t now_us)
{
	struct poller *p = vm->poller;

	vm->idle_us = now_us;
	vm->n_waits = p->base.n_waits;
	vm->until_us = now_us + poll_window_us(&vm->window);
	if (vm->until_us > now_us && list_is_empty(&vm->node))
		list_append(&p->vms, &vm->node);
	p->base.is_wanted = !list_is_empty(&p->vms);
}
