/* SPDX-License-Identifier: BSD-3-Clause */
/* A worker: one thread, one loop, its devices. */
#include "device/worker.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "device/poller.h"
#include "util/clock.h"
#include "util/error.h"
#include "util/log.h"
#include "util/watchdog.h"

struct worker {
	struct loop *loop;
	struct device_scratch *scratch;
	struct poller poller;
	struct mailbox *mailbox;
	_Atomic uint64_t *handling;
	struct device **devices;		/* owned */
	size_t n_devices;
	struct list removals;			/* worker_removal::node */
	struct list watches;			/* worker_watch::node */
	pthread_t thread;
	struct watchdog_entry watched;
	struct loop_work begun;
	struct mail park;
	struct loop_work parked;
	bool has_moved;				/* some device, to this thread, while it was parked */
	pthread_mutex_t lock;			/* of what follows */
	pthread_cond_t changed;
	bool is_to_park, is_parked;
	bool is_to_deliver;			/* its mail, while it is parked */
	bool has_thread, is_stopped;
	void (*failed)(void);
};

/* Devices that take another's place have done so: they were scheduled before. One that a
 * sibling asks before that would say that it runs no guest. */
static void on_begun(struct loop_work *work)
{
	mailbox_release(container_of(work, struct worker, begun)->mailbox);
}

/* Once all the mail that came with it has been delivered. */
static void on_park(struct mail *mail)
{
	struct worker *w = container_of(mail, struct worker, park);

	loop_work_schedule(w->loop, &w->parked);
}

static void enter_moved(struct worker *w)
{
	for (size_t i = 0; w->has_moved && i < w->n_devices; i++)
		device_enter_thread(w->devices[i]);
	w->has_moved = false;
}

/* With the lock, which it gives up meanwhile. */
static void deliver_parked(struct worker *w)
{
	pthread_mutex_unlock(&w->lock);
	watchdog_begin(&w->watched);
	enter_moved(w);				/* it has not been away since they came */
	mailbox_deliver(w->mailbox);
	watchdog_end(&w->watched);
	pthread_mutex_lock(&w->lock);
	w->is_to_deliver = false;
	pthread_cond_broadcast(&w->changed);
}

static void wait_while_parked(struct worker *w)
{
	pthread_mutex_lock(&w->lock);
	w->is_parked = true;
	pthread_cond_broadcast(&w->changed);
	while (w->is_to_park) {
		if (w->is_to_deliver)
			deliver_parked(w);
		else
			pthread_cond_wait(&w->changed, &w->lock);
	}
	w->is_parked = false;
	pthread_mutex_unlock(&w->lock);
}

/* Time that it waits here is not spent in a batch. */
static void on_parked(struct loop_work *work)
{
	struct worker *w = container_of(work, struct worker, parked);

	loop_remind_now(w->loop);		/* nothing that is put off is handed over */
	watchdog_end(&w->watched);
	wait_while_parked(w);
	w->scratch->turned_us = clock_us();	/* nor is it any device's turn */
	watchdog_begin(&w->watched);
	enter_moved(w);
}

void worker_ask_to_park(struct worker *w)
{
	pthread_mutex_lock(&w->lock);
	w->is_to_park = true;
	mailbox_post(w->mailbox, &w->park);
	pthread_mutex_unlock(&w->lock);
}

bool worker_wait_parked(struct worker *w, uint64_t until_ms)
{
	const struct timespec until = clock_timespec(until_ms);
	bool is_ready;
	int r = 0;

	pthread_mutex_lock(&w->lock);
	while ((!w->is_parked || w->is_to_deliver) && !r)
		r = until_ms ? pthread_cond_clockwait(&w->changed, &w->lock, CLOCK_MONOTONIC, &until) :
			pthread_cond_wait(&w->changed, &w->lock);
	is_ready = w->is_parked && !w->is_to_deliver;
	pthread_mutex_unlock(&w->lock);
	return is_ready;
}

bool worker_ask_to_deliver(struct worker *w)
{
	if (mailbox_is_empty(w->mailbox))
		return false;
	pthread_mutex_lock(&w->lock);
	w->is_to_deliver = true;
	pthread_cond_broadcast(&w->changed);
	pthread_mutex_unlock(&w->lock);
	return true;
}

void worker_park(struct worker *w)
{
	worker_ask_to_park(w);
	worker_wait_parked(w, 0);
}

void worker_go_on(struct worker *w)
{
	pthread_mutex_lock(&w->lock);
	w->is_to_park = false;
	pthread_cond_broadcast(&w->changed);
	pthread_mutex_unlock(&w->lock);
}

/* No socket's message is longer: AF_UNIX takes what it can allocate at once, 4 MiB and some.
 * As much memory is there only once such a message has been seen. */
enum { SPILL_BYTES = 8 * 1024 * 1024 };

static void scratch_free(struct device_scratch *scratch)
{
	if (scratch)
		munmap(scratch->mux.spill.bytes, scratch->mux.spill.size);
	free(scratch);
}

