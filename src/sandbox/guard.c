/* SPDX-License-Identifier: BSD-3-Clause */
/* Ends the process, whatever hangs. */
#include "sandbox/guard.h"

#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <sys/time.h>
#include <unistd.h>

#include "util/clock.h"
#include "util/error.h"
#include "util/listener.h"
#include "util/log.h"

enum { UNLINK_MS = 300, SAY_MS = 50 };

static void *run(void *arg)
{
	static const struct itimerval last = { .it_value.tv_usec = UNLINK_MS * 1000 };

	clock_rest(GUARD_MS);
	signal(SIGALRM, SIG_DFL);		/* it ends us, where unlink(2) never returns */
	setitimer(ITIMER_REAL, &last, NULL);
	log_warn("main", "something hangs: the daemon ends without it");
	listener_unlink_all();
	clock_rest(SAY_MS);			/* another thread writes the log */
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
