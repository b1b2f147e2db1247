/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What clients of the control API have asked the engine for, and it may not do itself.
 *
 * The engine is believed no more than before: it can have no order carried out that no client
 * may give. Without --api-socket there is none; a VM that it adds has its sockets in folders
 * that were named at the start, and gets no right that the engine has not (config/api.h); so
 * many orders a second, so many VMs, and no more. What stays is that it can end what it serves.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "config/api.h"
#include "config/error.h"
#include "daemon/supervisor_internal.h"
#include "util/clock.h"
#include "util/closer.h"
#include "util/error.h"
#include "util/log.h"

enum {
	BURST = 100, PER_SECOND = 20,		/* orders */
	ADDED_MAX = 4096,			/* VMs by the API that there are at a time */
};

/* ---- outcomes ---- */

/* An engine that asks faster than it reads hears nothing, and whoever waits in it runs into a
 * deadline. */
static void answer(struct supervisor *s, uint32_t id, enum supervise_outcome outcome,
		   const char *why)
{
	struct supervise_msg m = {
		.type = SUPERVISE_DONE, .u.order = { .id = id, .code = (uint16_t)outcome },
	};

	if (s->channel >= 0)
		channel_send_text(s->channel, &m, why, strlen(why), NULL, 0, false);
}

static void done(struct supervisor *s, uint32_t id)
{
	answer(s, id, SUPERVISE_OK, "");
}

static const char upgrading[] = "another engine is about to take over";

static enum supervise_outcome outcome_of(int r)
{
	return r == CONFIG_E_USAGE ? SUPERVISE_WRONG : r == API_E_DENIED ? SUPERVISE_DENIED :
		SUPERVISE_ERROR;
}

/* ---- VMs ---- */

/* It was to be there, and is not. */
static void explain(struct supervisor *s, uint32_t id, const struct held_vm *h)
{
	answer(s, id, h && h->open_error > 0 ? SUPERVISE_NOT_NOW : SUPERVISE_ERROR,
	       h ? listener_str_error(h->open_error) : error_str(-ENOMEM));
}

/* Its row, as one more of those that there are, or wait to be. */
static int add(struct supervisor *s, struct channel_msg *msg, struct held_vm **out,
	       struct config_error *err)
{
	struct plan all;
	int r = supervisor_list_rows(s, &all);

	if (r)
		return r;
	r = api_add_row(&all, msg->m.cid, (const char *)msg->piece, msg->m.u.order.n, s->has_vsock,
			err);
	if (!r)
		*out = supervisor_take_vm(s, &all.vms[s->n_vms]);
	if (all.n_vms > s->n_vms)
		vm_plan_deinit(&all.vms[s->n_vms]);
	free(all.vms);
	return r;
}

static size_t count_added(const struct supervisor *s)
{
	size_t n = 0;

	for (size_t i = 0; i < s->n_vms; i++)
		n += s->vms[i]->plan.is_by_api;
	return n;
}

static void on_add(struct supervisor *s, struct channel_msg *msg)
{
	struct config_error err = { "no memory" };
	uint32_t id = msg->m.u.order.id;
	struct held_vm *h = NULL;
	int r;

	if (!s->plan->n_api_folders) {
		answer(s, id, SUPERVISE_DENIED, "no --api-folder says where its sockets could be");
		return;
	}
	h = supervisor_find_any(s, msg->m.cid);
	if (h) {
		answer(s, id, SUPERVISE_NOT_NOW, h->is_left_out ?
		       "the VM with this CID is left out, see the log: DELETE it first" :
		       "there is a VM with this CID");
		return;
	}
	if (supervisor_is_leaving(s, msg->m.cid)) {
		answer(s, id, SUPERVISE_NOT_NOW, "a VM with this CID is being removed");
		return;
	}
	if (count_added(s) >= ADDED_MAX) {
		answer(s, id, SUPERVISE_NOT_NOW, "4096 VMs have been added, and no more can be");
		return;
	}
	r = add(s, msg, &h, &err);
	if (r) {
		answer(s, id, outcome_of(r), err.text);
		return;
	}
	if (!h || !h->is_served) {
		explain(s, id, h);
		if (h)
			supervisor_drop_vm(s, h);
		return;
	}
	done(s, id);
}

/* Once the engine has removed it, there is nothing left of it. */
static void on_delete(struct supervisor *s, uint64_t cid, uint32_t id)
{
	struct held_vm *h = supervisor_find_any(s, cid);
	struct orders *o = &s->orders;

	if (!h) {
		answer(s, id, SUPERVISE_UNKNOWN, "there is no VM with this CID");
	} else if (s->n_vms == 1) {
		answer(s, id, SUPERVISE_NOT_NOW, "the last VM goes with the daemon alone");
	} else if (o->n_removals == ORDERS_REMOVALS_MAX) {
		answer(s, id, SUPERVISE_TOO_OFTEN, "others are being removed");
	} else {
		log_info("main", "vm %" PRIu64 ": removed (API)", cid);
		supervisor_drop_vm(s, h);
		if (supervisor_is_leaving(s, cid))
			o->removals[o->n_removals++] = (struct removal){ cid, id };
		else
			done(s, id);
	}
}

