/* SPDX-License-Identifier: BSD-3-Clause */
/* Closes descriptors that others have made, and unmaps their memory. */
#include "util/closer.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include "util/clock.h"
#include "util/error.h"
#include "util/fd.h"
#include "util/log_limit.h"

enum {
	STACK_BYTES = 256 * 1024,
	HELD_UP_MS = 100,			/* in one close: others have to do the rest */
	IDLE_MS = 10,				/* then the thread ends */
	PIECE_BYTES = 4 * 1024 * 1024,		/* unmapped at once; more, where that is quick */
	PIECE_US = 500,
};

/* Threads that do one kind of work. All fields under closer.lock. */
struct pool {
	const char *name, *what;
	unsigned max;
	bool (*has_any)(void);
	void (*do_first)(void);			/* without the lock, but for taking it */
	pthread_cond_t changed;
	unsigned n_threads, n_busy;
	uint64_t last_taken_ms;			/* when a thread took one the last time */
	bool has_watcher;
};

/* Descriptors to be closed are a list, each the index of the next, so that adding one
 * needs no memory and cannot fail. */
static struct {
	pthread_mutex_t lock;
	int *next;				/* [n_fds]; NULL: not started */
	int n_fds;
	int first, last;			/* -1: none */
	struct closer_map *maps, **maps_end;
	uint64_t map_bytes, map_bytes_max;	/* of those that wait */
	bool may_start;				/* threads */
} closer = {
	.lock = PTHREAD_MUTEX_INITIALIZER, .first = -1, .last = -1, .maps_end = &closer.maps,
};

/* ---- what there is to do ---- */

static bool has_fd(void)
{
	return closer.first >= 0;
}

static void close_first(void)
{
	int fd = closer.first;

	closer.first = closer.next[fd];
	if (closer.first < 0)
		closer.last = -1;
	pthread_mutex_unlock(&closer.lock);
	fd_close(&fd);
	pthread_mutex_lock(&closer.lock);
}

static bool has_map(void)
{
	return closer.maps;
}

/* The next size, after one that took @took_us. */
static size_t adapt_piece(size_t piece, size_t least, uint64_t took_us)
{
	if (took_us < PIECE_US / 2 && piece <= SIZE_MAX / 2)
		return piece * 2;
	return took_us > PIECE_US && piece > least ? piece / 2 : piece;
}

static void unmap(struct closer_map m)
{
	size_t least = m.granule > PIECE_BYTES ? m.granule : PIECE_BYTES, piece = least;
	char *at = m.at;

	while (m.len) {
		size_t here = m.len < piece ? m.len : piece;
		uint64_t begin_us = clock_us();

		if (munmap(at, here) < 0) {
			log_limited(LEVEL_ERR, "closer",
				    "memory that was given back stays mapped: %s",
				    error_str(error_last()));
			break;
		}
		at += here;
		m.len -= here;
		piece = adapt_piece(piece, least, clock_us() - begin_us);
	}
}

static struct closer_map take_map(void)
{
	struct closer_map *first = closer.maps, m = *first;

	closer.maps = m.next;
	if (!closer.maps)
		closer.maps_end = &closer.maps;
	free(first);
	return m;
}

static void unmap_first(void)
{
	struct closer_map m = take_map();

	pthread_mutex_unlock(&closer.lock);
	unmap(m);
	pthread_mutex_lock(&closer.lock);
	closer.map_bytes -= m.len;
}

static struct pool closers = {
	.name = "closer", .what = "close descriptors", .max = CLOSER_THREADS_MAX,
	.has_any = has_fd, .do_first = close_first, .changed = PTHREAD_COND_INITIALIZER,
};

static struct pool unmappers = {
	.name = "unmapper", .what = "unmap memory", .max = CLOSER_UNMAPPERS_MAX,
	.has_any = has_map, .do_first = unmap_first, .changed = PTHREAD_COND_INITIALIZER,
};

/* ---- who does it ---- */

/* Waits for something to do. False: there was nothing for a while. */
static bool wait_for_one(struct pool *p)
{
	const struct timespec until = clock_timespec(clock_ms() + IDLE_MS);

	while (!p->has_any())
		if (pthread_cond_clockwait(&p->changed, &closer.lock, CLOCK_MONOTONIC, &until))
			return p->has_any();
	return true;
}

static void *run(void *arg)
{
	struct pool *p = arg;

	pthread_setname_np(pthread_self(), p->name);
	pthread_mutex_lock(&closer.lock);
	while (wait_for_one(p)) {
		p->last_taken_ms = clock_ms();
		p->n_busy++;
		p->do_first();
		p->n_busy--;
	}
	p->n_threads--;
	pthread_mutex_unlock(&closer.lock);
	return NULL;
}

