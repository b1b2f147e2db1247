/* SPDX-License-Identifier: BSD-3-Clause */
/* Which worker serves which VM, while all are busy. */
#include <stdlib.h>

#include "backend/sibling.h"
#include "control/snapshots.h"
#include "daemon/balance.h"
#include "daemon/engine_internal.h"
#include "daemon/vm.h"
#include "device/worker.h"
#include "util/clock.h"
#include "util/list.h"
#include "util/log.h"
#include "util/watchdog.h"

enum {
	PARK_MS = 20,				/* longer, and it is not worth it */
	MOVES_MS = 5,				/* all are parked for, until the last one begins */
	REST_PARTS = 25,			/* for each part of the time that all are parked */
	REST_MAX = 64,				/* looks without a try */
	VAIN_MAX = 6,				/* is counted, so that the rest is not doubled further */
	LOOK_LATE_MS = 3 * WATCHDOG_MS,		/* then there was a pause */
	CONNS_MAX = 512,			/* of a VM: each costs a few microseconds */
};

struct look {
	struct engine *e;
	struct balance_row *rows;		/* owned */
	size_t n;
};

/* In the last @elapsed_us, has any worker been busy nearly all the time? */
static bool is_any_saturated(struct engine *e, uint64_t elapsed_us)
{
	bool is_any = false;

	for (size_t i = 0; i < e->n_workers; i++) {
		uint32_t busy_us = worker_busy_us(e->workers[i]);
		uint64_t used_us = busy_us - e->placed[i].seen_us;

		e->placed[i].seen_us = busy_us;
		is_any |= used_us * BALANCE_FULL >= elapsed_us * BALANCE_SATURATED;
	}
	return is_any;
}

/* 0 or -ENOMEM. */
static int look_at_vms(struct look *look, struct vm *(*vm)(size_t i), size_t n_vms,
		       uint64_t elapsed_us)
{
	look->rows = calloc(n_vms + 1, sizeof *look->rows);
	if (!look->rows)
		return -ENOMEM;
	for (size_t i = 0; i < n_vms; i++) {
		struct vm *v = vm(i);

		balance_look(&v->balance, elapsed_us);
		if (v->balance.used >= BALANCE_LEAST)
			look->rows[look->n++] = (struct balance_row){
				.vm = &v->balance, .worker = engine_find_worker(look->e, v),
			};
	}
	return 0;
}

bool engine_park_to_move(struct engine *e, uint32_t ms)
{
	uint64_t until_ms = clock_ms() + ms;
	bool is_parked = true, is_watched = false;

	for (size_t i = 0; i < e->n_workers; i++)
		worker_ask_to_park(e->workers[i]);
	for (size_t i = 0; i < e->n_workers && is_parked; i++)
		is_parked = worker_wait_parked(e->workers[i], until_ms);
	if (!is_parked || !engine_deliver_parked(e, until_ms))
		return false;
	for (size_t i = 0; i < e->n_workers; i++)
		is_watched |= worker_is_watched(e->workers[i]);
	return !is_watched;
}

int engine_move(struct engine *e, struct vm *vm, size_t to)
{
	struct worker *from = vm->worker, *worker = e->workers[to];
	int r = sibling_dir_move(e->siblings, vm->sibling, worker_mailbox(worker));

	if (r)
		return r;
	r = worker_move_device(from, worker, vm->device);
	if (r) {
		sibling_dir_move(e->siblings, vm->sibling, worker_mailbox(from));
		return r;
	}
	e->placed[engine_find_worker(e, vm)].n_vms--;
	e->placed[to].n_vms++;
	vm->worker = worker;
	return 0;
}

void engine_let_go(struct engine *e)
{
	for (size_t i = 0; i < e->n_workers; i++)
		worker_go_on(e->workers[i]);
}

/* One that cannot be moved now is left alone for a while. True: it has been moved. */
static bool try(struct look *look, const struct balance_move *m)
{
	struct balance_row *row = &look->rows[m->row];
	struct vm *vm = container_of(row->vm, struct vm, balance);

	if (!vm->device || !device_can_move(vm->device, CONNS_MAX) ||
	    engine_move(look->e, vm, m->to)) {
		balance_stays(row);
		return false;
	}
	balance_moved(look->rows, look->n, look->e->n_workers, m);
	log_debug("main", "vm %llu goes to worker %zu", (unsigned long long)vm->cid, m->to);
	return true;
}

/* All are parked. Returns how many were moved. */
static unsigned move_all(struct look *look, struct balance_move *m, uint64_t begun_us)
{
	bool is_moved;
	unsigned n = 0;

	do {
		is_moved = try(look, m);
		n += is_moved;
	} while (!(is_moved && m->is_turn) && clock_us() - begun_us < MOVES_MS * 1000 &&
		 balance_choose(look->rows, look->n, look->e->n_workers, m));
	return n;
}

/* So that no more than one in REST_PARTS of the time is spent so; and the longer, the more often it
 * has been in vain. */
static unsigned rest_after(uint64_t parked_us, unsigned n_vain)
{
	uint64_t rest = (parked_us * REST_PARTS / (WATCHDOG_MS * 1000) + (n_vain > 0)) << n_vain;

	return rest < REST_MAX ? (unsigned)rest : REST_MAX;
}

static void act(struct look *look, struct balance_move *m)
{
	struct engine *e = look->e;
	uint64_t begun_us = clock_us(), parked_us;
	unsigned n = 0;
	bool is_parked;

	if (!snapshots_hold(e->snapshots))
		return;
	is_parked = engine_park_to_move(e, PARK_MS);
	if (is_parked) {
		n = move_all(look, m, begun_us);
		engine_deliver_mail(e);		/* of threads that had the old address */
	}
	engine_let_go(e);
	parked_us = clock_us() - begun_us;
	snapshots_release(e->snapshots, n);
	if (is_parked)
		e->balance.n_vain = 0;
	else if (e->balance.n_vain < VAIN_MAX)
		e->balance.n_vain++;
	e->balance.rest = rest_after(parked_us, e->balance.n_vain);
	log_debug("main", "%u VMs have moved, workers were parked for %llu us", n,
		  (unsigned long long)parked_us);
}

/* A worker that is found busy has been so for a while. */
static unsigned looks_since(unsigned n_looks)
{
	return n_looks == 1 ? 2 : 1;
}

void engine_balance(struct engine *e, struct vm *(*vm)(size_t i), size_t n_vms)
{
	uint64_t now_us = clock_us(), elapsed_us = now_us - e->balance.looked_us;
	bool is_pause = elapsed_us > LOOK_LATE_MS * 1000;
	struct look look = { .e = e };
	struct balance_move m;
	int r;

	e->balance.looked_us = now_us;
	if (e->n_workers == 1 || !is_any_saturated(e, elapsed_us) || is_pause) {
		e->balance.n_looks = 0;
		return;
	}
	e->balance.rest -= e->balance.rest > 0;
	r = look_at_vms(&look, vm, n_vms, e->balance.n_looks ? elapsed_us : 0);
	if (!r)
		r = balance_share_out(look.rows, look.n, e->n_workers, looks_since(e->balance.n_looks));
	e->balance.n_looks++;
	if (!r && !e->balance.rest && balance_choose(look.rows, look.n, e->n_workers, &m))
		act(&look, &m);
	free(look.rows);
}
