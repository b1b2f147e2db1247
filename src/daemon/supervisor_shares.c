/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What all VMs share is shared out anew when VMs come and go: descriptors, address space,
 * mappings (limits.h). A VM is told when it has another share than before, which is seldom.
 */
#include <stdlib.h>

#include "config/compare.h"
#include "control/events.h"
#include "daemon/engine.h"
#include "daemon/limits.h"
#include "daemon/prepare.h"
#include "daemon/supervisor_internal.h"
#include "util/error.h"
#include "util/log.h"

/* @has_to_hear: what it has by other ways than its row is another, too. */
static void give(struct supervisor *s, struct held_vm *h, bool has_to_hear)
{
	const struct vm_plan before = h->plan;
	char keys[COMPARE_TEXT_MAX];
	compare_set changes;

	limits_give(s->plan, &h->plan);
	if (h->wanted)
		limits_give(s->plan, h->wanted);
	changes = compare_vms(&before, &h->plan);
	if (!h->is_served || (!changes && !has_to_hear))
		return;
	if (changes) {
		compare_vms_text(changes, keys);
		log_info("main", "vm %llu: changed: %s", (unsigned long long)h->plan.guest_cid,
			 keys);
		events_put_vm(EVENT_VM_CHANGED, h->plan.guest_cid);
	}
	supervisor_tell_vm(s, h);
}

void supervisor_take_shares(struct supervisor *s, const struct plan *shared, struct held_vm *fresh)
{
	bool are_slots_other = s->plan->mem_slots != shared->mem_slots;

	s->plan->mem_slots = shared->mem_slots;
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
			give(s, s->vms[i], are_slots_other);
}

void supervisor_share_out(struct supervisor *s, struct held_vm *fresh)
{
	struct plan all;
	int r = supervisor_list_rows(s, &all);

	if (r) {
		log_err("main", "%s: all VMs keep the shares that they have", error_str(r));
		return;
	}
	prepare_shares(&all, engine_count_workers(&all, all.n_vms));
	supervisor_take_shares(s, &all, fresh);
	free(all.vms);
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
