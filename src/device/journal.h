/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The journal of one device: what the process that comes after a crash of this one needs to
 * go on with the same front-end (protocol/journal.h has the layout).
 *
 * It is a piece of memory that outlives us, since somebody else, the keeper, has a duplicate
 * of its descriptor, and of each descriptor that it names. A commit writes all facts anew
 * beside those that hold, and one store makes them hold; at any moment a crash leaves one
 * whole set of facts whose descriptors are all kept. Between two commits lies at most one
 * step at the front-end's socket, and whether it was made can be seen afterwards (session.h).
 *
 * A descriptor has a slot, the number under which it is kept, from the first commit that
 * names it to the first that does not. Descriptors are told apart by their numbers, so one
 * that was named must not be closed, and its number used for another, without a commit in
 * between that names neither.
 *
 * Facts that cannot be committed (no memory, the keeper takes no more) are void: the device
 * goes on, and a crash ends it. The next front-end is journalled again.
 *
 * Whoever is after a crash trusts none of it: it was written by a process that may have been
 * taken over.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Keeps descriptors, and outlives us. Called in the device's thread. */
struct journal_keeper {
	/* Keeps a duplicate of @fd under the number @slot, in place of what it has there. 0,
	 * and it is kept whatever becomes of us; -errno. May block as long as the keeper
	 * takes. Slot 0 is the journal itself. */
	int (*keep)(void *ctx, uint32_t slot, int fd);
	void (*drop)(void *ctx, uint32_t slot);
	void *ctx;
};

/* What was kept for the one that comes after us. */
struct journal_kept {
	uint32_t slot;
	int fd;
};

enum { JOURNAL_SLOT = 0 };			/* of the journal itself */
