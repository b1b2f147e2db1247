/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How many lines somebody may cause: a table of limits, found by a hash of call site
 * and tag. From any thread, in a signal's handler too, so without a lock.
 *
 * A limit whose window is over can be another's: nothing is known of its owner but
 * how many of their lines were swallowed, which is said then. One that is in use is
 * never taken away, else two owners that take it from each other would log without end.
 */
#include "util/log_limit.h"

#include <assert.h>
#include <time.h>

enum { WAYS = 8 };				/* places in the table for one owner */

static struct log_limit table[LOG_LIMITS];
static _Atomic uint64_t n_swallowed;		/* by all of them */

/* Cheaper than clock_ms(), and exact enough for seconds. */
static uint64_t coarse_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

/* FNV-1a over the tag; two owners of one hash would be worth no more than a line. */
static uint64_t owner_of(const void *site, const char *tag)
{
	uint64_t h = UINT64_C(0xcbf29ce484222325) ^ (uintptr_t)site;

	for (; tag && *tag; tag++)
		h = (h ^ (unsigned char)*tag) * UINT64_C(0x100000001b3);
	h = (h ^ h >> 32) * UINT64_C(0x9e3779b97f4a7c15);
	h ^= h >> 29;
	return h ? h : 1;
}

static bool is_over(const struct log_limit *limit, uint64_t now_ms)
{
	uint64_t window = atomic_load_explicit(&limit->window_ms, memory_order_relaxed);

	return window == 0 || now_ms - window >= LOG_LIMIT_MS;
}

/* The best of them to become somebody else's; NULL: all are in use. */
static struct log_limit *find_idle(struct log_limit *set, uint64_t now_ms)
{
	struct log_limit *best = NULL;

	for (int i = 0; i < WAYS; i++) {
		if (!is_over(&set[i], now_ms))
			continue;
		if (!atomic_load(&set[i].swallowed))
			return &set[i];
		best = &set[i];
	}
	return best;
}

static bool take_over(struct log_limit *limit, uint64_t owner)
{
	uint64_t old = atomic_load(&limit->owner);
	unsigned swallowed;

	if (!atomic_compare_exchange_strong(&limit->owner, &old, owner))
		return false;
	swallowed = atomic_exchange(&limit->swallowed, 0);
	if (swallowed)
		log_at(LEVEL_WARN, "log", "%u lines not shown; none like them came since", swallowed);
	return true;
}

struct log_limit *log_limit_of(const void *site, const char *tag)
{
	uint64_t owner = owner_of(site, tag), now_ms;
	struct log_limit *set = &table[owner % (LOG_LIMITS / WAYS) * WAYS], *idle;

	for (int i = 0; i < WAYS; i++)
		if (atomic_load_explicit(&set[i].owner, memory_order_relaxed) == owner)
			return &set[i];
	now_ms = coarse_ms();
	while ((idle = find_idle(set, now_ms)))
		if (take_over(idle, owner))
			return idle;
	return &set[owner / LOG_LIMITS % WAYS];
}

uint64_t log_limit_count_swallowed(void)
{
	return atomic_load_explicit(&n_swallowed, memory_order_relaxed);
}

bool log_limit_pass(struct log_limit *limit, unsigned *swallowed)
{
	uint64_t now_ms = coarse_ms();
	uint64_t window = atomic_load_explicit(&limit->window_ms, memory_order_relaxed);

	if ((window == 0 || now_ms - window >= LOG_LIMIT_MS) &&
	    atomic_compare_exchange_strong(&limit->window_ms, &window, now_ms))
		atomic_store(&limit->passed, 0);
	*swallowed = 0;
	if (atomic_fetch_add(&limit->passed, 1) >= LOG_LIMIT_BURST) {
		atomic_fetch_add(&limit->swallowed, 1);
		atomic_fetch_add_explicit(&n_swallowed, 1, memory_order_relaxed);
		return false;
	}
	*swallowed = atomic_exchange(&limit->swallowed, 0);
	return true;
}

bool log_once_pass(struct log_once *once, unsigned kind)
{
	uint64_t bit = UINT64_C(1) << kind % 64;
	bool is_first;

	assert(kind / 64 < sizeof once->seen / sizeof *once->seen);
	is_first = !(once->seen[kind / 64] & bit);
	once->seen[kind / 64] |= bit;
	return is_first;
}
