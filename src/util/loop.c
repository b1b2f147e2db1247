/* SPDX-License-Identifier: BSD-3-Clause */
/* One thread's event loop. */
#include "util/loop.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "util/clock.h"
#include "util/error.h"
#include "util/fd.h"
#include "util/timer_heap.h"
#include "util/watchdog.h"

enum {
	BATCH = 128,
	FULL_BATCHES_MAX = 64,			/* in a row, for which timers wait */
	PAUSE_MS = 500,				/* past the time asked for: it stood still */
	AFTER_PAUSE_MS = 100,			/* until deadlines are judged again */
	ALARM_MS = 100,				/* is set for no later than that */
	LOOKS = 2,				/* of a poller, for one at the descriptors */
	BLIND_MAX = 8,				/* batches in a row without one */
	PREEMPTED_US = 100,			/* between two looks */
};

struct loop {
	int epfd;
	int stop_fd;				/* eventfd: makes epoll_wait return */
	atomic_bool stop;
	uint64_t now_us, now_ms;
	uint64_t batch;
	struct epoll_event events[BATCH];
	int n_events, at;			/* of the batch being dispatched */
	struct loop_timer *timers;		/* a heap: the next to expire */
	struct loop_source alarm;		/* a timerfd, owned */
	uint64_t alarm_ms;			/* what it has been set for, the last time */
	bool is_idle;				/* the last wait has given nothing, or the alarm alone */
	struct loop_source *reminded[LOOP_REMINDED_MAX];
	size_t n_reminded;
	struct loop_timer reminder;
	struct list work;
	struct list marker;			/* in it while it runs: those before it are due */
	unsigned full_batches;			/* in a row */
	uint64_t judges_ms;			/* after a pause: when deadlines count again */
	bool may_expire;			/* timers, in this batch */
	struct watchdog_entry *watched;		/* borrowed, or NULL */
	struct loop_poller *poller;		/* borrowed, or NULL */
	unsigned blind;				/* batches since the descriptors were looked at */
};

void loop_remind_now(struct loop *loop)
{
	loop_timer_cancel(loop, &loop->reminder);
	while (loop->n_reminded) {
		struct loop_source *src = loop->reminded[--loop->n_reminded];

		src->dispatch(src, 0);
	}
}

static void on_reminder(struct loop_timer *timer)
{
	loop_remind_now(container_of(timer, struct loop, reminder));
}

/* Timers are looked at in each batch. */
static void on_alarm(struct loop_source *source, uint32_t events)
{
	(void)source;
	(void)events;
}

int loop_new(struct loop **out)
{
	struct loop *loop = calloc(1, sizeof *loop);
	struct epoll_event ev = { .events = EPOLLIN | EPOLLET };
	int r;

	if (!loop)
		return -ENOMEM;
	list_init(&loop->work);
	loop->reminder.expire = on_reminder;
	loop->now_us = clock_us();
	loop->now_ms = loop->now_us / 1000;
	loop->stop_fd = loop->alarm.fd = -1;
	loop->alarm.dispatch = on_alarm;
	loop->epfd = epoll_create1(EPOLL_CLOEXEC);
	if (loop->epfd < 0)
		goto fail;
	loop->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (loop->stop_fd < 0)
		goto fail;
	if (epoll_ctl(loop->epfd, EPOLL_CTL_ADD, loop->stop_fd, &ev) < 0)
		goto fail;
	loop->alarm.fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (loop->alarm.fd < 0)
		goto fail;
	ev.data.ptr = &loop->alarm;
	if (epoll_ctl(loop->epfd, EPOLL_CTL_ADD, loop->alarm.fd, &ev) < 0)
		goto fail;
	*out = loop;
	return 0;
fail:
	r = error_last();
	loop_free(loop);
	return r;
}

void loop_free(struct loop *loop)
{
	if (!loop)
		return;
	fd_close(&loop->alarm.fd);
	fd_close(&loop->stop_fd);
	fd_close(&loop->epfd);
	free(loop);
}

