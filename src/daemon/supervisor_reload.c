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
#include "control/events.h"
#include "daemon/notify.h"
#include "daemon/supervisor_internal.h"
#include "util/error.h"
#include "util/log.h"

static unsigned long long cid_of(const struct held_vm *h)
{
	return h->plan.guest_cid;
}

struct held_vm *supervisor_find_any(struct supervisor *s, uint64_t cid)
{
	for (size_t i = 0; i < s->n_vms; i++)
		if (s->vms[i]->plan.guest_cid == cid)
			return s->vms[i];
	return NULL;
}

static void check_told(struct supervisor *s, int r)
{
	if (r && s->engine && !s->is_killed)
		supervisor_replace_engine(s, channel_str_error(r));
}

void supervisor_tell_vm(struct supervisor *s, struct held_vm *h)
{
	if (s->channel >= 0)
		check_told(s, supervisor_send_vm(s, h));
}

void supervisor_tell_settings(struct supervisor *s)
{
	if (s->channel >= 0)
		check_told(s, supervisor_send_settings(s));
}

/* ---- what happens to one VM ---- */

/* Where @cid is among those that are leaving; s->n_leaving: nowhere. */
static size_t find_leaving(const struct supervisor *s, uint64_t cid)
{
	size_t i = 0;

	while (i < s->n_leaving && s->leaving[i] != cid)
		i++;
	return i;
}

bool supervisor_is_leaving(const struct supervisor *s, uint64_t cid)
{
	return find_leaving(s, cid) < s->n_leaving;
}

/* What it says of this VM until it has removed it is about nobody. */
static int tell_to_remove(struct supervisor *s, uint64_t cid)
{
	const struct supervise_msg m = { .type = SUPERVISE_REMOVE, .cid = cid };
	uint64_t *leaving = realloc(s->leaving, (s->n_leaving + 1) * sizeof *leaving);

	if (!leaving)
		return -ENOMEM;
	s->leaving = leaving;
	s->leaving[s->n_leaving++] = cid;
	return channel_send(s->channel, &m, NULL, 0, true);
}

void supervisor_remove_vm(struct supervisor *s, struct held_vm *h)
{
	size_t i = 0;

	if (h->is_served && !h->waits && s->channel >= 0)
		check_told(s, tell_to_remove(s, h->plan.guest_cid));
	if (h->has_front_end)
		notify_front_end(-1);
	if (h->is_served)
		events_put_vm(EVENT_VM_REMOVED, cid_of(h));
	while (s->vms[i] != h)
		i++;
	s->vms[i] = s->vms[--s->n_vms];
	held_vm_free(h);
}

void supervisor_leave_out(struct supervisor *s, struct held_vm *h)
{
	h->is_left_out = true;
	events_put_vm(EVENT_VM_LEFT_OUT, h->plan.guest_cid);
	supervisor_note_session(h, false);
	held_vm_close(h);
	notify_reloaded(supervisor_count_served(s));
}

/* The engine that could not serve it holds what it was told of it. */
void supervisor_take_out(struct supervisor *s, struct held_vm *h)
{
	supervisor_leave_out(s, h);
	check_told(s, tell_to_remove(s, h->plan.guest_cid));
}

void supervisor_take_out_again(struct supervisor *s)
{
	for (size_t i = 0; i < s->n_vms; i++)
		if (s->vms[i]->is_left_out)
			check_told(s, tell_to_remove(s, s->vms[i]->plan.guest_cid));
}

static void add_vm(struct supervisor *s, struct vm_plan *row)
{
	struct held_vm *h = NULL;
	int r = supervisor_add_vm(s, row, &h);

	if (!r) {
		supervisor_tell_vm(s, h);
		log_info("main", "vm %llu: added", cid_of(h));
	} else if (h && h->awaits_folder) {
		log_warn("main", "vm %llu: served once its folder is there", cid_of(h));
	} else if (!h) {
		log_err("main", "vm %llu is left out: %s", (unsigned long long)row->guest_cid,
			error_str(r));
	}
}

static void renew_vm(struct supervisor *s, struct held_vm *h, struct vm_plan *row)
{
	struct vm_plan next = *row;		/* of which @h may be the owner */

	vm_plan_init(row);
	supervisor_remove_vm(s, h);
	add_vm(s, &next);
	vm_plan_deinit(&next);
}

void supervisor_on_removed(struct supervisor *s, uint64_t cid)
{
	struct held_vm *h = supervisor_find_any(s, cid);
	size_t i = find_leaving(s, cid);

	if (i == s->n_leaving)
		return;
	s->leaving[i] = s->leaving[--s->n_leaving];
	supervisor_orders_removed(s, cid);
	if (h && h->waits)
		supervisor_tell_vm(s, h);
	if (s->wants_upgrade && !s->n_leaving)
		supervisor_upgrade(s);
}

