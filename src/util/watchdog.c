/* SPDX-License-Identifier: BSD-3-Clause */
/* Interrupts a thread that is held up in a system call. */
#include "util/watchdog.h"

#include <time.h>

#include "util/error.h"

enum { SIGNAL = SIGURG };			/* ignored by default: nobody else's business */
#define WAKE_SIGNAL	SIGRTMIN		/* blocked by all: the watcher waits for it */

static struct {
	pthread_mutex_t lock;
	struct list entries;
	timer_t timer;				/* sends WAKE_SIGNAL */
	atomic_bool has_timer, is_armed;
} watchdog = {
	.lock = PTHREAD_MUTEX_INITIALIZER,
	.entries = { &watchdog.entries, &watchdog.entries },
};

static const struct timespec interval = { .tv_nsec = WATCHDOG_MS * 1000000L };

static void on_signal(int sig)
{
	(void)sig;				/* the call that it interrupts is all */
}

static void change_mask(int how, int sig)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, sig);
	pthread_sigmask(how, &set, NULL);
}

int watchdog_init(void)
{
	struct sigaction sa = { .sa_handler = on_signal };	/* no SA_RESTART */
	struct sigevent wake = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = WAKE_SIGNAL };

	change_mask(SIG_BLOCK, SIGNAL);
	change_mask(SIG_BLOCK, WAKE_SIGNAL);
	sigemptyset(&sa.sa_mask);
	if (sigaction(SIGNAL, &sa, NULL) < 0 || sigaction(WAKE_SIGNAL, &sa, NULL) < 0)
		return error_last();
	if (timer_create(CLOCK_MONOTONIC, &wake, &watchdog.timer) == 0)
		atomic_store(&watchdog.has_timer, true);
	return 0;
}

/* Signals each thread that is still in the batch of the last look. True: some are in one. */
static bool look(void)
{
	bool is_any_busy = false;

	pthread_mutex_lock(&watchdog.lock);
	list_for_each(node, &watchdog.entries) {
		struct watchdog_entry *e = container_of(node, struct watchdog_entry, node);
		unsigned batch = atomic_load(&e->batch);

		if (batch & 1 && batch == e->seen)
			pthread_kill(e->thread, SIGNAL);
		is_any_busy |= batch & 1;
		e->seen = batch;
	}
	pthread_mutex_unlock(&watchdog.lock);
	return is_any_busy;
}

bool watchdog_has_stuck(void)
{
	bool is_any_stuck = false;

	pthread_mutex_lock(&watchdog.lock);
	list_for_each(node, &watchdog.entries) {
		struct watchdog_entry *e = container_of(node, struct watchdog_entry, node);
		unsigned batch = atomic_load(&e->batch);

		is_any_stuck |= batch & 1 && batch == e->asked;
		e->asked = batch;
	}
	pthread_mutex_unlock(&watchdog.lock);
	return is_any_stuck;
}

/* Has the watchdog look in a while. */
static void arm(void)
{
	const struct itimerspec once = { .it_value = interval };

	if (atomic_load(&watchdog.has_timer) && !atomic_load(&watchdog.is_armed) &&
	    !atomic_exchange(&watchdog.is_armed, true))
		timer_settime(watchdog.timer, 0, &once, NULL);
}

int watchdog_wait(const sigset_t *ends)
{
	sigset_t set = *ends;

	sigaddset(&set, WAKE_SIGNAL);
	for (;;) {
		bool has_timer = atomic_load(&watchdog.has_timer);
		int sig = sigtimedwait(&set, NULL, has_timer ? NULL : &interval);

		if (sig < 0 && errno != EINTR && errno != EAGAIN)
			return error_last();
		if (sig >= 0 && sig != WAKE_SIGNAL)
			return sig;
		/* A batch that begins from here on arms it; one that began before is seen. */
		atomic_store(&watchdog.is_armed, false);
		if (look())
			arm();
	}
}

void watchdog_add(struct watchdog_entry *e)
{
	e->thread = pthread_self();
	atomic_store(&e->batch, 0);
	e->seen = e->asked = 0;
	change_mask(SIG_UNBLOCK, SIGNAL);
	pthread_mutex_lock(&watchdog.lock);
	list_append(&watchdog.entries, &e->node);
	pthread_mutex_unlock(&watchdog.lock);
}

void watchdog_remove(struct watchdog_entry *e)
{
	pthread_mutex_lock(&watchdog.lock);
	list_remove(&e->node);
	pthread_mutex_unlock(&watchdog.lock);
}

void watchdog_begin(struct watchdog_entry *e)
{
	atomic_fetch_add(&e->batch, 1);
	arm();
}

void watchdog_end(struct watchdog_entry *e)
{
	atomic_fetch_add(&e->batch, 1);
}
