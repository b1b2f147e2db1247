/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A guest that changes its memory between our check and our use: a field has one
 * value or the other while we read it, again and again. Whatever is accepted must be
 * one of the two and have passed its check.
 *
 *	FLIP_STEPPED	nothing is left to chance: the page is closed, each access to it
 *			traps, and after the first, the second, the third ... the field
 *			changes, once from good to bad and once back. A second reading of
 *			it is found whenever there is one. It takes an x86-64.
 *	FLIP_RACING	another process writes as fast as it can, as in life; finds
 *			what it finds, anywhere.
 *
 *	flip_begin(&f);
 *	do
 *		is_good = ...read, and check what was accepted...;
 *	while (flip_goes_on(&f, is_good));
 *	flip_end(&f);
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

enum flip_way { FLIP_STEPPED, FLIP_RACING };

struct flip {
	enum flip_way way;
	volatile uint32_t *field;		/* in shared memory, where the guest sees it, */
	const volatile void *read_at;		/* ... and where we do, in another mapping */
	uint32_t good, bad;

	unsigned after;				/* stepped: so many accesses it changes, */
	bool to_good;				/* ... and how */
	bool was_good;				/* racing: the last reading */
	unsigned rounds, changes;
	time_t until;				/* monotonic seconds */
	pid_t guest;
};

/* Stepping is for x86-64. */
bool flip_can_step(void);

void flip_begin(struct flip *f);
/* After each reading, which found the good value or not. */
bool flip_goes_on(struct flip *f, bool is_good);
/* Asserts that the field did change while it was read (stepped). */
void flip_end(struct flip *f);