uint64_t loop_now_ms(const struct loop *loop)
{
	return loop->now_ms;
}

uint64_t loop_now_us(const struct loop *loop)
{
	return loop->now_us;
}

uint64_t loop_batch(const struct loop *loop)
{
	return loop->batch;
}

void loop_catch_up(struct loop *loop, const struct loop *other)
{
	loop->now_us = other->now_us > loop->now_us ? other->now_us : loop->now_us;
	loop->now_ms = loop->now_us / 1000;
	loop->may_expire = false;
}

void loop_stop(struct loop *loop)
{
	uint64_t one = 1;

	atomic_store(&loop->stop, true);
	if (write(loop->stop_fd, &one, sizeof one) < 0) {
		/* Full: then it is readable already. */
	}
}

int loop_add(struct loop *loop, struct loop_source *src, int fd, uint32_t events)
{
	struct epoll_event ev = { .events = events, .data.ptr = src };

	if (epoll_ctl(loop->epfd, EPOLL_CTL_ADD, fd, &ev) < 0)
		return error_last();
	src->fd = fd;
	return 0;
}

int loop_modify(struct loop *loop, struct loop_source *src, uint32_t events)
{
	struct epoll_event ev = { .events = events, .data.ptr = src };

	if (epoll_ctl(loop->epfd, EPOLL_CTL_MOD, src->fd, &ev) < 0)
		return error_last();
	return 0;
}

void loop_remove(struct loop *loop, struct loop_source *src)
{
	if (src->fd >= 0)
		epoll_ctl(loop->epfd, EPOLL_CTL_DEL, src->fd, NULL);
	loop_forget(loop, src);
}

void loop_forget(struct loop *loop, struct loop_source *src)
{
	if (src->fd < 0)
		return;
	src->fd = -1;
	loop_unremind(loop, src);
	/* It may have an event further on in this batch. */
	for (int i = loop->at; i < loop->n_events; i++)
		if (loop->events[i].data.ptr == src)
			loop->events[i].data.ptr = NULL;
}

void loop_timer_set(struct loop *loop, struct loop_timer *timer, uint64_t deadline_ms)
{
	loop_timer_cancel(loop, timer);
	timer->deadline_ms = deadline_ms;
	timer->is_set = true;
	timer_heap_add(&loop->timers, timer);
}

void loop_timer_cancel(struct loop *loop, struct loop_timer *timer)
{
	if (!timer->is_set)
		return;
	timer->is_set = false;
	timer_heap_remove(&loop->timers, timer);
}

bool loop_remind(struct loop *loop, struct loop_source *src)
{
	if (loop->n_reminded == LOOP_REMINDED_MAX)
		return false;
	if (!loop->n_reminded)
		loop_timer_set(loop, &loop->reminder, loop->now_ms + LOOP_REMIND_MS);
	loop->reminded[loop->n_reminded++] = src;
	return true;
}

void loop_unremind(struct loop *loop, struct loop_source *src)
{
	size_t i = 0;

	while (i < loop->n_reminded && loop->reminded[i] != src)
		i++;
	if (i == loop->n_reminded)
		return;
	loop->reminded[i] = loop->reminded[--loop->n_reminded];
	if (!loop->n_reminded)
		loop_timer_cancel(loop, &loop->reminder);
}

void loop_work_init(struct loop_work *work, void (*run)(struct loop_work *work))
{
	work->run = run;
	list_init(&work->node);
}

void loop_work_schedule(struct loop *loop, struct loop_work *work)
{
	if (list_is_empty(&work->node))
		list_append(&loop->work, &work->node);
}

void loop_work_cancel(struct loop_work *work)
{
	list_remove(&work->node);
}

static void run_timers(struct loop *loop)
{
	while (loop->timers && loop->timers->deadline_ms <= loop->now_ms) {
		struct loop_timer *timer = loop->timers;

		loop_timer_cancel(loop, timer);
		timer->expire(timer);
	}
}

