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
	REST_LAST = 64,				/* looks without a try, doubled up to that */
	LOOK_LATE_MS = 3 * WATCHDOG_MS,		/* then there was a pause */
	MOVES_MAX = 16,				/* at once */
	/* A connection costs a few microseconds, for which all wait. */
	CONNS_MAX = 1024,
	CONNS_MAX_TURN = 128,			/* for what is undone again soon */
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

/* Mail from one to another, and back, by each of them; all are parked. False: it takes too long. */
static bool deliver_all(struct engine *e, uint64_t until_ms)
{
	bool had_mail, is_parked = true;

	do {
		had_mail = false;
		for (size_t i = 0; i < e->n_workers && is_parked; i++)
			if (worker_ask_to_deliver(e->workers[i])) {
				had_mail = true;
				is_parked = worker_wait_parked(e->workers[i], until_ms);
			}
	} while (had_mail && is_parked);
	return is_parked;
}

bool engine_park_to_move(struct engine *e, uint32_t ms)
{
	uint64_t until_ms = clock_ms() + ms;
	bool is_parked = true, is_watched = false;

	for (size_t i = 0; i < e->n_workers; i++)
		worker_ask_to_park(e->workers[i]);
	for (size_t i = 0; i < e->n_workers && is_parked; i++)
		is_parked = worker_wait_parked(e->workers[i], until_ms);
	if (!is_parked || !deliver_all(e, until_ms))
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
	bool can = vm->device &&
		device_can_move(vm->device, m->is_turn ? CONNS_MAX_TURN : CONNS_MAX);

	if (!can || engine_move(look->e, vm, m->to)) {
		balance_stays(row);
		return false;
	}
	balance_moved(look->rows, look->n, look->e->n_workers, m);
	log_debug("main", "vm %llu goes to worker %zu", (unsigned long long)vm->cid, m->to);
	return true;
}

/* All are parked. Returns how many were moved. */
static unsigned move_all(struct look *look, struct balance_move *m)
{
	unsigned n = 0;

	for (int tries = 0; tries < MOVES_MAX; tries++) {
		bool is_moved = try(look, m);

		n += is_moved;
		if ((is_moved && m->is_turn) ||
		    !balance_choose(look->rows, look->n, look->e->n_workers, m))
			break;
	}
	return n;
}

static void act(struct look *look, struct balance_move *m)
{
	struct engine *e = look->e;
	uint64_t begun_us = clock_us();
	unsigned n = 0;
	bool is_parked;

	if (!snapshots_hold(e->snapshots))
		return;
	is_parked = engine_park_to_move(e, PARK_MS);
	if (is_parked) {
		n = move_all(look, m);
		engine_deliver_mail(e);		/* of threads that had the old address */
	}
	engine_let_go(e);
	snapshots_release(e->snapshots, n);
	e->balance.next_rest = is_parked ? 1 : e->balance.next_rest < REST_LAST ?
		2 * e->balance.next_rest : REST_LAST;
	e->balance.rest = is_parked ? 0 : e->balance.next_rest;
	log_debug("main", "%u VMs have moved, workers were parked for %llu us", n,
		  (unsigned long long)(clock_us() - begun_us));
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
