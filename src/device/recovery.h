/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What makes a device outlive a crash of the process: it commits the device's facts to a
 * journal, and has a device that takes another's place go on with what that has left.
 *
 * Connections do not outlive it. The names of all that the guest may believe in are kept
 * beside the facts; the next process has the guest hear of the end of each. Where they are
 * not all there, the guest is told that everything is void.
 */
#pragma once

#include "device/frontend.h"
#include "device/guest_events.h"
#include "device/journal.h"
#include "vsock/mux.h"

struct recovery_config {
	const struct journal_keeper *keeper;	/* NULL: there is no journal, and no cost */
	const struct journal_kept *kept;	/* NULL: it takes nobody's place */
	size_t n_kept;
	uint32_t max_connections;
	const char *tag;
	struct loop *loop;
	struct frontend *frontend;		/* borrowed, as all of these; it waits if kept */
	struct guest_events *events;
	struct mux *mux;
	/* The front-end is what it was: connections that came along may go on. */
	void (*begun)(void *ctx);
	void *ctx;
};

struct recovery {
	struct recovery_config config;
	struct journal *journal;		/* NULL: none */
	struct journal_kept *kept;		/* owned, with the descriptors, until it has begun */
	size_t n_kept;
	int accepted_fd;			/* owned, likewise: by the keeper, for us; or -1 */
	struct journal_facts facts;		/* loaded, until it has begun */
	struct loop_work work;			/* to begin */
	bool is_loaded;				/* with this outcome: */
	int outcome;				/* 0, JOURNAL_E_*, -errno */
	bool is_reset_pending, had_names;	/* by the facts */
	bool is_loading;
	bool has_come;				/* a front-end, while loading */
	bool has_names;				/* the mux keeps names in the journal */
	bool is_idle;				/* there is nobody to go on with */
	bool reset_noted;			/* guest_events::reset_pending, as committed */
};

/* The descriptors in @config->kept are taken over in any case. 0 or -ENOMEM. */
int recovery_init(struct recovery *r, const struct recovery_config *config);
void recovery_move(struct recovery *r, struct loop_move *m);	/* one that is not due */
void recovery_deinit(struct recovery *r);	/* also after a failed or no init */

/* It takes somebody's place, and has not begun yet. */
bool recovery_is_due(const struct recovery *r);

/*
 * Loads what it will begin with, without an effect on anybody; it does so itself if this is
 * not called. In any thread, while the loop does not run. 0, also where there is nothing;
 * JOURNAL_E_*, -errno: the front-end would be lost. Once: whoever calls it while the other
 * process still runs has to ask recovery_is_current() when that has stopped. False: it has to be
 * made anew, with what is kept by then.
 */
int recovery_load(struct recovery *r);
bool recovery_is_current(const struct recovery *r);

/* Closes what was kept for a device that cannot be made. */
void recovery_close_kept(const struct journal_kept *kept, size_t n);

void recovery_commit(struct recovery *r);
void recovery_settle(struct recovery *r);
struct msghdr *recovery_receipt(struct recovery *r);	/* NULL: there is no place for it */

/* The outcome of address.accept(); the keeper has it under JOURNAL_SLOT_ACCEPTED, and drops it. */
void recovery_accepted(struct recovery *r, int outcome, int fd);

/* A front-end has come, or was there: connections have names. */
void recovery_on_came(struct recovery *r);

/* Before anything of a turn shows in the rings; and after it. */
void recovery_begin_turn(struct recovery *r);
void recovery_end_turn(struct recovery *r);