/* Each once: what is scheduled meanwhile lands after the marker. */
static void run_work(struct loop *loop)
{
	if (list_is_empty(&loop->work))
		return;
	list_append(&loop->work, &loop->marker);
	while (loop->work.next != &loop->marker) {
		struct list *node = list_take_first(&loop->work);
		struct loop_work *work = container_of(node, struct loop_work, node);

		work->run(work);
	}
	list_remove(&loop->marker);
}

/* Milliseconds until there is something to do without an event; -1: never. */
static int wait_ms(const struct loop *loop, int max_wait_ms)
{
	uint64_t now_ms, deadline_ms;

	if (!list_is_empty(&loop->work))
		return 0;
	if (!loop->timers)
		return max_wait_ms;
	deadline_ms = loop->timers->deadline_ms;
	if (deadline_ms < loop->judges_ms)
		deadline_ms = loop->judges_ms;
	/* An alarm is absolute: for it the clock of the batch will do. */
	now_ms = max_wait_ms < 0 && !loop->is_idle ? loop->now_ms : clock_ms();
	if (deadline_ms <= now_ms)
		return 0;
	if (max_wait_ms >= 0 && (uint64_t)max_wait_ms < deadline_ms - now_ms)
		return max_wait_ms;
	return deadline_ms - now_ms < 60000 ? (int)(deadline_ms - now_ms) : 60000;
}

/*
 * To wait with a time-out costs a timer of the kernel's each time, and most deadlines are moved
 * before they come. So a busy loop sets an alarm instead, which stays: it rings once in ALARM_MS at
 * most, or when the nearest deadline does. When nothing else has come, what is left is waited for
 * as such, and a loop without timers is woken by the alarm once. @wait: milliseconds, at most.
 * True: it rings in time.
 */
static bool set_alarm(struct loop *loop, int wait)
{
	uint64_t at_ms = loop->now_ms + (uint64_t)(wait < ALARM_MS ? wait : ALARM_MS);
	struct itimerspec spec = { .it_interval = { 0 } };

	if (loop->alarm_ms > loop->now_ms && loop->alarm_ms <= at_ms)
		return true;
	if (loop->is_idle)
		return false;
	spec.it_value = clock_timespec(at_ms);
	if (timerfd_settime(loop->alarm.fd, TFD_TIMER_ABSTIME, &spec, NULL) < 0)
		return false;
	loop->alarm_ms = at_ms;
	return true;
}

bool loop_may_expire(const struct loop *loop)
{
	return loop->may_expire;
}

void loop_set_watched(struct loop *loop, struct watchdog_entry *entry)
{
	loop->watched = entry;
}

/* @n: events, or -1 when the wait for them was interrupted. */
static void judge_deadlines(struct loop *loop, int n)
{
	loop->full_batches = n == BATCH ? loop->full_batches + 1 : 0;
	loop->may_expire = n >= 0 && !loop->blind && loop->now_ms >= loop->judges_ms &&
		(n < BATCH || loop->full_batches >= FULL_BATCHES_MAX);
}

/* Moves the clock on. @waited_ms: how long the wait before it was to last, at most. */
static void tick(struct loop *loop, int waited_ms)
{
	uint64_t now_us = clock_us(), now_ms = now_us / 1000;

	if (waited_ms >= 0 && now_ms - loop->now_ms > (uint64_t)waited_ms + PAUSE_MS)
		loop->judges_ms = now_ms + AFTER_PAUSE_MS;
	loop->now_us = now_us;
	loop->now_ms = now_ms;
	loop->batch++;
}

static void dispatch(struct loop *loop)
{
	for (loop->at = 0; loop->at < loop->n_events; ) {
		struct epoll_event *ev = &loop->events[loop->at++];
		struct loop_source *src = ev->data.ptr;

		if (src)
			src->dispatch(src, ev->events);
	}
	loop->n_events = loop->at = 0;
}

void loop_set_poller(struct loop *loop, struct loop_poller *poller)
{
	loop->poller = poller;
}

