/* SPDX-License-Identifier: BSD-3-Clause */
/* Tells a service manager how we are. */
#include "daemon/notify.h"

#include <poll.h>
#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "daemon/fd_store.h"
#include "util/clock.h"
#include "util/env.h"
#include "util/error.h"
#include "util/fd.h"
#include "util/log.h"

enum {
	STATUS_MS = 1000,			/* between two of them, at least */
	RETRY_MS = 100,				/* where the manager's queue is full */
	END_MS = 200,				/* for it to listen, if it is to hear of the end */
	TEXT_MAX = 256,
};

/* Workers use it as long as there are any, so it is not undone. */
static struct {
	int fd;					/* -1: there is no manager */
	uint32_t watchdog_ms;			/* between two WATCHDOG=1; 0: none is waited for */
	pthread_t thread;
	bool has_thread;
	bool (*is_held_up)(void);

	pthread_mutex_t lock;			/* of what follows */
	pthread_cond_t changed;
	size_t n_vms;
	int n_front_ends;
	unsigned status, status_sent;		/* count the changes */
	bool is_ready_sent, is_stopping;
	bool is_reloading;			/* to be told */
	uint64_t reloading_us;			/* since when */
} notify = {
	.fd = -1, .lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER,
};

/* What the thread alone knows: when it may, or has to, send what. */
struct agenda {
	uint64_t status_ms, watchdog_ms, retry_ms;
	bool is_pinged;				/* the manager is to hear that we live */
	bool was_stuck, had_error;
};

/* "@" begins a name that is not in the file system. */
static int make_addr(struct sockaddr_un *sa, socklen_t *len, const char *path)
{
	size_t n = strlen(path);

	if ((*path != '/' && *path != '@') || n < 2)
		return -EAFNOSUPPORT;
	if (n >= sizeof sa->sun_path)
		return -ENAMETOOLONG;
	*sa = (struct sockaddr_un){ .sun_family = AF_UNIX };
	memcpy(sa->sun_path, path, n);
	if (*path == '@')
		sa->sun_path[0] = '\0';
	*len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n);
	return 0;
}

/* Twice in the time that the manager waits; not for who started us. */
static uint32_t find_watchdog_ms(void)
{
	uint64_t pid = env_number("WATCHDOG_PID"), ms = env_number("WATCHDOG_USEC") / 2000;

	if (pid && pid != (uint64_t)getpid())
		return 0;
	return ms > UINT32_MAX ? UINT32_MAX : (uint32_t)ms;
}

int notify_init(void)
{
	const char *path = getenv("NOTIFY_SOCKET");
	struct sockaddr_un sa;
	socklen_t len;
	int r;

	if (!path || !*path)
		return 0;
	if ((r = make_addr(&sa, &len, path)) < 0)
		return r;
	notify.fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (notify.fd < 0)
		return error_last();
	if (connect(notify.fd, (struct sockaddr *)&sa, len) < 0) {
		r = error_last();
		fd_close(&notify.fd);
		return r;
	}
	notify.watchdog_ms = find_watchdog_ms();
	return 0;
}

/* False: not now. What cannot be said at all is not tried again. */
static bool tell(const char *text, bool *had_error)
{
	if (send(notify.fd, text, strlen(text), MSG_NOSIGNAL) >= 0)
		return true;
	if (errno == EAGAIN || errno == EINTR || errno == ENOBUFS)
		return false;
	if (!*had_error)
		log_warn("main", "NOTIFY_SOCKET: %s: the service manager does not hear us",
			 error_str(error_last()));
	*had_error = true;
	return true;
}

static bool is_status_due(const struct agenda *a, uint64_t now)
{
	return notify.status != notify.status_sent && now >= a->status_ms;
}

/* When there is something to do next. */
static uint64_t next_ms(const struct agenda *a)
{
	uint64_t next = UINT64_MAX;

	if (!notify.is_ready_sent || notify.is_reloading || a->is_pinged || fd_store_is_due())
		next = 0;
	else if (notify.status != notify.status_sent)
		next = a->status_ms;
	if (notify.watchdog_ms && a->watchdog_ms < next)
		next = a->watchdog_ms;
	return next < a->retry_ms ? a->retry_ms : next;
}

/* Who has not moved since the last look is held up. */
static void look_at_workers(struct agenda *a, uint64_t now)
{
	bool is_stuck = notify.is_held_up();

	a->watchdog_ms = now + notify.watchdog_ms;
	a->is_pinged = !is_stuck;
	if (is_stuck && !a->was_stuck)
		log_warn("main", "a worker is held up: the service manager hears no WATCHDOG=1");
	a->was_stuck = is_stuck;
}

/* There may be thousands to be sent, ten at a time. What else is short than room, @error, does not
 * tell when it is there again. */
static void wait_for_room(struct agenda *a, int error)
{
	struct pollfd p = { .fd = notify.fd, .events = POLLOUT };

	pthread_mutex_unlock(&notify.lock);
	poll(&p, 1, RETRY_MS);
	pthread_mutex_lock(&notify.lock);
	a->retry_ms = error == -EAGAIN ? 0 : clock_ms() + 1;
}

