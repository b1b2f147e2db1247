/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A worker: one thread, one loop, and its devices. A device is of one worker at a time, and nobody
 * else touches it; it may be given to another while both are parked.
 * Workers share nothing; they send each other mail, so all of them are stopped
 * before the first is freed.
 *
 * Devices are made before the thread starts, so that a failure can still end the program, or
 * in the thread, by mail. They are freed by it, which alone has touched them.
 */
#pragma once

#include "device/device.h"
#include "util/mailbox.h"

struct worker;

int worker_new(struct worker **out);		/* 0 or -errno */

/* Joins the thread, if it was started; the devices are freed then. */
void worker_stop(struct worker *w);

/* Delivers the last mail; true if there was any. Between stop and free. */
bool worker_deliver_mail(struct worker *w);
void worker_free(struct worker *w);

/* Borrowed, for the config of a device that worker_add_device() gets. */
struct loop *worker_loop(struct worker *w);
struct device_scratch *worker_scratch(struct worker *w);
struct poller *worker_poller(struct worker *w);
struct mailbox *worker_mailbox(struct worker *w);

uint32_t worker_busy_us(const struct worker *w);	/* in turns so far, modulo 2^32; any thread */

/* Where it is noted what it handles, see device_config; borrowed; NULL: nowhere. Before any
 * device is made. */
void worker_set_handling(struct worker *w, _Atomic uint64_t *handling);
_Atomic uint64_t *worker_handling(struct worker *w);

/* 0, and the device is taken over; or -ENOMEM. Before worker_start() or in the thread. */
int worker_add_device(struct worker *w, struct device *dev);
void worker_forget_device(struct worker *w, struct device *dev);	/* before it runs; the caller's */

/* Its devices, in the order in which they came; in the thread. */
size_t worker_count_devices(const struct worker *w);
struct device *worker_device(const struct worker *w, size_t i);

struct worker_watch {				/* of who goes through them, in many batches */
	/* The device with that number is about to go, and those after it move up. */
	void (*removed)(struct worker_watch *watch, size_t i);
	/* The worker is stopped, and has forgotten the watch. In the thread that stops it, or its
	 * own. */
	void (*stopped)(struct worker_watch *watch);
	struct list node;			/* worker::watches; removing it ends the watch */
};

void worker_add_watch(struct worker *w, struct worker_watch *watch);	/* in the thread */

struct worker_removal {				/* a device on its way out */
	/* Nothing is left of it. In the thread, or in that which stops the worker. */
	void (*removed)(struct worker_removal *removal);
	struct worker *worker;			/* the rest is worker.c's */
	struct device *dev;
	struct list node;			/* worker::removals */
};

/* In the thread: ends the device (device_end()) and frees it. @removal, with its removed(),
 * stays the caller's, and is used until that is called. */
void worker_remove_device(struct worker *w, struct device *dev, struct worker_removal *removal);

/*
 * The thread, which runs, is asked to do nothing, between two turns and soon, until worker_go_on();
 * once it has parked, whoever has asked may look at all that is its own. While all workers are
 * parked their mail may be delivered (worker_deliver_mail()). worker_wait_parked(): false: it has
 * not been in time.
 */
void worker_ask_to_park(struct worker *w);
bool worker_wait_parked(struct worker *w, uint64_t until_ms);	/* clock.h; 0: however long it takes */
void worker_park(struct worker *w);		/* both, however long it takes */
void worker_go_on(struct worker *w);		/* also of one that has not parked yet */

/* One that is parked: delivers its mail in its own thread, where what a front-end or a guest has
 * left belongs, and is parked again: worker_wait_parked(). False: it has none. */
bool worker_ask_to_deliver(struct worker *w);

/*
 * While both, and all who may send mail to the device, are parked and have got theirs, and neither
 * is watched: the device, which can move, is the other's. What mail has come for it since is to be
 * delivered before either goes on. 0; -errno: it stays.
 */
int worker_move_device(struct worker *from, struct worker *to, struct device *dev);
bool worker_is_watched(const struct worker *w);

/* Mail that is delivered after worker_stop() finds no device any more. */
bool worker_is_stopped(const struct worker *w);

/* Starts the thread; calls @failed in it if its loop ends by itself. @is_parked: it does nothing
 * before worker_go_on(). 0 or -errno. */
int worker_start(struct worker *w, bool is_parked, void (*failed)(void));
