/* SPDX-License-Identifier: BSD-3-Clause */
/* Interrupts a thread that is held up in a system call. */
#include "util/watchdog.h"

#include <poll.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#include "util/clock.h"
#include "util/error.h"

enum { SIGNAL = SIGURG };			/* ignored by default: nobody else's business */
#define WAKE_SIGNAL	SIGRTMIN		/* blocked by all: the watcher waits for it */

static struct {
	pthread_mutex_t lock;
	struct list entries;
	timer_t timer;				/* sends WAKE_SIGNAL */
	atomic_bool has_timer, is_armed;
	int signal_fd;				/* of who waits for a descriptor as well */
	uint32_t limit_ms;
	void (*hung)(void);
	void (*beat)(void);			/* or NULL */
} watchdog = {
	.lock = PTHREAD_MUTEX_INITIALIZER,
	.entries = { &watchdog.entries, &watchdog.entries }, .signal_fd = -1,
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

void watchdog_set_limit(uint32_t ms, void (*hung)(void))
{
	watchdog.limit_ms = ms;
	watchdog.hung = hung;
}

void watchdog_set_beat(void (*beat)(void))
{
	watchdog.beat = beat;
}

/* Has it just been in its batch for too long? */
static bool has_hung(struct watchdog_entry *e, uint64_t now_ms)
{
	if (e->is_hung || !watchdog.limit_ms || now_ms - e->seen_ms < watchdog.limit_ms)
		return false;
	e->is_hung = true;
	return true;
}

/* Signals each thread that is still in the batch of the last look. True: some are in one. */
static bool look(void)
{
	bool is_any_busy = false, is_any_hung = false;
	uint64_t now_ms = clock_ms();

	pthread_mutex_lock(&watchdog.lock);
	list_for_each(node, &watchdog.entries) {
		struct watchdog_entry *e = container_of(node, struct watchdog_entry, node);
		unsigned batch = atomic_load(&e->batch);

		if (batch & 1 && batch == e->seen) {
			pthread_kill(e->thread, SIGNAL);
			is_any_hung |= has_hung(e, now_ms);
		}
		if (batch != e->seen) {
			e->seen_ms = now_ms;
			e->is_hung = false;
		}
		is_any_busy |= batch & 1;
		e->seen = batch;
	}
	pthread_mutex_unlock(&watchdog.lock);
	if (is_any_hung)
		watchdog.hung();
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

int watchdog_open(const sigset_t *ends)
{
	sigset_t set = *ends;

	sigaddset(&set, WAKE_SIGNAL);
	watchdog.signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return watchdog.signal_fd < 0 ? error_last() : 0;
}

/* The next signal; 0: @fd can be read; WAKE_SIGNAL also where there is no timer and
 * it is time; -errno. */
static int wait_for_either(int fd, bool has_timer)
{
	struct pollfd p[] = {
		{ .fd = watchdog.signal_fd, .events = POLLIN }, { .fd = fd, .events = POLLIN },
	};
	struct signalfd_siginfo info;
	int r;

	r = poll(p, 2, has_timer ? -1 : WATCHDOG_MS);
	if (r < 0 && errno != EINTR)
		return error_last();
	if (r > 0 && p[0].revents && read(p[0].fd, &info, sizeof info) == sizeof info)
		return (int)info.ssi_signo;
	return r > 0 && p[1].revents ? 0 : WAKE_SIGNAL;
}

static int wait_for_signal(const sigset_t *set, bool has_timer)
{
	int sig = sigtimedwait(set, NULL, has_timer ? NULL : &interval);

	if (sig < 0)
		return errno != EINTR && errno != EAGAIN ? error_last() : WAKE_SIGNAL;
	return sig;
}

int watchdog_wait(const sigset_t *ends, int fd)
{
	sigset_t set = *ends;

	sigaddset(&set, WAKE_SIGNAL);
	for (;;) {
		bool has_timer = atomic_load(&watchdog.has_timer);
		int sig = fd >= 0 ? wait_for_either(fd, has_timer) :
			wait_for_signal(&set, has_timer);

		if (sig != WAKE_SIGNAL)
			return sig;
		/* A batch that begins from here on arms it; one that began before is seen. */
		atomic_store(&watchdog.is_armed, false);
		if (look())
			arm();
		if (watchdog.beat)
			watchdog.beat();
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
