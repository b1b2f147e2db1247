/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Records on their way to somebody who may be slow, or never come back: a queue of fixed
 * size, and a thread that writes them. Whoever puts a record never waits for that thread.
 *
 * A record is taken whole or not at all. One that does not fit, or fails to be written, is
 * lost and counted, and the next that gets through has a note in front of it that says how
 * many were. So a reader knows of each gap, and where it is.
 *
 * While there is no thread, the caller writes; or, where a write might block, records wait
 * until there is one. From any thread; no malloc, and no lock is held during a system call but
 * futex and those of write().
 */
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct spool;

enum {
	SPOOL_NOTE_MAX = 256,			/* bytes */
	SPOOL_BATCH_MAX = 128,			/* records */
};

struct spool_record {
	const void *bytes;
	size_t len;
};

struct spool_ops {
	const char *name;			/* of the thread, up to 15 bytes */
	unsigned gather_ms;			/* it lets more come before it begins to write: who
						   puts many wakes it less often */
	unsigned batch;				/* most records that it writes at a time */

	/* Writes @n records in their order. Returns how many of them are lost. One call at a
	 * time, in the spool's thread, or in that of the caller. May block; must not put. */
	unsigned (*write)(struct spool *s, const struct spool_record *records, unsigned n);

	/* Makes the record that says that @n_lost were lost. Returns its length. */
	size_t (*make_note)(struct spool *s, char note[SPOOL_NOTE_MAX], unsigned n_lost);
};

struct spool {
	const struct spool_ops *ops;
	size_t *queue;				/* records in one piece each, after their length */
	size_t size, first, used;		/* of the queue, in size_t; circular */
	pthread_mutex_t lock;			/* the thread writes without it */
	pthread_cond_t changed, ending;
	bool has_thread, ends;
	bool waits;				/* records, for a thread */
	unsigned n_lost;			/* records, since it was last noted */
	uint64_t n_lost_ever;
};

/* @queue_: an array of size_t, as large as what may wait; it stays with the spool. */
#define SPOOL_INIT(ops_, queue_) {						\
	.ops = (ops_), .queue = (queue_), .size = sizeof (queue_) / sizeof *(queue_), \
	.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER,	\
	.ending = PTHREAD_COND_INITIALIZER,					\
}

/* False: it is lost, and counted. Without a thread that is as write() says. */
bool spool_put(struct spool *s, const void *record, size_t len);

uint64_t spool_count_lost(struct spool *s);	/* records, since the beginning */

/* Before the first is put: callers never write. */
void spool_set_waits(struct spool *s, bool waits);

/* From now on a thread writes. 0, or -errno: the callers go on writing, or records to wait. */
int spool_start(struct spool *s);

/*
 * Writes what is queued, by a thread if there is none; the callers write again, or records
 * wait. False: that takes more than @wait_ms, and the thread goes on; the spool and what its
 * write() needs must stay. Or there is no thread to be had.
 */
bool spool_stop(struct spool *s, int wait_ms);