/* Lets the other thread of a core run, and others of a machine that is emulated. */
static void relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("yield");
#endif
}

/* As epoll_wait(). 0: the poller has found something, or time is up. */
static int poll_until(struct loop *loop, uint64_t until_us, struct loop_polled *polled)
{
	for (unsigned looks = 0; ; ) {
		uint64_t before_us = polled->end_us;

		if (loop->blind < BLIND_MAX && loop->poller->look(loop->poller)) {
			loop->blind++;
			return 0;
		}
		if (++looks % LOOKS == 0 || loop->blind >= BLIND_MAX) {
			int n = epoll_wait(loop->epfd, loop->events, BATCH, 0);

			loop->blind = 0;
			if (n)
				return n;
		}
		relax();
		polled->end_us = clock_us();
		polled->was_preempted = polled->end_us - before_us >= PREEMPTED_US;
		if (polled->end_us >= until_us || polled->was_preempted)
			return 0;
	}
}

/* *@n: as epoll_wait(), 0: no event has come. False: nobody wants to. @wait: milliseconds, not 0. */
static bool poll_before_wait(struct loop *loop, int wait, int *n)
{
	struct loop_polled polled = { .begin_us = clock_us() };
	uint64_t until_us = loop->poller->begin(loop->poller, polled.begin_us);

	if (!until_us)
		return false;
	if (wait > 0 && until_us > polled.begin_us + (uint64_t)wait * 1000)
		until_us = polled.begin_us + (uint64_t)wait * 1000;
	polled.end_us = polled.begin_us;
	*n = poll_until(loop, until_us, &polled);
	loop->poller->end(loop->poller, &polled);
	return true;
}

/* As epoll_wait(). *@wait: how long that was to last, at most. */
static int wait_for_events(struct loop *loop, int max_wait_ms, int *wait)
{
	int n;

	*wait = wait_ms(loop, max_wait_ms);
	if (*wait && loop->poller)
		loop->poller->n_waits++;
	if (*wait && loop->poller && loop->poller->is_wanted && poll_before_wait(loop, *wait, &n)) {
		*wait = n ? 0 : wait_ms(loop, max_wait_ms);
		if (n || (loop->blind && !*wait))
			return n;
	}
	loop->blind = 0;
	if (*wait > 0 && max_wait_ms < 0 && set_alarm(loop, *wait)) {
		*wait = (int)(loop->alarm_ms - loop->now_ms);
		return epoll_wait(loop->epfd, loop->events, BATCH, -1);
	}
	return epoll_wait(loop->epfd, loop->events, BATCH, *wait);
}

int loop_step(struct loop *loop, int max_wait_ms)
{
	int wait, n = wait_for_events(loop, max_wait_ms, &wait);

	if (n < 0 && errno != EINTR)
		return error_last();
	tick(loop, wait);
	judge_deadlines(loop, n);
	if (n < 0)
		return 0;			/* what there is to do comes with the next wait */
	if (loop->watched)
		watchdog_begin(loop->watched);
	loop->n_events = n;
	loop->is_idle = n ? n == 1 && loop->events[0].data.ptr == &loop->alarm : wait > 0;
	dispatch(loop);
	run_work(loop);
	if (loop->may_expire)
		run_timers(loop);
	if (loop->watched)
		watchdog_end(loop->watched);
	return 0;
}

/* What was scheduled before the loop runs comes before the first event. */
static void begin(struct loop *loop)
{
	tick(loop, -1);
	if (loop->watched)
		watchdog_begin(loop->watched);
	run_work(loop);
	if (loop->watched)
		watchdog_end(loop->watched);
}

int loop_run(struct loop *loop)
{
	if (!atomic_load_explicit(&loop->stop, memory_order_relaxed))
		begin(loop);
	while (!atomic_load_explicit(&loop->stop, memory_order_relaxed)) {
		int r = loop_step(loop, -1);

		if (r < 0)
			return r;
	}
	return 0;
}
