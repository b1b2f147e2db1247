/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A process per measurement: see isolate.h.
 */
#include "bench/isolate.h"

#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/must.h"
#include "support/scratch.h"

enum { RUN_SECONDS_MAX = 90, PEER_SECONDS_MAX = 45 };

static struct measure *shared;

void isolate_init(void)
{
	struct rlimit fds;

	scratch_begin();
	setenv("TEST_SANDBOX", "", 0);		/* measured as it runs; nothing counts its fds */
	shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	must(shared != MAP_FAILED);
	must(getrlimit(RLIMIT_NOFILE, &fds) == 0);
	fds.rlim_cur = fds.rlim_max;
	must(setrlimit(RLIMIT_NOFILE, &fds) == 0);
	signal(SIGPIPE, SIG_IGN);
}

void isolate_deinit(void)
{
	scratch_end();
}

static void on_must(const char *file, int line, const char *text)
{
	const char *slash = strrchr(file, '/');

	snprintf(shared->error, sizeof shared->error, "%s:%d: %s",
		 slash ? slash + 1 : file, line, text);
	_exit(1);
}

static void pin(void)
{
	cpu_set_t all, one;
	int last = 0;

	must(sched_getaffinity(0, sizeof all, &all) == 0);
	for (int i = 0; i < CPU_SETSIZE; i++)
		if (CPU_ISSET(i, &all))
			last = i;
	CPU_ZERO(&one);
	CPU_SET(last, &one);
	must(sched_setaffinity(0, sizeof one, &one) == 0);
}

/* The daemon inherits the CPU, and dies with us. */
static void run_child(struct run *r, pid_t parent)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1);
	must_hook = on_must;
	alarm(r->is_foreign ? PEER_SECONDS_MAX : RUN_SECONDS_MAX);
	if (r->what->is_pinned)
		pin();
	r->out = shared;
	r->what->run(r);
	shared->is_done = true;
	_exit(0);
}

void isolate_run(struct run *r)
{
	struct measure *out = r->out;
	pid_t parent = getpid(), child;
	int status;

	memset(shared, 0, sizeof *shared);
	fflush(NULL);
	child = fork();
	must(child >= 0);
	if (child == 0)
		run_child(r, parent);
	must(waitpid(child, &status, 0) == child);
	*out = *shared;
	if (!out->is_done && !out->error[0])
		snprintf(out->error, sizeof out->error, WIFSIGNALED(status) &&
			 WTERMSIG(status) == SIGALRM ? "took too long" :
			 "ended with wait status %#x", (unsigned)status);
}
