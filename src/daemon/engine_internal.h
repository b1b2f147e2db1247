/* SPDX-License-Identifier: BSD-3-Clause */
/* What the files of the engine share: engine.c (its life), engine_balance.c (who serves whom). */
#pragma once

#include "daemon/engine.h"

size_t engine_find_worker(const struct engine *e, const struct vm *vm);	/* its number */

/* Mail from one worker to another, and back, until there is none. No worker runs. */
void engine_deliver_mail(struct engine *e);

/* The same while all are parked, each in its own thread. False: it takes longer than until then, in
 * milliseconds of clock.h; 0: however long it takes. */
bool engine_deliver_parked(struct engine *e, uint64_t until_ms);

/* ---- engine_balance.c ---- */

/* Parks all workers. False: one has not in time, or somebody is going through its VMs. In any case
 * engine_let_go() is to follow. */
bool engine_park_to_move(struct engine *e, uint32_t ms);
void engine_let_go(struct engine *e);

/* While all are parked: @vm, whose device can move, goes to that worker. 0; -errno: it stays. After
 * the last one mail is to be delivered once more. */
int engine_move(struct engine *e, struct vm *vm, size_t to);
