/* SPDX-License-Identifier: BSD-3-Clause */
/* Which VM is to go to another worker. */
#include "daemon/balance.h"

#include <errno.h>
#include <stdlib.h>

enum {
	SMOOTH = 16,				/* of what was used, the last look is that part */
	FADE = 16,				/* what was given counts less by that part with each look */
	GAIN = 11,				/* tenths: what is worth a move */
	REST_MOVED = 2,				/* looks, before who has moved moves again */
};

struct share {					/* of a worker */
	uint32_t used;				/* by all of its VMs */
	uint32_t light;				/* by those that have all that they want */
	uint32_t n_busy;			/* the others: which use ... */
	uint32_t least;				/* ... this, or more */
	uint32_t got;				/* by that of them which has had least of late */
};

void balance_look(struct balance_vm *vm, uint64_t elapsed_us)
{
	uint32_t busy_us = atomic_load_explicit(&vm->busy_us, memory_order_relaxed);
	uint64_t used = elapsed_us ? (uint64_t)(busy_us - vm->seen_us) * BALANCE_FULL / elapsed_us : 0;

	used = used < BALANCE_FULL ? used : BALANCE_FULL;
	if (vm->used && elapsed_us)
		used = (used + (SMOOTH - 1) * vm->used) / SMOOTH;
	vm->seen_us = busy_us;
	vm->used = (uint16_t)used;
	vm->got = elapsed_us ? vm->got - vm->got / FADE : 0;
	if (vm->rest)
		vm->rest--;
}

static bool is_busy(const struct balance_row *row, const struct share *shares)
{
	return row->vm->used >= shares[row->worker].least;
}

/* What each of its busy VMs uses, on average. */
static uint32_t use(const struct share *s)
{
	return s->n_busy ? (s->used - s->light) / s->n_busy : 0;
}

/* What each of @n_busy VMs would get of the worker. */
static uint32_t part(const struct share *s, uint32_t n_busy)
{
	uint32_t rest = s->light < BALANCE_FULL ? BALANCE_FULL - s->light : 0;

	return n_busy ? rest / n_busy : rest;
}

static void count(struct share *shares, size_t n_workers, const struct balance_row *rows, size_t n)
{
	for (size_t i = 0; i < n_workers; i++)
		shares[i] = (struct share){ .least = shares[i].least, .got = UINT32_MAX };
	for (const struct balance_row *row = rows; row < rows + n; row++) {
		struct share *s = &shares[row->worker];

		s->used += row->vm->used;
		if (!is_busy(row, shares)) {
			s->light += row->vm->used;
			continue;
		}
		s->n_busy++;
		if (row->vm->got < s->got)
			s->got = row->vm->got;
	}
}

/* Who uses much less than each of the busy does on average does not want more; and the others use the
 * more. False: they are the same as before. */
static bool raise_least(struct share *shares, size_t n_workers)
{
	bool is_more = false;

	for (struct share *s = shares; s < shares + n_workers; s++) {
		uint32_t least = use(s) * 2 / 3;

		is_more |= least > s->least;
		if (least > s->least)
			s->least = least;
	}
	return is_more;
}

static void add_up(struct share *shares, size_t n_workers, const struct balance_row *rows, size_t n)
{
	do
		count(shares, n_workers, rows, n);
	while (raise_least(shares, n_workers));
}

/* NULL: no memory. To be freed. */
static struct share *add_up_all(const struct balance_row *rows, size_t n, size_t n_workers)
{
	struct share *shares = calloc(n_workers, sizeof *shares);

	if (shares)
		add_up(shares, n_workers, rows, n);
	return shares;
}

int balance_share_out(const struct balance_row *rows, size_t n, size_t n_workers,
		      unsigned n_looks)
{
	struct share *shares = add_up_all(rows, n, n_workers);

	if (!shares)
		return -ENOMEM;
	for (const struct balance_row *row = rows; row < rows + n; row++) {
		const struct share *s = &shares[row->worker];

		row->vm->got += n_looks * (is_busy(row, shares) ? part(s, s->n_busy) :
					   row->vm->used);
	}
	free(shares);
	return 0;
}

static bool is_worth(uint32_t more, uint32_t less)
{
	return more * 10 >= less * GAIN;
}

/* It is busy, as others of its worker are, which may keep them waiting. */
static bool is_crowded(const struct balance_row *row, const struct share *shares)
{
	const struct share *s = &shares[row->worker];

	return is_busy(row, shares) && s->n_busy > 1 && s->used >= BALANCE_SATURATED;
}

