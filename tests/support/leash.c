/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A test program dies with whoever runs it, and what it forks with it: so whatever ends
 * a run of tests, by whichever signal, ends all of it. It is enough to link this.
 *
 * Programs that are executed keep the leash, unless they become somebody else or make a
 * user namespace, as a daemon in the sandbox does that root has not started: Check ends
 * that one with the process group of its test.
 */
#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

static pid_t parent;

static void before_fork(void)
{
	parent = getpid();
}

static void in_child(void)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() && getppid() != parent)	/* gone meanwhile; 0: out of our PID namespace */
		_exit(1);
}

static __attribute__((constructor)) void begin(void)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	pthread_atfork(before_fork, NULL, in_child);
}