/* False: there is none to be had. */
static bool start_thread(struct pool *p, void *(*main)(void *))
{
	pthread_attr_t attr;
	pthread_t thread;
	int r = pthread_attr_init(&attr);

	if (!r) {
		pthread_attr_setstacksize(&attr, STACK_BYTES);
		pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
		r = pthread_create(&thread, &attr, main, p);
		pthread_attr_destroy(&attr);
	}
	if (r)
		log_limited(LEVEL_WARN, "closer", "no thread to %s: %s; what takes long holds up a "
			    "worker", p->what, error_str(-r));
	return !r;
}

static bool is_held_up(const struct pool *p)
{
	return p->n_busy == p->n_threads && clock_ms() - p->last_taken_ms >= HELD_UP_MS;
}

static void add_thread_if_held_up(struct pool *p)
{
	if (p->n_threads < p->max && is_held_up(p) && start_thread(p, run))
		p->n_threads++;
}

/* What waits after one that takes long must not wait for somebody to bring the next. */
static void *watch(void *arg)
{
	struct pool *p = arg;

	pthread_setname_np(pthread_self(), p->name);
	pthread_mutex_lock(&closer.lock);
	while (p->has_any() && p->n_threads < p->max) {
		pthread_mutex_unlock(&closer.lock);
		clock_rest(HELD_UP_MS);
		pthread_mutex_lock(&closer.lock);
		if (p->has_any())
			add_thread_if_held_up(p);
	}
	p->has_watcher = false;
	pthread_mutex_unlock(&closer.lock);
	return NULL;
}

/* True: there is a thread that will come to one more soon, or will be: it is made if need be.
 * A thread that has nothing else to do needs no watcher. */
static bool provide_thread(struct pool *p)
{
	if (!closer.may_start)
		return true;
	if (!p->n_threads)
		p->n_threads += start_thread(p, run);
	else
		add_thread_if_held_up(p);
	if ((p->n_busy || p->has_any()) && !p->has_watcher && p->n_threads < p->max)
		p->has_watcher = start_thread(p, watch);
	return p->n_threads > 0;
}

/* ---- */

/* 16 TiB of the 128 that most machines have, or what a limit leaves. */
static uint64_t find_map_bytes_max(void)
{
	uint64_t max = UINT64_C(1) << (sizeof(void *) == 8 ? 44 : 28);
	struct rlimit limit;

	if (getrlimit(RLIMIT_AS, &limit) == 0 && limit.rlim_cur / 8 < max)
		max = limit.rlim_cur / 8;
	return max;
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
	closer.map_bytes_max = find_map_bytes_max();
	return 0;
}

static void start(struct pool *p)
{
	if (!p->has_any() || provide_thread(p))
		return;
	while (p->has_any())
		p->do_first();
}

void closer_start(void)
{
	pthread_mutex_lock(&closer.lock);
	closer.may_start = true;
	start(&closers);
	start(&unmappers);
	pthread_mutex_unlock(&closer.lock);
}

void closer_deinit(void)
{
	pthread_mutex_lock(&closer.lock);
	while (closer.maps)
		take_map();
	pthread_mutex_unlock(&closer.lock);
}

static void append_fd(int fd)
{
	closer.next[fd] = -1;
	if (closer.last < 0)
		closer.first = fd;
	else
		closer.next[closer.last] = fd;
	closer.last = fd;
}

void closer_close(int *fd)
{
	int taken = fd_take(fd);

	if (taken < 0)
		return;
	pthread_mutex_lock(&closer.lock);
	if (taken < closer.n_fds && provide_thread(&closers)) {
		append_fd(fd_take(&taken));
		pthread_cond_signal(&closers.changed);
	}
	pthread_mutex_unlock(&closer.lock);
	fd_close(&taken);
}

void closer_unmap(struct closer_map *m)
{
	m->next = NULL;
	pthread_mutex_lock(&closer.lock);
	if (m->len <= closer.map_bytes_max - closer.map_bytes && provide_thread(&unmappers)) {
		closer.map_bytes += m->len;
		*closer.maps_end = m;
		closer.maps_end = &m->next;
		pthread_cond_signal(&unmappers.changed);
		m = NULL;
	}
	pthread_mutex_unlock(&closer.lock);
	if (m) {
		unmap(*m);
		free(m);
	}
}
