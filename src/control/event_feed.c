/* SPDX-License-Identifier: BSD-3-Clause */
/* Events for who wants to know of them only for a while. */
#include "control/event_feed.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "util/error.h"

static struct {
	atomic_bool is_wanted;
	_Atomic uint64_t n_lost_ever;
	pthread_mutex_t lock;			/* of what follows */
	char *records;				/* owned; NULL: nobody reads */
	size_t bytes;				/* of one */
	size_t first, n;
	unsigned n_lost;			/* since the reader was told */
	void (*wake)(void *ctx);
	void *ctx;
} feed = { .lock = PTHREAD_MUTEX_INITIALIZER };

bool event_feed_is_wanted(void)
{
	return atomic_load_explicit(&feed.is_wanted, memory_order_relaxed);
}

void event_feed_note_lost(unsigned n)
{
	atomic_fetch_add_explicit(&feed.n_lost_ever, n, memory_order_relaxed);
}

uint64_t event_feed_count_lost(void)
{
	return atomic_load_explicit(&feed.n_lost_ever, memory_order_relaxed);
}

static char *place_of(size_t i)
{
	return feed.records + (feed.first + i) % EVENT_FEED_RECORDS * feed.bytes;
}

/* With the lock. */
static void append(const void *record)
{
	if (feed.n == EVENT_FEED_RECORDS) {
		feed.n_lost++;
		event_feed_note_lost(1);
		return;
	}
	memcpy(place_of(feed.n), record, feed.bytes);
	if (++feed.n == 1)
		feed.wake(feed.ctx);
}

void event_feed_put(const void *record)
{
	pthread_mutex_lock(&feed.lock);
	if (feed.records)
		append(record);
	pthread_mutex_unlock(&feed.lock);
}

int event_feed_open(size_t record_bytes, void (*wake)(void *ctx), void *ctx)
{
	char *records = malloc(EVENT_FEED_RECORDS * record_bytes);

	if (!records)
		return -ENOMEM;
	pthread_mutex_lock(&feed.lock);
	assert(!feed.records);
	feed.records = records;
	feed.bytes = record_bytes;
	feed.first = feed.n = feed.n_lost = 0;
	feed.wake = wake;
	feed.ctx = ctx;
	pthread_mutex_unlock(&feed.lock);
	atomic_store(&feed.is_wanted, true);
	return 0;
}

void event_feed_close(void)
{
	atomic_store(&feed.is_wanted, false);
	pthread_mutex_lock(&feed.lock);
	free(feed.records);
	feed.records = NULL;
	pthread_mutex_unlock(&feed.lock);
}

size_t event_feed_take(void *out, size_t max, unsigned *n_lost)
{
	size_t n = 0;

	pthread_mutex_lock(&feed.lock);
	while (feed.records && n < max && feed.n) {
		memcpy((char *)out + n++ * feed.bytes, place_of(0), feed.bytes);
		feed.first = (feed.first + 1) % EVENT_FEED_RECORDS;
		feed.n--;
	}
	*n_lost = feed.n_lost;
	feed.n_lost = 0;
	pthread_mutex_unlock(&feed.lock);
	return n;
}
