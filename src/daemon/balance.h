/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which VM is to go to another worker, so that all that are busy get the same.
 *
 * A worker gives each of its busy VMs a turn after the other: who shares it with fewer gets more. How
 * many are busy is not known when a VM comes, and changes. So, while a worker is busy nearly all the
 * time, the workers are looked at every now and then:
 *
 * - A busy VM goes where it gets more than where it is: from five on one worker to none on another.
 * - Where the number does not divide, as eight on three workers, the places where there is more
 *   for each, and more is used, go round: the VMs that have had least of late stay, and another of
 *   theirs goes to the worker with fewer, whose turn it is to have one more.
 *
 * What a VM uses is the time of its turns, on average of a second and a half: who is busy now and
 * then counts for what that comes to, or it would be followed about. Those that use little have all
 * that they want: they are not moved, and what they use is not there to be shared. What the others
 * are given follows from how many they are, and not from what they used of it: who waits for a CPU
 * in the middle of a turn uses time, too. For the same reason a worker that waits for CPUs may be
 * saturated though its turns leave a third of the time free. Where those that share with more use as
 * much as others do, nobody lacks anything, and nothing goes round. Pure: numbers in, a move out.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	BALANCE_FULL = 10000,			/* all the time of one worker */
	BALANCE_SATURATED = 6000,		/* from here on somebody may be waiting */
	BALANCE_LEAST = BALANCE_FULL / 100,	/* who uses less is not looked at */
	BALANCE_REST = 16,			/* looks, for which a VM that cannot be moved is left alone */
};

struct balance_vm {				/* embedded in a VM; all zeroes at first */
	_Atomic uint32_t busy_us;		/* in turns so far, modulo 2^32: its worker's */
	uint32_t seen_us;			/* of that, at the last look */
	uint32_t got;				/* what it was given of late: a sum that fades */
	uint16_t used;				/* of BALANCE_FULL, in the last few looks */
	uint16_t rest;				/* looks to come for which it is not to be moved */
};

/* A look at a VM, @elapsed_us after the last one; 0: there was none just before, and nothing is
 * known. */
void balance_look(struct balance_vm *vm, uint64_t elapsed_us);

struct balance_row {
	struct balance_vm *vm;
	size_t worker;				/* whose it is */
};

struct balance_move {
	size_t row, to;				/* which of the rows goes to which worker */
	bool is_turn;				/* so that others get more for a while: one for each look */
};

/* Once all have been looked at, @rows being those that use BALANCE_LEAST or more: to each what its
 * worker gives to each of its busy VMs, as it has for @n_looks. 0 or -ENOMEM. */
int balance_share_out(const struct balance_row *rows, size_t n, size_t n_workers,
		      unsigned n_looks);

/* After that, and again after each move. False: it is as fair as can be; or no memory. */
bool balance_choose(const struct balance_row *rows, size_t n, size_t n_workers,
		    struct balance_move *out);

/* That has been done, and others use more or less from now on. Or it cannot be done: not for
 * BALANCE_REST looks. */
void balance_moved(struct balance_row *rows, size_t n, size_t n_workers,
		   const struct balance_move *m);
void balance_stays(struct balance_row *row);
