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
 * The directory says who there is. It is written before the workers start and
 * only read afterwards, except for the one field of an entry that belongs to
 * the entry's own worker.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "util/loop.h"
#include "util/mailbox.h"
#include "vsock/backend.h"

struct sibling_dir;

int sibling_dir_new(struct sibling_dir **out, size_t n_vms);	/* 0 or -ENOMEM */
void sibling_dir_free(struct sibling_dir *dir);	/* after all workers and mailboxes */

/* @groups: sorted, borrowed. @mailbox: of the VM's worker. Each CID once. */
void sibling_dir_add(struct sibling_dir *dir, uint64_t cid, char *const *groups,
		     size_t n_groups, struct mailbox *mailbox);
void sibling_dir_seal(struct sibling_dir *dir);	/* no more is added; before sibling_new() */

/* May the two reach each other? */
bool sibling_dir_allows(const struct sibling_dir *dir, uint64_t from, uint64_t to);

struct sibling_config {
	struct sibling_dir *dir;		/* borrowed, like all here */
	uint64_t cid;				/* the VM whose guest connects through this */
	struct loop *loop;
	struct mux *mux;
};

int sibling_new(struct backend **out, const struct sibling_config *config);	/* 0 or -errno */
