/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * From a signal's handler: does what the signal does to a process without one. It
 * comes back only to process 1 of a PID namespace, which the kernel spares.
 */
#pragma once

#include <signal.h>

static inline void last_signal_raise(int sig)
{
	sigset_t only;

	signal(sig, SIG_DFL);
	sigemptyset(&only);
	sigaddset(&only, sig);
	pthread_sigmask(SIG_UNBLOCK, &only, NULL);	/* else it would come when we are done */
	raise(sig);
}
