/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One thread's event loop: epoll, timers, and work put off until the events of
 * a batch have all been seen.
 *
 * A batch: epoll_wait, then every source's dispatch, then each scheduled work once,
 * then expired timers. Work is where a device takes its turn, so a kick
 * and ten readable sockets that arrive together cost one turn. Work that
 * schedules itself again runs in the next batch, after the loop has looked for
 * events without waiting: nobody starves.
 *
 * A deadline is judged after what lies ready has been looked at. So timers come last;
 * they wait while there are more events than one batch takes, or when the wait was
 * interrupted; and after a pause of the whole process (SIGSTOP, a debugger, a host that
 * swaps) for a moment more, in which other threads look as well. What would have met
 * a deadline before the pause meets it.
 *
 * A source, timer or work may be removed and its memory freed from within any
 * callback, its own included. Nothing here is shared between threads but
 * loop_stop().
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "util/list.h"
#include "util/timer_heap.h"

struct loop;

struct loop_source {
	/* EPOLL*; 0: it is reminded. */
	void (*dispatch)(struct loop_source *src, uint32_t events);
	int fd;					/* borrowed; -1 while not in a loop */
};

/*
 * Looks for what is to be done, for a moment, before the loop waits for it. While it does, no
 * source is dispatched, and the watchdog takes the loop for one that waits.
 */
struct loop_polled {
	uint64_t begin_us, end_us;		/* of the poll */
	bool was_preempted;			/* somebody else needed the CPU: it was cut short */
};

struct loop_poller {
	bool is_wanted;				/* its own: else the loop goes by, which costs nothing */
	uint64_t n_waits;			/* the loop's: that have begun, polled or not */
	/* It is wanted, and the loop is about to wait. Until when it is to poll instead; 0: not at all. */
	uint64_t (*begin)(struct loop_poller *poller, uint64_t now_us);
	/* True: there is something to be done. Called again and again. */
	bool (*look)(struct loop_poller *poller);
	/* It is over, after each begin() that was not 0. May schedule work. */
	void (*end)(struct loop_poller *poller, const struct loop_polled *polled);
};

struct loop_work {
	void (*run)(struct loop_work *work);
	struct list node;			/* loop::work */
};

int loop_new(struct loop **out);		/* 0 or -errno */
void loop_free(struct loop *loop);

/* Runs until loop_stop(). Work that is scheduled already comes before the first event. 0 or
 * -errno of epoll_wait. */
int loop_run(struct loop *loop);

/* In a batch: may deadlines be judged? False: there may be something that has not been
 * looked at. For those who keep deadlines of their own. */
bool loop_may_expire(const struct loop *loop);

/* From now on the watchdog is told of each batch. */
struct watchdog_entry;
void loop_set_watched(struct loop *loop, struct watchdog_entry *entry);

/* From now on; NULL: nobody. */
void loop_set_poller(struct loop *loop, struct loop_poller *poller);

/* One batch; waits at most @max_wait_ms, -1 for as long as it takes. 0 or -errno. */
int loop_step(struct loop *loop, int max_wait_ms);

/* Ends loop_run() after its batch. From any thread, and from signal handlers. */
void loop_stop(struct loop *loop);

/* Monotonic milliseconds as of the beginning of the batch. */
uint64_t loop_now_ms(const struct loop *loop);
uint64_t loop_now_us(const struct loop *loop);	/* the same in microseconds */

/* What waited in the other loop comes to this one: its time is not earlier, and no deadline is judged
 * before the next batch, which looks at what has come along. */
void loop_catch_up(struct loop *loop, const struct loop *other);

uint64_t loop_batch(const struct loop *loop);	/* which batch it is: one more than that before */

/* @src->dispatch must be set and @fd stay open until it is removed. 0 or -errno. */
int loop_add(struct loop *loop, struct loop_source *src, int fd, uint32_t events);
int loop_modify(struct loop *loop, struct loop_source *src, uint32_t events);
void loop_remove(struct loop *loop, struct loop_source *src);	/* also when not added */

/* The same for a descriptor that nobody else has and that is closed next: that
 * takes it out of epoll, and a system call is saved. */
void loop_forget(struct loop *loop, struct loop_source *src);

/*
 * Something of @src is put off until it has events or does something anyway, but not for ever: it
 * is dispatched without events after LOOP_REMIND_MS at most, once. Not if loop_unremind() was
 * called before that, which loop_remove() and loop_forget() do. False: too many are to be reminded.
 */
enum { LOOP_REMIND_MS = 10, LOOP_REMINDED_MAX = 32 };
bool loop_remind(struct loop *loop, struct loop_source *src);
void loop_unremind(struct loop *loop, struct loop_source *src);
void loop_remind_now(struct loop *loop);	/* all that are to be, in the loop's thread */

/* Sets or moves the timer. */
void loop_timer_set(struct loop *loop, struct loop_timer *timer, uint64_t deadline_ms);
void loop_timer_cancel(struct loop *loop, struct loop_timer *timer);

void loop_work_init(struct loop_work *work, void (*run)(struct loop_work *work));
void loop_work_schedule(struct loop *loop, struct loop_work *work);
void loop_work_cancel(struct loop_work *work);
