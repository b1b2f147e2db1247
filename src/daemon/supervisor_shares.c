/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What all VMs share is shared out anew when VMs come and go: descriptors, address space,
 * mappings (limits.h). A VM is told when it has another share than before, which is seldom.
 *
 * What becomes less is taken at once: all promises together have to hold. What becomes more is
 * given in a pass a little later, and that VMs have changed is said there: else VMs that come and
 * go where the shares are about to change would have all others told, and logged, at each step.
 */
#include <stdlib.h>

#include "config/compare.h"
#include "control/events.h"
#include "daemon/engine.h"
#include "daemon/limits.h"
#include "daemon/prepare.h"
#include "daemon/supervisor_internal.h"
#include "util/clock.h"
#include "util/error.h"
#include "util/log.h"

enum { PASS_MS = 1000, FEW = 4 };		/* VMs that are logged one by one */

void supervisor_share_later(struct supervisor *s)
{
	if (!s->shares_due.is_set)
		loop_timer_set(s->loop, &s->shares_due, clock_ms() + PASS_MS);
}

/* What it would have more than @before waits. True: there is such. */
static bool hold_back(struct vm_plan *vm, const struct vm_plan *before)
{
	bool more_memory = vm->max_memory > before->max_memory;
	bool more_connections = vm->limits.max_connections > before->limits.max_connections;

	if (more_memory)
		vm->max_memory = before->max_memory;
	if (more_connections)
		vm->limits.max_connections = before->limits.max_connections;
	return more_memory || more_connections;
}

static void note_before(struct held_vm *h, const struct vm_plan *before)
{
	if (h->before.is_set || !compare_vms(before, &h->plan))
		return;
	h->before.is_set = true;
	h->before.max_memory = before->max_memory;
	h->before.max_connections = before->limits.max_connections;
}

/* @has_to_hear: what it has by other ways than its row is another, too. True: a pass is due. */
static bool give(struct supervisor *s, struct held_vm *h, bool is_pass, bool has_to_hear)
{
	const struct vm_plan before = h->plan;
	bool waits;

	limits_give(s->plan, &h->plan);
	if (h->wanted)
		limits_give(s->plan, h->wanted);
	waits = !is_pass && hold_back(&h->plan, &before);
	note_before(h, &before);
	if (h->is_served && (has_to_hear || compare_vms(&before, &h->plan)))
		supervisor_tell_vm(s, h);
	return waits || h->before.is_set;
}

/* Since it was said last. */
static compare_set changes_of(const struct held_vm *h)
{
	struct vm_plan before = h->plan;

	if (!h->is_served || !h->before.is_set)
		return 0;
	before.max_memory = h->before.max_memory;
	before.limits.max_connections = h->before.max_connections;
	return compare_vms(&before, &h->plan);
}

static void log_changes(compare_set changes, size_t n, uint64_t cid)
{
	char keys[COMPARE_TEXT_MAX];

	compare_vms_text(changes, keys);
	if (n > FEW)
		log_info("main", "%zu VMs: changed: %s", n, keys);
	else
		log_info("main", "vm %llu: changed: %s", (unsigned long long)cid, keys);
}

static void announce(struct supervisor *s)
{
	compare_set all = 0;
	size_t n = 0;

	for (size_t i = 0; i < s->n_vms; i++) {
		all |= changes_of(s->vms[i]);
		n += changes_of(s->vms[i]) != 0;
	}
	if (n > FEW)
		log_changes(all, n, 0);
	for (size_t i = 0; i < s->n_vms; i++) {
		struct held_vm *h = s->vms[i];
		compare_set changes = changes_of(h);

		h->before.is_set = false;
		if (!changes)
			continue;
		if (n <= FEW)
			log_changes(changes, 1, h->plan.guest_cid);
		events_put_vm(EVENT_VM_CHANGED, h->plan.guest_cid);
	}
}

/* Of mappings there is one number for all. True: it has changed; *@waits: it will. */
static bool take_slots(struct supervisor *s, uint32_t n, bool is_pass, bool *waits)
{
	*waits = !is_pass && n > s->plan->mem_slots;
	if (*waits || n == s->plan->mem_slots)
		return false;
	s->plan->mem_slots = n;
	return true;
}

static void take_shares(struct supervisor *s, const struct plan *shared, struct held_vm *fresh,
			bool is_pass)
{
	bool waits, are_slots_other = take_slots(s, shared->mem_slots, is_pass, &waits);

	s->plan->n_files = shared->n_files;
	s->plan->memory_share = shared->memory_share;
	s->plan->connections_share = shared->connections_share;
	s->plan->has_too_little_memory = shared->has_too_little_memory;
	if (are_slots_other)
		supervisor_tell_settings(s);
	if (fresh)
		limits_give(s->plan, &fresh->plan);
	for (size_t i = 0; i < s->n_vms; i++)
		if (s->vms[i] != fresh)
			waits |= give(s, s->vms[i], is_pass, are_slots_other);
	if (is_pass)
		announce(s);
	else if (waits)
		supervisor_share_later(s);
}

void supervisor_take_shares(struct supervisor *s, const struct plan *shared)
{
	take_shares(s, shared, NULL, true);
}

static void share_out(struct supervisor *s, struct held_vm *fresh, bool is_pass)
{
	struct plan all;
	int r = supervisor_list_rows(s, &all);

	if (r) {
		log_err("main", "%s: all VMs keep the shares that they have", error_str(r));
		return;
	}
	prepare_shares(&all, engine_count_workers(&all, all.n_vms));
	take_shares(s, &all, fresh, is_pass);
	free(all.vms);
}

void supervisor_share_out(struct supervisor *s, struct held_vm *fresh)
{
	share_out(s, fresh, false);
}

/* Not while one engine hands over to another, which would have to hear of it as well. */
static void on_due(struct loop_timer *timer)
{
	struct supervisor *s = container_of(timer, struct supervisor, shares_due);

	if (s->state == SUPERVISOR_ENDING)
		return;
	if (s->is_upgrading)
		supervisor_share_later(s);
	else
		share_out(s, NULL, true);
}

void supervisor_shares_init(struct supervisor *s)
{
	s->shares_due.expire = on_due;
}

/* Rows of VMs that the file does not have, behind those that it has; all are borrowed. */
static int join(struct supervisor *s, const struct plan *next, struct plan *all)
{
	*all = *next;
	all->vms = calloc(next->n_vms + s->n_vms, sizeof *all->vms);
	if (!all->vms)
		return -ENOMEM;
	memcpy(all->vms, next->vms, next->n_vms * sizeof *all->vms);
	for (size_t i = 0; i < s->n_vms; i++)
		if (s->vms[i]->plan.is_by_api)
			all->vms[all->n_vms++] = s->vms[i]->plan;
	return 0;
}

void supervisor_prepare(struct supervisor *s, struct plan *next)
{
	struct vm_plan *vms = next->vms;
	size_t n = next->n_vms;
	struct plan all;
	int r = join(s, next, &all);

	if (r) {
		log_err("main", "%s: the VMs of the API are left out of the shares", error_str(r));
		all = *next;
	}
	prepare_shares(&all, engine_count_workers(&all, all.n_vms));
	if (!r)
		free(all.vms);
	*next = all;
	next->vms = vms;
	next->n_vms = n;
	for (size_t i = 0; i < n; i++)
		limits_give(next, &vms[i]);
	prepare_warn(next);
}
