/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The queue, and the thread that empties it. Records are written from where they stand in
 * the queue, and leave it afterwards. So each has to be in one piece: one that does not fit
 * before the end of the array begins at its start, and what is left there is skipped.
 */
#include "util/spool.h"

#include <assert.h>
#include <string.h>

#include "util/clock.h"

#define SKIP_TO_START	SIZE_MAX		/* in place of a length */

/* What a record takes of the queue, with its length. */
static size_t units_of(size_t len)
{
	return 1 + len / sizeof(size_t) + (len % sizeof(size_t) != 0);
}

/* False: there is no room for it. */
static bool append(struct spool *s, const void *record, size_t len)
{
	size_t n = units_of(len), at = (s->first + s->used) % s->size;
	size_t skipped = n > s->size - at ? s->size - at : 0;

	if (skipped + n > s->size - s->used)
		return false;
	if (skipped) {
		s->queue[at] = SKIP_TO_START;
		at = 0;
	}
	s->queue[at] = len;
	memcpy(&s->queue[at + 1], record, len);
	s->used += skipped + n;
	return true;
}

static void remove_first(struct spool *s, size_t n)
{
	s->used -= n;
	s->first = s->used ? (s->first + n) % s->size : 0;
}

static void count_lost(struct spool *s, unsigned n)
{
	s->n_lost += n;
	s->n_lost_ever += n;
}

/* Lists the first records, as many as may be written at a time. Returns how much of the queue
 * they take, with what is skipped between them. */
static size_t list_first(const struct spool *s, struct spool_record *records, unsigned *n)
{
	size_t used = 0;

	for (*n = 0; *n < s->ops->batch && used < s->used; ) {
		const size_t *at = &s->queue[(s->first + used) % s->size];

		if (*at == SKIP_TO_START) {
			used += s->size - (s->first + used) % s->size;
			continue;
		}
		records[(*n)++] = (struct spool_record){ at + 1, *at };
		used += units_of(*at);
	}
	return used;
}

/* There are some; without the lock meanwhile. */
static void write_first(struct spool *s)
{
	struct spool_record records[SPOOL_BATCH_MAX];
	unsigned n, n_lost;
	size_t used;

	assert(s->ops->batch && s->ops->batch <= SPOOL_BATCH_MAX);
	used = list_first(s, records, &n);
	pthread_mutex_unlock(&s->lock);
	n_lost = s->ops->write(s, records, n);
	pthread_mutex_lock(&s->lock);
	count_lost(s, n_lost);
	remove_first(s, used);
}

/* There was nothing, and now there is. */
static void gather(struct spool *s)
{
	const struct timespec until = clock_timespec(clock_ms() + s->ops->gather_ms);
	int r = s->ops->gather_ms ? 0 : ETIMEDOUT;

	while (!s->ends && r == 0)
		r = pthread_cond_clockwait(&s->ending, &s->lock, CLOCK_MONOTONIC, &until);
}

/* Until the end. */
static void write_all(struct spool *s)
{
	pthread_mutex_lock(&s->lock);
	while (s->used || !s->ends) {
		if (s->used) {
			write_first(s);
		} else {
			pthread_cond_wait(&s->changed, &s->lock);
			gather(s);
		}
	}
	s->has_thread = false;
	pthread_cond_broadcast(&s->changed);
	pthread_mutex_unlock(&s->lock);
}

static void *run(void *arg)
{
	struct spool *s = arg;

	pthread_setname_np(pthread_self(), s->ops->name);
	write_all(s);
	return NULL;
}

/* Has the spool a thread? If so, it goes on with it. */
static bool resume(struct spool *s)
{
	bool had_thread;

	pthread_mutex_lock(&s->lock);
	had_thread = s->has_thread;
	s->has_thread = true;
	s->ends = false;
	pthread_mutex_unlock(&s->lock);
	return had_thread;
}

static void end(struct spool *s)
{
	pthread_mutex_lock(&s->lock);
	s->ends = true;
	pthread_cond_broadcast(&s->changed);
	pthread_cond_broadcast(&s->ending);
	pthread_mutex_unlock(&s->lock);
}

/* There is no thread to be had: what others have put since is written here, or waits. */
static void give_up(struct spool *s)
{
	end(s);
	if (!s->waits) {
		write_all(s);
		return;
	}
	pthread_mutex_lock(&s->lock);
	s->has_thread = false;
	pthread_mutex_unlock(&s->lock);
}

void spool_set_waits(struct spool *s, bool waits)
{
	s->waits = waits;
}

int spool_start(struct spool *s)
{
	pthread_t thread;
	int r;

	if (resume(s))
		return 0;
	r = pthread_create(&thread, NULL, run, s);
	if (r) {
		give_up(s);
		return -r;
	}
	pthread_detach(thread);			/* it may never come out of a write() */
	return 0;
}

/* Something waits for a thread. */
static bool lacks_thread(struct spool *s)
{
	bool lacks;

	pthread_mutex_lock(&s->lock);
	lacks = s->waits && s->used && !s->has_thread;
	pthread_mutex_unlock(&s->lock);
	return lacks;
}

bool spool_stop(struct spool *s, int wait_ms)
{
	const struct timespec until = clock_timespec(clock_ms() + (unsigned)wait_ms);
	int r = 0;

	if (lacks_thread(s) && spool_start(s) != 0)
		return false;
	end(s);
	pthread_mutex_lock(&s->lock);
	while (s->has_thread && r == 0)
		r = pthread_cond_clockwait(&s->changed, &s->lock, CLOCK_MONOTONIC, &until);
	r = s->has_thread;
	pthread_mutex_unlock(&s->lock);
	return r == 0;
}

static size_t make_note(struct spool *s, char note[SPOOL_NOTE_MAX])
{
	return s->ops->make_note(s, note, s->n_lost);
}

/* With the note, if one is due; both or neither. */
static bool enqueue(struct spool *s, const void *record, size_t len)
{
	char note[SPOOL_NOTE_MAX];
	size_t used = s->used;

	if (s->n_lost && !append(s, note, make_note(s, note)))
		return false;
	if (!append(s, record, len)) {
		s->used = used;
		return false;
	}
	s->n_lost = 0;
	pthread_cond_broadcast(&s->changed);
	return true;
}

static bool write_one(struct spool *s, const void *record, size_t len)
{
	return s->ops->write(s, &(struct spool_record){ record, len }, 1) == 0;
}

static bool write_now(struct spool *s, const void *record, size_t len)
{
	char note[SPOOL_NOTE_MAX];

	if (s->n_lost && !write_one(s, note, make_note(s, note)))
		return false;
	s->n_lost = 0;
	return write_one(s, record, len);
}

bool spool_put(struct spool *s, const void *record, size_t len)
{
	bool is_taken;

	pthread_mutex_lock(&s->lock);
	is_taken = s->has_thread || s->waits ? enqueue(s, record, len) : write_now(s, record, len);
	count_lost(s, !is_taken);
	pthread_mutex_unlock(&s->lock);
	return is_taken;
}

uint64_t spool_count_lost(struct spool *s)
{
	uint64_t n;

	pthread_mutex_lock(&s->lock);
	n = s->n_lost_ever;
	pthread_mutex_unlock(&s->lock);
	return n;
}