/* The worker where another busy VM would get most. */
static size_t best_for_one_more(const struct share *shares, size_t n)
{
	size_t best = 0;

	for (size_t i = 1; i < n; i++)
		if (part(&shares[i], shares[i].n_busy + 1) >
		    part(&shares[best], shares[best].n_busy + 1))
			best = i;
	return best;
}

/* A VM of the fullest worker that can be moved: it goes where it gets more. */
static bool choose_better(const struct balance_row *rows, size_t n, const struct share *shares,
			  size_t n_workers, struct balance_move *out)
{
	size_t to = best_for_one_more(shares, n_workers);
	uint32_t there = part(&shares[to], shares[to].n_busy + 1), least = UINT32_MAX;

	for (size_t i = 0; i < n; i++) {
		const struct share *s = &shares[rows[i].worker];
		uint32_t here = part(s, s->n_busy);

		if (rows[i].worker == to || rows[i].vm->rest || !is_crowded(&rows[i], shares) ||
		    !is_worth(there, here) || here >= least)
			continue;
		least = here;
		*out = (struct balance_move){ .row = i, .to = to };
	}
	return least != UINT32_MAX;
}

/* Of the workers where each gets more than at @from, and uses it, and gets as much when there is one
 * more, that whose VMs have had most of late: it is its turn to have one more. NULL: there is none. */
static const struct share *find_richer(const struct share *shares, size_t n_workers,
				       const struct share *from)
{
	uint32_t here = part(from, from->n_busy);
	const struct share *richest = NULL;

	for (const struct share *s = shares; s < shares + n_workers; s++)
		if (is_worth(part(s, s->n_busy), here) && is_worth(use(s), use(from)) &&
		    !is_worth(here, part(s, s->n_busy + 1)) &&
		    (!richest || s->got > richest->got))
			richest = s;
	return richest;
}

/* The VM that has had least of late, where it gets less than others do. */
static const struct balance_row *find_poorest(const struct balance_row *rows, size_t n,
					      const struct share *shares, size_t n_workers)
{
	const struct balance_row *poorest = NULL;

	for (const struct balance_row *row = rows; row < rows + n; row++) {
		const struct share *s = &shares[row->worker];

		if (is_crowded(row, shares) && (!poorest || row->vm->got < poorest->vm->got) &&
		    find_richer(shares, n_workers, s))
			poorest = row;
	}
	return poorest;
}

/* Who shares a worker with the poorest VM, and has had most, makes room. */
static bool choose_turn(const struct balance_row *rows, size_t n, const struct share *shares,
			size_t n_workers, struct balance_move *out)
{
	const struct balance_row *poorest = find_poorest(rows, n, shares, n_workers);
	const struct balance_row *leaves = NULL;

	for (size_t i = 0; poorest && i < n; i++) {
		const struct balance_row *row = &rows[i];

		if (row == poorest || row->worker != poorest->worker || row->vm->rest ||
		    !is_busy(row, shares) || (leaves && row->vm->got <= leaves->vm->got))
			continue;
		leaves = row;
		*out = (struct balance_move){ .row = i, .is_turn = true };
	}
	if (leaves)
		out->to = (size_t)(find_richer(shares, n_workers, &shares[leaves->worker]) - shares);
	return leaves;
}

bool balance_choose(const struct balance_row *rows, size_t n, size_t n_workers,
		    struct balance_move *out)
{
	struct share *shares = add_up_all(rows, n, n_workers);
	bool is_chosen;

	if (!shares)
		return false;
	is_chosen = choose_better(rows, n, shares, n_workers, out) ||
		choose_turn(rows, n, shares, n_workers, out);
	free(shares);
	return is_chosen;
}

/* Each of them, and one, uses what is left to it: it will be seen whether it does. */
static void expect(const struct balance_row *rows, size_t n, struct share *shares, size_t worker,
		   uint32_t n_busy)
{
	for (const struct balance_row *row = rows; row < rows + n; row++)
		if (row->worker == worker && is_busy(row, shares))
			row->vm->used = (uint16_t)part(&shares[worker], n_busy);
}

void balance_moved(struct balance_row *rows, size_t n, size_t n_workers,
		   const struct balance_move *m)
{
	struct share *shares = add_up_all(rows, n, n_workers);
	struct balance_row *row = &rows[m->row];

	if (shares) {
		expect(rows, n, shares, row->worker, shares[row->worker].n_busy - 1);
		expect(rows, n, shares, m->to, shares[m->to].n_busy + 1);
		row->vm->used = (uint16_t)part(&shares[m->to], shares[m->to].n_busy + 1);
	}
	row->worker = m->to;
	row->vm->rest = REST_MOVED;
	free(shares);
}

void balance_stays(struct balance_row *row)
{
	row->vm->rest = BALANCE_REST;
}
