/* SPDX-License-Identifier: BSD-3-Clause */
/* Interrupts a thread that is held up in a system call. */
#include "util/watchdog.h"

#include <time.h>

#include "util/error.h"

enum { SIGNAL = SIGURG };			/* ignored by default: nobody else's business */

static struct {
	pthread_mutex_t lock;
	struct list entries;
	pthread_t watcher;
	atomic_bool sleeps;			/* no thread was in a batch */
} watchdog = {
	.lock = PTHREAD_MUTEX_INITIALIZER,
	.entries = { &watchdog.entries, &watchdog.entries },
};

static void on_signal(int sig)
{
	(void)sig;				/* the call that it interrupts is all */
}

static void change_mask(int how)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGNAL);
	pthread_sigmask(how, &set, NULL);
}

int watchdog_init(void)
{
	struct sigaction sa = { .sa_handler = on_signal };	/* no SA_RESTART */

	watchdog.watcher = pthread_self();
	change_mask(SIG_BLOCK);
	sigemptyset(&sa.sa_mask);
	return sigaction(SIGNAL, &sa, NULL) < 0 ? error_last() : 0;
}

/* Signals who is in the batch that it was in the last time. True: somebody is in one,
 * or was since. */
static bool look(void)
{
	bool is_any_busy = false;

	pthread_mutex_lock(&watchdog.lock);
	list_for_each(node, &watchdog.entries) {
		struct watchdog_entry *e = container_of(node, struct watchdog_entry, node);
		unsigned batch = atomic_load(&e->batch);

		if (batch & 1 && batch == e->seen)
			pthread_kill(e->thread, SIGNAL);
		is_any_busy |= batch != e->seen || batch & 1;
		e->seen = batch;
	}
	pthread_mutex_unlock(&watchdog.lock);
	return is_any_busy;
}

/* Who begins a batch after @sleeps is set wakes us; who began before is seen here. */
static bool may_sleep(void)
{
	atomic_store(&watchdog.sleeps, true);
	if (!look())
		return true;
	atomic_store(&watchdog.sleeps, false);
	return false;
}

int watchdog_wait(const sigset_t *ends)
{
	static const struct timespec tick = { .tv_nsec = WATCHDOG_MS * 1000000L };
	sigset_t set = *ends;

	sigaddset(&set, SIGNAL);
	for (;;) {
		bool sleeps = !look() && may_sleep();
		int sig = sigtimedwait(&set, NULL, sleeps ? NULL : &tick);

		if (sig > 0 && sig != SIGNAL)
			return sig;
		if (sig < 0 && errno != EAGAIN && errno != EINTR)
			return error_last();
	}
}

void watchdog_add(struct watchdog_entry *e)
{
	e->thread = pthread_self();
	atomic_store(&e->batch, 0);
	e->seen = 0;
	change_mask(SIG_UNBLOCK);
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
	if (atomic_load(&watchdog.sleeps) && atomic_exchange(&watchdog.sleeps, false))
		pthread_kill(watchdog.watcher, SIGNAL);
}

void watchdog_end(struct watchdog_entry *e)
{
	atomic_fetch_add(&e->batch, 1);
}