/* The next engine is told of all there are. */
void supervisor_forget_leaving(struct supervisor *s)
{
	s->n_leaving = 0;
	supervisor_orders_forget(s);
	for (size_t i = 0; i < s->n_vms; i++)
		s->vms[i]->waits = false;
}

void supervisor_catch_up_all(struct supervisor *s)
{
	for (size_t i = s->n_vms; i > 0; i--)	/* one that is made anew becomes the last */
		supervisor_catch_up(s, s->vms[i - 1]);
}

/* By a front-end. One whose socket was passed to us comes and goes with it. */
static bool is_held(const struct held_vm *h)
{
	const struct socket_plan *socket = &h->plan.vhost_socket;

	return h->has_front_end || (socket->fd >= 0 && !socket->fd_listens);
}

/* While an engine hands over, both are to know of the same VMs. */
void supervisor_catch_up(struct supervisor *s, struct held_vm *h)
{
	if (!h->wanted || is_held(h) || s->is_upgrading)
		return;
	log_info("main", "vm %llu: its front-end has left: it is made anew", cid_of(h));
	renew_vm(s, h, h->wanted);
	for (size_t i = s->n_vms; i > 0; i--)	/* names that it had may be wanted */
		if (!s->vms[i - 1]->is_served && !s->vms[i - 1]->is_left_out)
			renew_vm(s, s->vms[i - 1], &s->vms[i - 1]->plan);
	supervisor_open_seqpackets(s);
	supervisor_watch_folders(s);
}

static void forget_wanted(struct held_vm *h)
{
	if (!h->wanted)
		return;
	vm_plan_deinit(h->wanted);
	free(h->wanted);
	h->wanted = NULL;
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
	bool was_released = h->plan.uds_path && h->sockets.uds.fd < 0;
	bool is_captured_anew = !compare_same_capture(&old, row);

	supervisor_yield_names(s, row);
	if (vm_sockets_move_uds(&h->sockets, s->plan, &h->plan, row)) {
		log_err("main", "vm %llu: stays as it is", cid_of(h));
		if (was_released)
			supervisor_tell_vm(s, h);
		return;
	}
	forget_wanted(h);
	h->plan = *row;
	*row = old;				/* freed with the others */
	h->before.is_set = false;		/* its shares are said here, too */
	log_info("main", "vm %llu: changed: %s", cid_of(h), keys);
	events_put_vm(EVENT_VM_CHANGED, cid_of(h));
	supervisor_tell_vm(s, h);
	if (is_captured_anew)
		supervisor_plan_capture(s, h);
}

/* The row that it has, or waits for. */
static const struct vm_plan *wanted_row(const struct held_vm *h)
{
	return h->wanted ? h->wanted : &h->plan;
}

/* It has to be made anew, and can be. */
static bool is_to_be_renewed(const struct held_vm *h, const struct vm_plan *row)
{
	compare_set changes = compare_vms(&h->plan, row);

	return !h->is_served || (compare_vms_when(changes, COMPARE_ANEW) && !is_held(h));
}

static void update_vm(struct supervisor *s, struct held_vm *h, struct vm_plan *row)
{
	compare_set changes = compare_vms(&h->plan, row);
	char keys[COMPARE_TEXT_MAX];

	compare_vms_text(changes, keys);
	if (!changes)
		forget_wanted(h);		/* it was changed back */
	else if (compare_vms_when(changes, COMPARE_ANEW))
		postpone(h, row, keys);
	else
		change(s, h, row, keys);
}

/* ---- one that comes, or goes, alone ---- */

static void settle(struct supervisor *s)
{
	supervisor_open_seqpackets(s);
	supervisor_watch_folders(s);
	notify_reloaded(supervisor_count_served(s));
}

struct held_vm *supervisor_take_vm(struct supervisor *s, struct vm_plan *row)
{
	struct held_vm *h = NULL;

	if (supervisor_add_vm(s, row, &h))
		return h;
	supervisor_share_out(s, h);
	supervisor_tell_vm(s, h);
	log_info("main", "vm %llu: added", cid_of(h));
	settle(s);
	return h;
}

void supervisor_drop_vm(struct supervisor *s, struct held_vm *h)
{
	supervisor_remove_vm(s, h);
	supervisor_share_out(s, NULL);
	settle(s);
}

/* ---- all of them ---- */

int supervisor_list_rows(struct supervisor *s, struct plan *rows)
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

