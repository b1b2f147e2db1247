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

#include "protocol/journal.h"
#include "util/blob.h"

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

enum {
	JOURNAL_SLOT = 0,			/* of the journal itself */
	/* The keeper's: a front-end that it has accepted for us. No journal names it. */
	JOURNAL_SLOT_ACCEPTED = JOURNAL_SLOTS_MAX,
};

enum {
	JOURNAL_E_NONE = 1,			/* there is no journal */
	JOURNAL_E_VOID,				/* there is, but nothing could be noted in it */
	JOURNAL_E_STATE,			/* it is no journal, or something of it is missing */
};

const char *journal_str_error(int error);	/* JOURNAL_E_* or -errno, for people */

struct journal_config {
	const struct journal_keeper *keeper;	/* borrowed, as the tag */
	const char *tag;			/* for log lines */
	size_t names_bytes;			/* room for names */
};

struct journal;
struct msghdr;

int journal_new(struct journal **out, const struct journal_config *config);	/* 0 or -ENOMEM */

/* What is kept stays kept: it is the keeper's to forget a device that is gone. */
void journal_free(struct journal *j);

/* For frontend_save() and others to be put in. */
void journal_begin(struct blob *facts);

/* Makes @facts those that hold; they are freed. What cannot be is logged, and all is void. */
void journal_commit(struct journal *j, struct blob *facts);

/* What the facts that hold announce is done. */
void journal_settle(struct journal *j);

/* Room for a session's receipts (session.h); NULL before the first commit. */
struct msghdr *journal_receipt(struct journal *j);

/* Where names of connections are kept; NULL before the first commit. */
void *journal_names(struct journal *j, size_t *size);
/* True once for names that are all zeroes still: who only reads them makes memory of that. */
bool journal_take_new_names(struct journal *j);

/* What another process has left. */
struct journal_facts {
	struct blob_reader in;
	bool is_settled;
	uint64_t state;				/* of the journal, when they were read */

	void *bytes;				/* owned; the rest is journal.c's */
	struct blob_fds fds;
	uint32_t *slots;			/* of these */
};

/*
 * Goes on with the journal that is among @kept, whose descriptors it takes out, and says
 * what it holds; those that it does not name are dropped. Before the first commit. 0, and
 * journal_loaded() is due; JOURNAL_E_*, -errno: all are dropped, and a new one will be made.
 */
int journal_load(struct journal *j, struct journal_kept *kept, size_t n,
		 struct journal_facts *out);

/* Whoever has left it may have written to it still while it was loaded: nothing has been noted
 * since, so @facts are whole, and hold. */
bool journal_is_current(const struct journal *j, const struct journal_facts *facts);

/* What has not been taken out of @facts is dropped. */
void journal_loaded(struct journal *j, struct journal_facts *facts);

/* As if none had been loaded. What was taken out of its facts has to be closed. */
void journal_forget(struct journal *j);

/* There are no names: the guest whose they were is gone. */
void journal_clear_names(struct journal *j);