/* 0 or -errno. */
static int scratch_new(struct device_scratch **out)
{
	struct device_scratch *scratch = malloc(sizeof *scratch);
	void *spill;

	if (!scratch)
		return -ENOMEM;
	spill = mmap(NULL, SPILL_BYTES, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (spill == MAP_FAILED) {
		free(scratch);
		return error_last();
	}
	scratch->turned_us = 0;
	atomic_init(&scratch->busy_us, 0);
	scratch->mux.spill = (struct conn_spill){ spill, SPILL_BYTES };
	*out = scratch;
	return 0;
}

int worker_new(struct worker **out)
{
	struct worker *w = calloc(1, sizeof *w);
	int r = -ENOMEM;

	if (!w)
		return r;
	list_init(&w->removals);
	list_init(&w->watches);
	loop_work_init(&w->begun, on_begun);
	w->park.deliver = on_park;
	loop_work_init(&w->parked, on_parked);
	pthread_mutex_init(&w->lock, NULL);
	pthread_cond_init(&w->changed, NULL);
	r = scratch_new(&w->scratch);
	if (!r)
		r = loop_new(&w->loop);
	poller_init(&w->poller);
	if (!r)
		loop_set_poller(w->loop, &w->poller.base);
	if (!r)
		r = mailbox_new(&w->mailbox, w->loop);
	if (r < 0) {
		worker_free(w);
		return r;
	}
	*out = w;
	return 0;
}

static void free_devices(struct worker *w)
{
	struct list *node;

	while ((node = list_take_first(&w->watches))) {
		struct worker_watch *watch = container_of(node, struct worker_watch, node);

		watch->stopped(watch);
	}
	while (w->n_devices)
		device_free(w->devices[--w->n_devices]);
	while ((node = list_take_first(&w->removals))) {
		struct worker_removal *removal = container_of(node, struct worker_removal, node);

		removal->removed(removal);
	}
}

void worker_stop(struct worker *w)
{
	if (w->has_thread) {
		loop_stop(w->loop);
		worker_go_on(w);
		pthread_join(w->thread, NULL);
		w->has_thread = false;
	}
	free_devices(w);
	w->is_stopped = true;
}

bool worker_is_stopped(const struct worker *w)
{
	return w->is_stopped;
}

bool worker_deliver_mail(struct worker *w)
{
	return mailbox_deliver(w->mailbox);
}

void worker_free(struct worker *w)
{
	if (!w)
		return;
	worker_stop(w);
	free(w->devices);
	mailbox_free(w->mailbox);
	loop_free(w->loop);
	scratch_free(w->scratch);
	free(w);
}

struct loop *worker_loop(struct worker *w)
{
	return w->loop;
}

struct device_scratch *worker_scratch(struct worker *w)
{
	return w->scratch;
}

struct poller *worker_poller(struct worker *w)
{
	return &w->poller;
}

void worker_set_handling(struct worker *w, _Atomic uint64_t *handling)
{
	w->handling = handling;
}

_Atomic uint64_t *worker_handling(struct worker *w)
{
	return w->handling;
}

struct mailbox *worker_mailbox(struct worker *w)
{
	return w->mailbox;
}

int worker_add_device(struct worker *w, struct device *dev)
{
	struct device **devices = realloc(w->devices, (w->n_devices + 1) * sizeof *devices);

	if (!devices)
		return -ENOMEM;
	w->devices = devices;
	w->devices[w->n_devices++] = dev;
	return 0;
}

size_t worker_count_devices(const struct worker *w)
{
	return w->n_devices;
}

struct device *worker_device(const struct worker *w, size_t i)
{
	return w->devices[i];
}

void worker_add_watch(struct worker *w, struct worker_watch *watch)
{
	list_append(&w->watches, &watch->node);
}

static void remove_at(struct worker *w, size_t i)
{
	list_for_each(node, &w->watches) {
		struct worker_watch *watch = container_of(node, struct worker_watch, node);

		watch->removed(watch, i);
	}
	w->n_devices--;
	memmove(&w->devices[i], &w->devices[i + 1],
		(w->n_devices - i) * sizeof(struct device *));
}

void worker_forget_device(struct worker *w, struct device *dev)
{
	size_t i = 0;

	while (w->devices[i] != dev)
		i++;
	remove_at(w, i);
}

bool worker_is_watched(const struct worker *w)
{
	return !list_is_empty(&w->watches);
}

int worker_move_device(struct worker *from, struct worker *to, struct device *dev)
{
	const struct device_place place = {
		.loop = to->loop, .scratch = to->scratch, .poller = &to->poller,
		.handling = to->handling, .mailbox = to->mailbox,
	};
	int r = worker_add_device(to, dev);

	if (r)
		return r;
	r = device_move(dev, &place);
	if (r) {
		to->n_devices--;
		return r;
	}
	worker_forget_device(from, dev);
	to->has_moved = true;
	return 0;
}

uint32_t worker_busy_us(const struct worker *w)
{
	return atomic_load_explicit(&w->scratch->busy_us, memory_order_relaxed);
}

static void on_ended(void *ctx)
{
	struct worker_removal *removal = ctx;
	struct worker *w = removal->worker;

	worker_forget_device(w, removal->dev);
	list_remove(&removal->node);
	device_free(removal->dev);
	removal->removed(removal);
}

void worker_remove_device(struct worker *w, struct device *dev, struct worker_removal *removal)
{
	removal->worker = w;
	removal->dev = dev;
	list_append(&w->removals, &removal->node);
	device_end(dev, on_ended, removal);
}

static void *run(void *arg)
{
	struct worker *w = arg;
	int r;

	wait_while_parked(w);
	loop_work_schedule(w->loop, &w->begun);	/* the last */
	pthread_setname_np(pthread_self(), "worker");	/* from another thread that takes /proc */
	watchdog_add(&w->watched);
	loop_set_watched(w->loop, &w->watched);
	r = loop_run(w->loop);
	watchdog_remove(&w->watched);
	free_devices(w);
	if (r < 0) {
		log_err("worker", "event loop: %s", error_str(r));
		w->failed();
	}
	return NULL;
}

int worker_start(struct worker *w, bool is_parked, void (*failed)(void))
{
	int r;

	w->failed = failed;
	w->is_to_park = is_parked;
	mailbox_hold(w->mailbox);
	r = pthread_create(&w->thread, NULL, run, w);
	if (r)
		return -r;
	w->has_thread = true;
	return 0;
}