static void remove_old(struct supervisor *s, struct compare_row *row)
{
	struct held_vm *h = row->before ? supervisor_find_any(s, row->before->guest_cid) : NULL;

	if (!h || (row->after && !is_to_be_renewed(h, row->after)))
		return;
	if (!row->after)
		log_info("main", "vm %llu: removed", cid_of(h));
	supervisor_remove_vm(s, h);
	row->before = NULL;
}

/* VMs may want what others have, and these what the first have. */
static void release_names(struct supervisor *s, const struct compare_row *rows, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct held_vm *h = rows[i].before ? supervisor_find_any(s, rows[i].before->guest_cid) : NULL;
		compare_set changes = h ? compare_vms(&h->plan, rows[i].after) : 0;

		if (!changes || compare_vms_when(changes, COMPARE_ANEW) ||
		    compare_same_uds(&h->plan, rows[i].after))
			continue;
		for (size_t k = 0; k < n; k++)
			if (k != i && rows[k].after && compare_same_uds(&h->plan, rows[k].after))
				vm_sockets_release_uds(&h->sockets);
	}
}

/* Names that go may be wanted by those that come, so they go first. */
static void apply(struct supervisor *s, struct compare_row *rows, size_t n)
{
	for (size_t i = 0; i < n; i++)
		remove_old(s, &rows[i]);
	release_names(s, rows, n);
	for (size_t i = 0; i < n; i++)
		if (rows[i].before)
			update_vm(s, supervisor_find_any(s, rows[i].before->guest_cid),
				  (struct vm_plan *)(uintptr_t)rows[i].after);
	for (size_t i = 0; i < n; i++)
		if (!rows[i].before && rows[i].after)
			add_vm(s, (struct vm_plan *)(uintptr_t)rows[i].after);
	supervisor_open_seqpackets(s);
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
	supervisor_tell_settings(s);
}

void supervisor_update(struct supervisor *s, const struct plan *before, struct plan *next)
{
	struct compare_row *rows;
	size_t n;
	int r = compare_plans(before, next, &rows, &n);

	if (r) {
		log_err("main", "%s: %s: nothing has changed", s->plan->config, error_str(r));
		return;
	}
	update_settings(s, next);
	apply(s, rows, n);
	free(rows);
	supervisor_take_shares(s, next);
	supervisor_watch_folders(s);
}

static bool has_row(const struct plan *plan, uint64_t cid)
{
	for (size_t i = 0; i < plan->n_vms; i++)
		if (plan->vms[i].guest_cid == cid)
			return true;
	return false;
}

/* The API has added it, and the file names it now: its paths are ours, and may lead anywhere. */
static void adopt(struct supervisor *s, struct held_vm *h)
{
	h->plan.is_by_api = false;
	vm_sockets_confine(&h->sockets, s->plan, &h->plan);
	if (h->is_served)
		supervisor_tell_vm(s, h);
}

/* VMs that the API has added are none of the file's, unless it names them. */
static void leave_out_others(struct supervisor *s, struct plan *before, const struct plan *next)
{
	size_t n = 0;

	for (size_t i = 0; i < before->n_vms; i++) {
		struct held_vm *h = supervisor_find_any(s, before->vms[i].guest_cid);

		if (h->plan.is_by_api && has_row(next, h->plan.guest_cid))
			adopt(s, h);
		if (!h->plan.is_by_api)
			before->vms[n++] = before->vms[i];
	}
	before->n_vms = n;
}

int supervisor_read_again(struct supervisor *s, struct config_error *err)
{
	const struct supervisor_config *config = &s->config;
	struct plan before, next;
	int r;

	*err = (struct config_error){ "no memory" };
	r = supervisor_list_rows(s, &before);

	notify_reloading();
	if (!r)
		r = config_load(&next, &before, config->umask, config->argc, config->argv, err);
	if (r) {
		log_err("main", "%s: nothing has changed", err->text);
	} else {
		log_info("main", "%s was read again", s->plan->config);
		leave_out_others(s, &before, &next);
		supervisor_prepare(s, &next);
		supervisor_update(s, &before, &next);
		supervisor_look_for_names(s);
		plan_deinit(&next);
	}
	free(before.vms);
	notify_reloaded(supervisor_count_served(s));
	return r;
}

/* Not while one engine hands over to another, which would have to hear of it as well. */
void supervisor_reload(struct supervisor *s)
{
	struct config_error err;

	if (s->state == SUPERVISOR_ENDING)
		return;
	s->wants_reload = s->is_upgrading;
	if (!s->wants_reload)
		supervisor_read_again(s, &err);
}
