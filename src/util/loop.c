/* SPDX-License-Identifier: BSD-3-Clause */
/* One thread's event loop. */
#include "util/loop.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "util/error.h"
#include "util/fd.h"

enum { BATCH = 128 };

struct loop {
	int epfd;
	int stop_fd;				/* eventfd: makes epoll_wait return */
	atomic_bool stop;
	uint64_t now_ms;
	struct epoll_event events[BATCH];
	int n_events, at;			/* of the batch being dispatched */
	struct loop_timer **heap;		/* [1..n_timers], least deadline first */
	size_t n_timers, heap_size;
	struct list work;
};

static uint64_t clock_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

int loop_new(struct loop **out)
{
	struct loop *loop = calloc(1, sizeof *loop);
	struct epoll_event ev = { .events = EPOLLIN | EPOLLET };
	int r;

	if (!loop)
		return -ENOMEM;
	list_init(&loop->work);
	loop->now_ms = clock_ms();
	loop->stop_fd = -1;
	loop->epfd = epoll_create1(EPOLL_CLOEXEC);
	if (loop->epfd < 0)
		goto fail;
	loop->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (loop->stop_fd < 0)
		goto fail;
	if (epoll_ctl(loop->epfd, EPOLL_CTL_ADD, loop->stop_fd, &ev) < 0)
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
	fd_close(&loop->stop_fd);
	fd_close(&loop->epfd);
	free(loop->heap);
	free(loop);
}

uint64_t loop_now_ms(const struct loop *loop)
{
	return loop->now_ms;
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
	/* It may have an event further on in this batch. */
	for (int i = loop->at; i < loop->n_events; i++)
		if (loop->events[i].data.ptr == src)
			loop->events[i].data.ptr = NULL;
}

static void heap_place(struct loop *loop, struct loop_timer *timer, size_t slot)
{
	loop->heap[slot] = timer;
	timer->slot = slot;
}

static void heap_up(struct loop *loop, struct loop_timer *timer, size_t slot)
{
	for (; slot > 1; slot /= 2) {
		if (loop->heap[slot / 2]->deadline_ms <= timer->deadline_ms)
			break;
		heap_place(loop, loop->heap[slot / 2], slot);
	}
	heap_place(loop, timer, slot);
}

static void heap_down(struct loop *loop, struct loop_timer *timer, size_t slot)
{
	for (size_t child; (child = slot * 2) <= loop->n_timers; slot = child) {
		if (child < loop->n_timers &&
		    loop->heap[child + 1]->deadline_ms < loop->heap[child]->deadline_ms)
			child++;
		if (loop->heap[child]->deadline_ms >= timer->deadline_ms)
			break;
		heap_place(loop, loop->heap[child], slot);
	}
	heap_place(loop, timer, slot);
}

static int heap_grow(struct loop *loop)
{
	size_t size = loop->heap_size ? loop->heap_size * 2 : 16;
	struct loop_timer **heap = realloc(loop->heap, size * sizeof *heap);

	if (!heap)
		return -ENOMEM;
	loop->heap = heap;
	loop->heap_size = size;
	return 0;
}

int loop_timer_set(struct loop *loop, struct loop_timer *timer, uint64_t deadline_ms)
{
	uint64_t old_ms = timer->deadline_ms;

	if (!timer->slot) {
		if (loop->n_timers + 2 > loop->heap_size && heap_grow(loop) < 0)
			return -ENOMEM;
		timer->deadline_ms = deadline_ms;
		heap_up(loop, timer, ++loop->n_timers);
		return 0;
	}
	timer->deadline_ms = deadline_ms;
	if (deadline_ms < old_ms)
		heap_up(loop, timer, timer->slot);
	else if (deadline_ms > old_ms)
		heap_down(loop, timer, timer->slot);
	return 0;
}

void loop_timer_cancel(struct loop *loop, struct loop_timer *timer)
{
	struct loop_timer *last;
	size_t slot = timer->slot;

	if (!slot)
		return;
	timer->slot = 0;
	last = loop->heap[loop->n_timers--];
	if (last == timer)
		return;
	if (slot > 1 && loop->heap[slot / 2]->deadline_ms > last->deadline_ms)
		heap_up(loop, last, slot);
	else
		heap_down(loop, last, slot);
}

void loop_work_init(struct loop_work *work, void (*run)(struct loop_work *work))
{
	work->run = run;
	list_init(&work->link);
}

void loop_work_schedule(struct loop *loop, struct loop_work *work)
{
	if (list_is_empty(&work->link))
		list_append(&loop->work, &work->link);
}

void loop_work_cancel(struct loop_work *work)
{
	list_remove(&work->link);
}

static void run_timers(struct loop *loop)
{
	while (loop->n_timers && loop->heap[1]->deadline_ms <= loop->now_ms) {
		struct loop_timer *timer = loop->heap[1];

		loop_timer_cancel(loop, timer);
		timer->expire(timer);
	}
}

/* Each once: what is scheduled meanwhile lands behind the marker. */
static void run_work(struct loop *loop)
{
	struct list marker;

	if (list_is_empty(&loop->work))
		return;
	list_append(&loop->work, &marker);
	while (loop->work.next != &marker) {
		struct list *link = list_take_first(&loop->work);
		struct loop_work *work = container_of(link, struct loop_work, link);

		work->run(work);
	}
	list_remove(&marker);
}

/* Milliseconds until there is something to do without an event; -1: never. */
static int wait_ms(const struct loop *loop, int max_wait_ms)
{
	uint64_t now_ms, deadline_ms;

	if (!list_is_empty(&loop->work))
		return 0;
	if (!loop->n_timers)
		return max_wait_ms;
	deadline_ms = loop->heap[1]->deadline_ms;
	now_ms = clock_ms();
	if (deadline_ms <= now_ms)
		return 0;
	if (max_wait_ms >= 0 && (uint64_t)max_wait_ms < deadline_ms - now_ms)
		return max_wait_ms;
	return deadline_ms - now_ms < 60000 ? (int)(deadline_ms - now_ms) : 60000;
}

int loop_step(struct loop *loop, int max_wait_ms)
{
	int n = epoll_wait(loop->epfd, loop->events, BATCH, wait_ms(loop, max_wait_ms));

	if (n < 0 && errno != EINTR)
		return error_last();
	loop->now_ms = clock_ms();
	loop->n_events = n > 0 ? n : 0;
	for (loop->at = 0; loop->at < loop->n_events; ) {
		struct epoll_event *ev = &loop->events[loop->at++];
		struct loop_source *src = ev->data.ptr;

		if (src)
			src->dispatch(src, ev->events);
	}
	loop->n_events = loop->at = 0;
	run_timers(loop);
	run_work(loop);
	return 0;
}

int loop_run(struct loop *loop)
{
	while (!atomic_load_explicit(&loop->stop, memory_order_relaxed)) {
		int r = loop_step(loop, -1);

		if (r < 0)
			return r;
	}
	return 0;
}
