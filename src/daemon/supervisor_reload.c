/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The file is read again: VMs that are new are added, those that have gone removed, and what
 * has changed in the others is changed; nothing else is touched. A file with a mistake in it
 * changes nothing at all.
 *
 * What cannot be changed under a front-end waits for it to leave; what the process cannot
 * change at all (its user, its threads) waits for the next start. Both are logged.
 */
#include <stdlib.h>

#include "config/compare.h"
#include "config/config.h"
#include "daemon/engine.h"
#include "daemon/notify.h"
#include "daemon/prepare.h"
#include "daemon/supervisor_internal.h"
#include "util/error.h"
#include "util/log.h"

static unsigned long long cid_of(const struct held_vm *h)
{
	return h->plan.guest_cid;
}

/* Also one that is not served. */
static struct held_vm *find_any(struct supervisor *s, uint64_t cid)
{
	for (size_t i = 0; i < s->n_vms; i++)
		if (s->vms[i]->plan.guest_cid == cid)
			return s->vms[i];
	return NULL;
}

void supervisor_check_told(struct supervisor *s, int r)
{
	if (r && s->engine)
		supervisor_replace_engine(s, channel_str_error(r));
}

/* ---- what happens to one VM ---- */

static void remove_vm(struct supervisor *s, struct held_vm *h)
{
	const struct supervise_msg m = { .type = SUPERVISE_REMOVE, .cid = h->plan.guest_cid };
	size_t i = 0;

	if (h->is_served && s->channel >= 0)
		supervisor_check_told(s, channel_send(s->channel, &m, NULL, 0, true));
	if (h->has_front_end)
		notify_front_end(-1);
	while (s->vms[i] != h)
		i++;
	s->vms[i] = s->vms[--s->n_vms];
	held_vm_free(h);
}

static void add_vm(struct supervisor *s, struct vm_plan *row)
{
	struct held_vm *h = NULL;
	int r = supervisor_add_vm(s, row, &h);

	if (!r && s->channel >= 0)
		supervisor_check_told(s, supervisor_send_vm(s, h));
	if (!r)
		log_info("main", "vm %llu: added", cid_of(h));
	else if (!h)
		log_err("main", "vm %llu is left out: %s", (unsigned long long)row->guest_cid,
			error_str(r));
}

static void renew_vm(struct supervisor *s, struct held_vm *h, struct vm_plan *row)
{
	struct vm_plan next = *row;		/* of which @h may be the owner */

	vm_plan_init(row);
	remove_vm(s, h);
	add_vm(s, &next);
	vm_plan_deinit(&next);
}

void supervisor_catch_up(struct supervisor *s, struct held_vm *h)
{
	if (!h->wanted || h->has_front_end)
		return;
	log_info("main", "vm %llu: its front-end has left: it is made anew", cid_of(h));
	renew_vm(s, h, h->wanted);
	supervisor_watch_folders(s);
}

/* Until its front-end leaves it stays what it is, also where it could be changed by half. */
static void postpone(struct held_vm *h, struct vm_plan *row, const char *keys)
{
	if (!h->wanted)
		h->wanted = calloc(1, sizeof *h->wanted);
	else
		vm_plan_deinit(h->wanted);
	if (!h->wanted) {
		log_err("main", "vm %llu: %s: no memory: stays as it is", cid_of(h), keys);
		return;
	}
	*h->wanted = *row;
	vm_plan_init(row);
	log_warn("main", "vm %llu: %s: changed once its front-end has left", cid_of(h), keys);
}

/* Under the guest. What it listens at is changed here, the rest in the engine. */
static void change(struct supervisor *s, struct held_vm *h, struct vm_plan *row, const char *keys)
{
	struct vm_plan old = h->plan;

	if (vm_sockets_move_uds(&h->sockets, s->plan, &h->plan, row)) {
		log_err("main", "vm %llu: stays as it is", cid_of(h));
		return;
	}
	h->plan = *row;
	*row = old;				/* freed with the others */
	log_info("main", "vm %llu: changed: %s", cid_of(h), keys);
	if (s->channel >= 0)
		supervisor_check_told(s, supervisor_send_vm(s, h));
}

/* The row that it has, or waits for. */
static const struct vm_plan *wanted_row(const struct held_vm *h)
{
	return h->wanted ? h->wanted : &h->plan;
}

