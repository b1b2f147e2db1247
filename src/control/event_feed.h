/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Events for who wants to know of them only for a while: the clients of the control API. One
 * reader takes them, in its own thread; whoever puts one is a worker, or the main thread, and
 * waits for nobody but another that copies a record.
 *
 * While nobody wants to know, which is one number to be looked at, nothing is prepared and
 * nothing is put. The queue is of fixed size: what does not fit is lost, and counted.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { EVENT_FEED_RECORDS = 1024 };

/* ---- for who tells, from any thread ---- */

bool event_feed_is_wanted(void);
void event_feed_put(const void *record);	/* as large as the reader expects */

/* Events that this process has lost: here, and those of event_feed_note_lost(). */
uint64_t event_feed_count_lost(void);

/* ---- for the reader ---- */

/*
 * From now on events come. @wake is called in the threads of those that put, when there is
 * something and there was nothing; it must not block. 0 or -ENOMEM. event_feed_close(): no
 * more of that from the return on; also when it is not open.
 */
int event_feed_open(size_t record_bytes, void (*wake)(void *ctx), void *ctx);
void event_feed_close(void);

/* Up to @max records in order; and how many were lost before the next one that is put. */
size_t event_feed_take(void *out, size_t max, unsigned *n_lost);

void event_feed_note_lost(unsigned n);		/* for the count: by a client that was slow */
