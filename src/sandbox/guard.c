/* SPDX-License-Identifier: BSD-3-Clause */
/* Ends the process, whatever hangs. */
#include "sandbox/guard.h"

#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/time.h>
#include <unistd.h>

#include "sandbox/sandbox_internal.h"
#include "util/clock.h"
#include "util/error.h"
#include "util/listener.h"
#include "util/log.h"

enum {
	GUARD_MS = SANDBOX_HAS_SANITIZER ? 5000 : 1200,
	UNLINK_MS = SANDBOX_HAS_SANITIZER ? 3000 : 300,
	SAY_MS = SANDBOX_HAS_SANITIZER ? 3000 : 400,
};

static struct {
	pthread_mutex_t lock;
	bool is_over;				/* nothing that hangs is left */
} guard = { .lock = PTHREAD_MUTEX_INITIALIZER };

/* An alarm after @ms, which ends us; 0: none any more. */
static void set_alarm(uint32_t ms)
{
	const struct itimerval once = { .it_value = { ms / 1000, ms % 1000 * 1000 } };

	signal(SIGALRM, SIG_DFL);
	setitimer(ITIMER_REAL, &once, NULL);
}

/* False: there is no need. */
static bool take_over(void)
{
	bool is_needed;

	pthread_mutex_lock(&guard.lock);
	is_needed = !guard.is_over;
	if (is_needed)
		set_alarm(UNLINK_MS);		/* unlink(2) may never return */
	pthread_mutex_unlock(&guard.lock);
	return is_needed;
}

static void *run(void *arg)
{
	clock_rest(GUARD_MS);
	if (!take_over())
		return NULL;
	log_warn("main", "something hangs: the daemon ends without it");
	listener_unlink_all();
	set_alarm(0);
	log_stop_thread_within(SAY_MS);
	_exit((int)(intptr_t)arg);
}

void guard_start(int status)
{
	pthread_t thread;
	int r = pthread_create(&thread, NULL, run, (void *)(intptr_t)status);

	if (r)
		log_warn("main", "no thread to see to the end: %s", error_str(-r));
	else
		pthread_detach(thread);
}

void guard_stop(void)
{
	pthread_mutex_lock(&guard.lock);
	guard.is_over = true;
	set_alarm(0);
	pthread_mutex_unlock(&guard.lock);
}