static void forget_wanted(struct held_vm *h)
{
	if (!h->wanted)
		return;
	vm_plan_deinit(h->wanted);
	free(h->wanted);
	h->wanted = NULL;
}

static void update_vm(struct supervisor *s, struct held_vm *h, struct vm_plan *row)
{
	compare_set changes = compare_vms(&h->plan, row);
	char keys[COMPARE_TEXT_MAX];

	compare_vms_text(changes, keys);
	if (!changes)
		forget_wanted(h);		/* it was changed back */
	else if (!h->is_served || h->is_left_out)
		renew_vm(s, h, row);
	else if (!compare_vms_when(changes, COMPARE_ANEW))
		change(s, h, row, keys);
	else if (h->has_front_end)
		postpone(h, row, keys);
	else
		renew_vm(s, h, row);
}

/* ---- all of them ---- */

/* What is served now, or waits to be, as a plan: its rows are borrowed. */
static int list_rows(struct supervisor *s, struct plan *rows)
{
	*rows = *s->plan;
	rows->n_vms = s->n_vms;
	rows->vms = calloc(s->n_vms + 1, sizeof *rows->vms);
	if (!rows->vms)
		return -ENOMEM;
	for (size_t i = 0; i < s->n_vms; i++)
		rows->vms[i] = *wanted_row(s->vms[i]);
	return 0;
}

/* Names that go may be wanted by those that come, so they go first. */
static void apply(struct supervisor *s, const struct compare_row *rows, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct held_vm *h = rows[i].before ? find_any(s, rows[i].before->guest_cid) : NULL;

		if (h && !rows[i].after) {
			log_info("main", "vm %llu: removed", cid_of(h));
			remove_vm(s, h);
		}
	}
	for (size_t i = 0; i < n; i++)
		if (rows[i].before && rows[i].after)
			update_vm(s, find_any(s, rows[i].after->guest_cid),
				  (struct vm_plan *)(uintptr_t)rows[i].after);
	for (size_t i = 0; i < n; i++)
		if (!rows[i].before)
			add_vm(s, (struct vm_plan *)(uintptr_t)rows[i].after);
}

static void update_settings(struct supervisor *s, const struct plan *next)
{
	compare_set changes = compare_settings(s->plan, next);
	compare_set later = compare_settings_when(changes, COMPARE_RESTART);
	char keys[COMPARE_TEXT_MAX];

	if (later) {
		compare_settings_text(later, keys);
		log_warn("main", "%s: changed by a restart alone", keys);
	}
	if (!(changes & ~later))
		return;
	compare_settings_text(changes & ~later, keys);
	s->plan->log_level = next->log_level;
	s->plan->pause_grace_ms = next->pause_grace_ms;
	s->plan->handshake_ms = next->handshake_ms;
	log_level = (enum log_level)next->log_level;
	log_info("main", "changed: %s", keys);
	if (s->channel >= 0)
		supervisor_check_told(s, supervisor_send_settings(s));
}

static void update(struct supervisor *s, struct plan *next)
{
	struct compare_row *rows;
	struct plan before;
	size_t n;
	int r = list_rows(s, &before);

	if (!r)
		r = compare_plans(&before, next, &rows, &n);
	if (r) {
		log_err("main", "%s: %s: nothing has changed", s->plan->config, error_str(r));
	} else {
		update_settings(s, next);
		apply(s, rows, n);
		free(rows);
	}
	free(before.vms);
}

static void read_again(struct supervisor *s)
{
	const struct supervisor_config *config = &s->config;
	struct config_error err;
	struct plan next;
	int r;

	notify_reloading();
	r = config_load(&next, config->umask, config->argc, config->argv, &err);
	if (r) {
		log_err("main", "%s: nothing has changed", err.text);
	} else {
		log_info("main", "%s was read again", s->plan->config);
		prepare_plan(&next, engine_count_workers(&next, next.n_vms));
		update(s, &next);
		supervisor_watch_folders(s);
		plan_deinit(&next);
	}
	notify_reloaded(supervisor_count_served(s));
}

/* Not while one engine hands over to another, which would have to hear of it as well. */
void supervisor_reload(struct supervisor *s)
{
	s->wants_reload = s->is_upgrading;
	if (!s->wants_reload)
		read_again(s);
}