void supervisor_orders_removed(struct supervisor *s, uint64_t cid)
{
	struct orders *o = &s->orders;

	for (size_t i = 0; i < o->n_removals; i++)
		if (o->removals[i].cid == cid) {
			done(s, o->removals[i].id);
			o->removals[i--] = o->removals[--o->n_removals];
		}
}

/* ---- the rest ---- */

static void on_level(struct supervisor *s, const struct supervise_msg *m)
{
	s->plan->log_level = m->u.order.code;
	log_level = (enum log_level)m->u.order.code;
	log_info("main", "changed: log-level (API)");
	supervisor_tell_settings(s);
	done(s, m->u.order.id);
}

static void on_reload(struct supervisor *s, uint32_t id)
{
	struct config_error err;

	if (!s->plan->config)
		answer(s, id, SUPERVISE_NOT_NOW, "there is no file to read: --config");
	else if (supervisor_read_again(s, &err))
		answer(s, id, SUPERVISE_WRONG, err.text);
	else
		done(s, id);
}

/* What has become of it is said by supervisor_orders_upgraded(). */
static void on_upgrade(struct supervisor *s, struct channel_msg *msg)
{
	const char *why = supervisor_upgrade_obstacle(s);

	if (s->orders.upgrade_id)
		why = upgrading;
	if (why) {
		answer(s, msg->m.u.order.id, SUPERVISE_NOT_NOW, why);
		return;
	}
	s->orders.upgrade_id = msg->m.u.order.id;
	s->orders.upgrade_engine = s->engine;
	s->orders.upgrade_fd = channel_take_fd(msg, 0);
	supervisor_upgrade(s);
}

/* The client's connection has outlived the engine that it was made to, which did not answer. */
void supervisor_orders_upgraded(struct supervisor *s, const char *why_not)
{
	struct supervise_msg m = { .type = SUPERVISE_DONE };
	struct orders *o = &s->orders;
	uint32_t id = o->upgrade_id;

	if (!id)
		return;
	o->upgrade_id = 0;
	if (why_not && s->engine == o->upgrade_engine)
		answer(s, id, SUPERVISE_ERROR, why_not);
	else if (!why_not && s->channel >= 0)
		channel_send_text(s->channel, &m, NULL, 0, &o->upgrade_fd, 1, false);
	closer_close(&o->upgrade_fd);
}

static void on_shutdown(struct supervisor *s, uint32_t id)
{
	done(s, id);
	log_info("main", "ends: the API was asked for it");
	supervisor_end(s, 0);
}

static bool may_order(struct orders *o, uint64_t now_ms)
{
	uint64_t more = (now_ms - o->filled_ms) * PER_SECOND / 1000;

	if (more) {
		o->n_left = more > BURST - o->n_left ? BURST : o->n_left + (uint32_t)more;
		o->filled_ms = now_ms;
	}
	if (!o->n_left)
		return false;
	o->n_left--;
	return true;
}

static void obey(struct supervisor *s, struct channel_msg *msg)
{
	uint32_t id = msg->m.u.order.id;

	switch (msg->m.type) {
	case SUPERVISE_ADD:
		on_add(s, msg);
		break;
	case SUPERVISE_DELETE:
		on_delete(s, msg->m.cid, id);
		break;
	case SUPERVISE_SET_LEVEL:
		on_level(s, &msg->m);
		break;
	case SUPERVISE_UPGRADE:
		on_upgrade(s, msg);
		break;
	case SUPERVISE_RELOAD:
		on_reload(s, id);
		break;
	default:
		on_shutdown(s, id);
		break;
	}
}

bool supervisor_is_order(uint32_t type)
{
	return type >= SUPERVISE_ADD && type <= SUPERVISE_SHUTDOWN;
}

/* While an engine hands over, both are to know of the same VMs and settings; and one that waits
 * for those that are leaving is not to wait for ever. */
int supervisor_on_order(struct supervisor *s, struct channel_msg *msg)
{
	const struct supervise_msg *m = &msg->m;

	if (s->api.fd < 0 || !m->u.order.id ||
	    (m->type == SUPERVISE_SET_LEVEL && m->u.order.code > LEVEL_TRACE))
		return CHANNEL_E_GARBAGE;
	if (s->state != SUPERVISOR_SERVING)
		answer(s, m->u.order.id, SUPERVISE_NOT_NOW, "the daemon begins, or ends");
	else if (!may_order(&s->orders, clock_ms()))
		answer(s, m->u.order.id, SUPERVISE_TOO_OFTEN, "too many orders in a short time");
	else if ((s->is_upgrading || s->wants_upgrade) && m->type != SUPERVISE_SHUTDOWN)
		answer(s, m->u.order.id, SUPERVISE_NOT_NOW, upgrading);
	else
		obey(s, msg);
	return 0;
}

void supervisor_orders_init(struct supervisor *s)
{
	s->orders = (struct orders){ .n_left = BURST, .filled_ms = clock_ms(), .upgrade_fd = -1 };
}

/* Whoever asked for something else than an upgrade has gone with the engine. */
void supervisor_orders_forget(struct supervisor *s)
{
	s->orders.n_removals = 0;
}
