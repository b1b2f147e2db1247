/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Siblings: VMs of this process that reach each other by CID, if they share a
 * group.
 *
 * A sibling connection is two ordinary ones, one in each VM's packet core,
 * joined by two bounded pipes. Each core ends its own guest's credit
 * loop, so neither guest's ring ever waits for the other's, and what a guest
 * can make us hold is its credit and a pipe. The VMs may live on different
 * workers: a connection is shared by its two ends and nothing else; an end belongs to
 * its worker, and tells the other by mail.
 *
 * The directory says who there is. VMs come, go and change their groups while workers look
 * into it, and no worker ever waits: what they see is a generation that never changes. One
 * thread, the writer's, prepares the next one and publishes it; an old one is freed when
 * each worker has been by its mailbox since, where it holds nothing of it any more.
 *
 * A connection that is there stays when groups change: they say who may connect.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "util/loop.h"
#include "util/loop_move.h"
#include "util/mailbox.h"
#include "vsock/backend.h"

struct sibling_dir;
struct sibling_entry;				/* one VM in it */

/* ---- for the writer ---- */

int sibling_dir_new(struct sibling_dir **out);	/* 0 or -ENOMEM; it is empty */

/* After all workers have ended and the last mail was delivered; before the mailboxes go.
 * Entries that are still there are taken out. */
void sibling_dir_free(struct sibling_dir *dir);

/*
 * Changes that nobody sees before sibling_dir_publish(). @groups: sorted, copied. @mailbox:
 * of the VM's worker, lives as long as the directory. Each CID once at a time. 0 or -ENOMEM;
 * *@out is valid until it is removed.
 */
int sibling_dir_add(struct sibling_dir *dir, uint64_t cid, char *const *groups, size_t n_groups,
		    struct mailbox *mailbox, struct sibling_entry **out);
int sibling_dir_set_groups(struct sibling_dir *dir, struct sibling_entry *entry,
			   char *const *groups, size_t n_groups);	/* 0 or -ENOMEM */
void sibling_dir_remove(struct sibling_dir *dir, struct sibling_entry *entry);

/* The VM goes to another worker, that of @mailbox, and with it what is on its way to it: at once,
 * while no worker runs and after all their mail has been delivered. 0; -ENOMEM: it stays. */
int sibling_dir_move(struct sibling_dir *dir, struct sibling_entry *entry,
		     struct mailbox *mailbox);

/* All changes since the last time, at once. 0; -ENOMEM: nobody sees any of them, the next
 * time has them too. */
int sibling_dir_publish(struct sibling_dir *dir);

/* ---- for everybody ---- */

/* May the two reach each other? */
bool sibling_dir_allows(const struct sibling_dir *dir, uint64_t from, uint64_t to);

/* ---- for the VM's own worker, before it runs or in its thread ---- */

struct sibling_config {
	struct sibling_dir *dir;		/* borrowed, like all here but ... */
	struct sibling_entry *self;		/* ... the VM whose guest connects through this;
						   valid at sibling_new() */
	struct loop *loop;
	struct mux *mux;
};

int sibling_new(struct backend **out, const struct sibling_config *config);	/* 0 or -errno */
