/* SPDX-License-Identifier: BSD-3-Clause */
/* Closes descriptors that others have made. */
#include "util/closer.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>

#include "util/error.h"
#include "util/fd.h"
#include "util/log_limit.h"

enum {
	STACK_BYTES = 256 * 1024,
	HELD_UP_MS = 100,			/* in one close: others have to do the rest */
	IDLE_S = 1,				/* then a thread goes */
};

/* Descriptors to be closed are a list, each the index of the next, so that adding one
 * needs no memory and cannot fail. */
static struct {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	int *next;				/* [n_fds]; NULL: not started */
	int n_fds;
	int first, last;			/* -1: none */
	unsigned n_threads, n_busy;
	uint64_t last_taken_ms;			/* when a thread took one the last time */
} closer = {
	.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER,
	.first = -1, .last = -1,
};

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static int take_first(void)
{
	int fd = closer.first;

	closer.first = closer.next[fd];
	if (closer.first < 0)
		closer.last = -1;
	closer.last_taken_ms = now_ms();
	return fd;
}

/* Waits for something to close. False: there was nothing for a while. */
static bool wait_for_one(void)
{
	struct timespec until;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += IDLE_S;
	while (closer.first < 0)
		if (pthread_cond_clockwait(&closer.changed, &closer.lock, CLOCK_MONOTONIC, &until))
			return closer.first >= 0;
	return true;
}

static void *run(void *arg)
{
	(void)arg;
	pthread_setname_np(pthread_self(), "closer");
	pthread_mutex_lock(&closer.lock);
	while (wait_for_one()) {
		int fd = take_first();

		closer.n_busy++;
		pthread_mutex_unlock(&closer.lock);
		fd_close(&fd);
		pthread_mutex_lock(&closer.lock);
		closer.n_busy--;
	}
	closer.n_threads--;
	pthread_mutex_unlock(&closer.lock);
	return NULL;
}

static void add_thread(void)
{
	pthread_attr_t attr;
	pthread_t thread;
	int r = pthread_attr_init(&attr);

	if (!r) {
		pthread_attr_setstacksize(&attr, STACK_BYTES);
		pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
		r = pthread_create(&thread, &attr, run, NULL);
		pthread_attr_destroy(&attr);
	}
	if (!r)
		closer.n_threads++;
	else
		log_limited(LEVEL_WARN, "closer", "no thread to close descriptors: %s; one that "
			    "takes long to close holds up its worker", error_str(-r));
}

int closer_init(void)
{
	struct rlimit limit;
	size_t n;
	void *at;

	if (closer.next)
		return 0;
	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return error_last();
	n = limit.rlim_max < INT32_MAX ? (size_t)limit.rlim_max : INT32_MAX;
	at = mmap(NULL, n * sizeof *closer.next, PROT_READ | PROT_WRITE,
		  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (at == MAP_FAILED)
		return error_last();
	closer.next = at;			/* pages come with the numbers in use */
	closer.n_fds = (int)n;
	return 0;
}

static void append(int fd)
{
	closer.next[fd] = -1;
	if (closer.last < 0)
		closer.first = fd;
	else
		closer.next[closer.last] = fd;
	closer.last = fd;
}

/* Is there a thread that will come to it soon, or could one be made? */
static bool provide_thread(void)
{
	bool are_held_up = closer.n_busy == closer.n_threads &&
		now_ms() - closer.last_taken_ms >= HELD_UP_MS;

	if (!closer.n_threads || (are_held_up && closer.n_threads < CLOSER_THREADS_MAX))
		add_thread();
	return closer.n_threads > 0;
}

void closer_close(int *fd)
{
	int taken = fd_take(fd);

	if (taken < 0)
		return;
	pthread_mutex_lock(&closer.lock);
	if (taken < closer.n_fds && provide_thread()) {
		append(fd_take(&taken));
		pthread_cond_signal(&closer.changed);
	}
	pthread_mutex_unlock(&closer.lock);
	fd_close(&taken);
}
