/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Interrupts a thread that is held up in a system call.
 *
 * A worker never makes a call that it knows to block; but others can turn a descriptor
 * that did not block into one that does, behind our back: O_NONBLOCK belongs to the open
 * file, which its maker shares with us. So each worker says when it begins and ends a
 * batch of its loop; one that is in the same batch for longer than WATCHDOG_MS gets a
 * signal, by which a call that waits fails with EINTR, again and again until it is out.
 *
 * While all workers sleep, so does the watchdog. The first batch after that sets a timer
 * and wakes nobody. When the timer expires, the watchdog looks, and sleeps on if no worker
 * is in a batch. Where the user may have no timer (RLIMIT_SIGPENDING counts all of the
 * user's processes), it looks all the time.
 */
#pragma once

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "util/list.h"

enum { WATCHDOG_MS = 100 };

struct watchdog_entry {				/* of one thread; of watchdog.c alone */
	pthread_t thread;
	_Atomic unsigned batch;			/* odd: in a batch */
	unsigned seen, asked;			/* batch at the last look, at the last question */
	uint64_t seen_ms;			/* since when */
	bool is_hung;				/* the limit is over, and that was told */
	struct list node;			/* the watchdog's entries */
};

/* Once, in the main thread, before the others are made: 0 or -errno. */
int watchdog_init(void);

/* For who waits for a descriptor besides @ends, which the calling thread has blocked. Once,
 * after watchdog_init(): 0 or -errno. */
int watchdog_open(const sigset_t *ends);

/*
 * Watches until one of the signals @ends comes, which the calling thread has blocked, or
 * there is something to read from @fd (-1: none; else after watchdog_open()). The signal; 0:
 * @fd; or -errno. In the thread that called watchdog_init().
 */
int watchdog_wait(const sigset_t *ends, int fd);

/* From now on @hung is called, by watchdog_wait(), for a thread that has been in one batch
 * for @ms; once for each such batch. 0: never. */
void watchdog_set_limit(uint32_t ms, void (*hung)(void));

/* From now on @beat is called by watchdog_wait() each time that it has looked: every WATCHDOG_MS
 * while any thread is busy, and once more. */
void watchdog_set_beat(void (*beat)(void));

/* Is a thread still in the batch that it was in when this was last called? From any thread,
 * but always the same. */
bool watchdog_has_stuck(void);

/* The calling thread is watched from now on; without watchdog_init(), to no effect. */
void watchdog_add(struct watchdog_entry *e);
void watchdog_remove(struct watchdog_entry *e);

void watchdog_begin(struct watchdog_entry *e);	/* a batch */
void watchdog_end(struct watchdog_entry *e);
