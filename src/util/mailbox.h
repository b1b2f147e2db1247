/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Mail from any thread to the thread of one loop.
 *
 * A mail is embedded in what it is about, and says only "look at me": it may be
 * posted many times before it is delivered once. Whoever posts must keep it
 * alive until then, by a reference that the delivery gives up. A mailbox lives
 * longer than the threads that post to it.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>

#include "util/loop.h"

struct mailbox;

struct mail {
	void (*deliver)(struct mail *mail);	/* in the mailbox's thread */
	struct mail *next;
	atomic_bool is_posted;
};

int mailbox_new(struct mailbox **out, struct loop *loop);	/* 0 or -errno */

void mailbox_free(struct mailbox *box);		/* it must be empty */

bool mailbox_is_empty(const struct mailbox *box);	/* as of now; from any thread */

/* Delivers in the calling thread, for when no thread runs the loop any more.
 * True if there was any mail. */
bool mailbox_deliver(struct mailbox *box);

/* In the loop's thread, or before there is one: mail waits from now on; until now, and what
 * has come is delivered. */
void mailbox_hold(struct mailbox *box);
void mailbox_release(struct mailbox *box);

/* From any thread, never blocks. True: it will be delivered once more; false: it had been
 * posted, and is not delivered yet. */
bool mailbox_post(struct mailbox *box, struct mail *mail);