/* All that is due, in one message; with the lock, which is let go of to send it. */
static void send_due(struct agenda *a, uint64_t now)
{
	bool has_status = is_status_due(a, now), is_reloading = notify.is_reloading, is_sent;
	unsigned status = notify.status;
	char text[TEXT_MAX];
	int len = 0, r = fd_store_send(notify.fd);	/* before READY */

	if (r) {
		wait_for_room(a, r);
		return;
	}
	if (is_reloading)
		len += snprintf(text + len, sizeof text - (size_t)len,
				"RELOADING=1\nMONOTONIC_USEC=%llu\n",
				(unsigned long long)notify.reloading_us);
	else if (!notify.is_ready_sent)
		len += snprintf(text + len, sizeof text - (size_t)len, "READY=1\n");
	if (a->is_pinged)
		len += snprintf(text + len, sizeof text - (size_t)len, "WATCHDOG=1\n");
	if (has_status)
		len += snprintf(text + len, sizeof text - (size_t)len,
				"STATUS=%zu VM%s, %d front-end%s connected\n", notify.n_vms,
				notify.n_vms == 1 ? "" : "s", notify.n_front_ends,
				notify.n_front_ends == 1 ? "" : "s");
	if (!len)
		return;
	pthread_mutex_unlock(&notify.lock);
	is_sent = tell(text, &a->had_error);
	pthread_mutex_lock(&notify.lock);
	if (!is_sent) {
		a->retry_ms = now + RETRY_MS;
		return;
	}
	if (is_reloading)
		notify.is_reloading = false;
	else
		notify.is_ready_sent = true;
	a->is_pinged = false;
	if (has_status) {
		notify.status_sent = status;
		a->status_ms = now + STATUS_MS;
	}
}

static void wait_until(uint64_t ms)
{
	const struct timespec until = clock_timespec(ms);

	if (ms == UINT64_MAX)
		pthread_cond_wait(&notify.changed, &notify.lock);
	else
		pthread_cond_clockwait(&notify.changed, &notify.lock, CLOCK_MONOTONIC, &until);
}

/* The last word is tried again here, for there is no later. */
static void tell_end(struct agenda *a)
{
	uint64_t until = clock_ms() + END_MS, now;
	struct pollfd p = { .fd = notify.fd, .events = POLLOUT };

	while (!tell("STOPPING=1\nSTATUS=ending\n", &a->had_error) && (now = clock_ms()) < until)
		poll(&p, 1, (int)(until - now));
	fd_store_end(notify.fd, until);
}

static void *run(void *arg)
{
	struct agenda agenda = { .watchdog_ms = clock_ms() };

	(void)arg;
	pthread_setname_np(pthread_self(), "notify");
	pthread_mutex_lock(&notify.lock);
	while (!notify.is_stopping) {
		uint64_t now = clock_ms(), next = next_ms(&agenda);

		if (now < next) {
			wait_until(next);
			continue;
		}
		if (notify.watchdog_ms && now >= agenda.watchdog_ms)
			look_at_workers(&agenda, now);
		send_due(&agenda, now);
	}
	pthread_mutex_unlock(&notify.lock);
	tell_end(&agenda);
	return NULL;
}

static void wake(void)
{
	pthread_mutex_lock(&notify.lock);
	pthread_cond_signal(&notify.changed);
	pthread_mutex_unlock(&notify.lock);
}

int notify_start(size_t n_vms, bool (*is_held_up)(void))
{
	int r;

	if (notify.fd < 0)
		return 0;
	pthread_mutex_lock(&notify.lock);
	notify.n_vms = n_vms;
	notify.is_held_up = is_held_up;
	notify.status++;
	pthread_mutex_unlock(&notify.lock);
	fd_store_set_sender(wake);
	r = pthread_create(&notify.thread, NULL, run, NULL);
	if (r)
		return -r;
	notify.has_thread = true;
	return 0;
}

void notify_reloading(void)
{
	if (notify.fd < 0)
		return;
	pthread_mutex_lock(&notify.lock);
	notify.is_reloading = true;
	notify.reloading_us = clock_ms() * 1000;
	notify.is_ready_sent = false;
	pthread_mutex_unlock(&notify.lock);
}

void notify_reloaded(size_t n_vms)
{
	if (notify.fd < 0)
		return;
	pthread_mutex_lock(&notify.lock);
	notify.n_vms = n_vms;
	notify.status++;
	pthread_cond_signal(&notify.changed);
	pthread_mutex_unlock(&notify.lock);
}

void notify_front_end(int n)
{
	if (notify.fd < 0)
		return;
	pthread_mutex_lock(&notify.lock);
	notify.n_front_ends += n;
	notify.status++;
	pthread_cond_signal(&notify.changed);
	pthread_mutex_unlock(&notify.lock);
}

void notify_flush(int ms)
{
	uint64_t until = clock_ms() + (uint64_t)ms;

	while (notify.has_thread && fd_store_is_due() && clock_ms() < until)
		clock_rest(1);
}

void notify_stop(void)
{
	if (!notify.has_thread)
		return;
	pthread_mutex_lock(&notify.lock);
	notify.is_stopping = true;
	pthread_cond_signal(&notify.changed);
	pthread_mutex_unlock(&notify.lock);
	pthread_join(notify.thread, NULL);
	notify.has_thread = false;
}
