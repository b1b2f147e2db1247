/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Fails the daemon's calls one after the other, each in a life of its own, and
 * prints what came of it.
 *
 * FAULTS=all: every call. Otherwise the first ones of each kind, where the
 * different places are, and then larger and larger steps.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "e2e/e2e.h"
#include "faults/scenario.h"
#include "support/scratch.h"

enum { DENSE = 64, JOBS = 3 };

enum saying {					/* in the log */
	WARNS,					/* an operator is told the error */
	MENTIONS,				/* it is there to be found, at level info */
	SILENT,					/* none of an operator's concern */
};

/*
 * What is not here cannot fail for want of anything, or only by a mistake of
 * ours: close, epoll_ctl but for ADD, fcntl, munmap, poll, shutdown, sigaction;
 * sendmmsg, after which sendmsg says what the matter is;
 * write to an eventfd, whose full counter is a case of test_stalled, as is a log
 * file that cannot be written.
 */
static const struct row {
	const char *call;
	int error;
	enum saying saying;
	const char *why;			/* not WARNS */
} rows[] = {
	{ "accept4", EMFILE, WARNS, NULL },
	{ "accept4", ENFILE, WARNS, NULL },
	{ "accept4", EINTR, SILENT, "asked again" },
	{ "accept4", ECONNABORTED, SILENT, "asked again: that client is gone" },
	{ "socket", EMFILE, WARNS, NULL },
	{ "socket", ENFILE, WARNS, NULL },
	{ "bind", EACCES, WARNS, NULL },
	{ "listen", ENOBUFS, WARNS, NULL },
	{ "stat", EACCES, WARNS, NULL },
	{ "lstat", EACCES, WARNS, NULL },
	{ "unlink", EACCES, WARNS, NULL },
	{ "connect", ENOMEM, WARNS, NULL },
	{ "connect", EACCES, MENTIONS, "a matter of that one listener" },
	{ "connect", EAGAIN, SILENT, "tried again, its backlog is full" },
	{ "mmap", ENOMEM, WARNS, NULL },
	{ "memory", ENOMEM, WARNS, NULL },
	{ "madvise", ENOMEM, SILENT, "a core dump may be larger" },
	{ "statx", EIO, WARNS, NULL },
	{ "epoll_create1", EMFILE, WARNS, NULL },
	{ "epoll_ctl", ENOSPC, WARNS, NULL },
	{ "epoll_ctl", ENOMEM, WARNS, NULL },
	{ "epoll_wait", EINTR, SILENT, "asked again" },
	{ "eventfd", EMFILE, WARNS, NULL },
	{ "timerfd_create", EMFILE, WARNS, NULL },
	{ "timerfd_settime", ENOSYS, SILENT, "each wait has a time-out of its own" },
	{ "pthread_create", EAGAIN, WARNS, NULL },
	{ "setrlimit", EPERM, WARNS, NULL },
	{ "getrandom", EAGAIN, SILENT, "where things lie is random too" },
	{ "send", ENOBUFS, WARNS, NULL },
	{ "recv", ENOMEM, WARNS, NULL },
	{ "ioctl", ENOMEM, SILENT, "another thread closes it" },
	{ "sendmsg", ENOBUFS, WARNS, NULL },
	{ "sendmsg", EINTR, SILENT, "asked again" },
	{ "recvmsg", ENOMEM, WARNS, NULL },
	{ "recvmsg", EINTR, SILENT, "asked again" },
};
enum { N_ROWS = sizeof rows / sizeof rows[0] };

struct tally {
	unsigned calls, injected, refused, left_out, resets, failed;
};

/* One life; its own process, since it may die. */
struct job {
	pid_t pid;				/* 0: free */
	struct fault fault;
	struct outcome *outcome;		/* shared with the child, as is the report */
	struct faults_report *report;
	char path[64];
};

static struct job jobs[JOBS];

static void on_must(const char *file, int line, const char *text)
{
	char *log = daemon_log(&vhd);

	printf("# %s:%d: %s\n# its log:\n%s\n", file, line, text, log);
	fflush(stdout);
	daemon_kill(&vhd);
	_exit(1);
}

static void *map_shared(int fd, size_t size)
{
	void *map = mmap(NULL, size, PROT_READ | PROT_WRITE,
			 fd < 0 ? MAP_SHARED | MAP_ANONYMOUS : MAP_SHARED, fd, 0);

	must(map != MAP_FAILED);
	return map;
}

static void job_init(struct job *j)
{
	int fd = memfd_create("report", 0);

	must(fd >= 0 && ftruncate(fd, sizeof *j->report) == 0);
	j->report = map_shared(fd, sizeof *j->report);
	snprintf(j->path, sizeof j->path, "/proc/%d/fd/%d", (int)getpid(), fd);
	j->outcome = map_shared(-1, sizeof *j->outcome);
}

static void job_start(struct job *j, const struct fault *fault)
{
	j->fault = *fault;
	fflush(stdout);
	j->pid = fork();
	must(j->pid >= 0);
	if (j->pid)
		return;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	must_hook = on_must;
	scenario_run(&j->fault, j->report, j->path, j->outcome);
	_exit(0);
}

static bool said_enough(const struct row *row, const struct outcome *o)
{
	if (!o->injected || o->at_end || row->saying == SILENT)
		return true;
	return row->saying == WARNS ? o->was_warned : o->was_logged;
}

static void job_judge(const struct job *j, const struct row *row, int status, struct tally *t)
{
	const struct outcome *o = j->outcome;
	bool ok = status == 0 && said_enough(row, o);

	if (!ok)
		printf("# %s: call %u, %s: %s\n", row->call, j->fault.nth,
		       strerrorname_np(row->error), status ? "see above" : "not said in the log");
	t->failed += !ok;
	t->injected += o->injected;
	t->refused += o->refused_to_start;
	t->left_out += o->vms_left_out;
	t->resets += o->resets;
}

/* Waits for one; the job is free then. */
static struct job *job_reap(const struct row *row, struct tally *t)
{
	int status;
	pid_t pid = wait(&status);

	must(pid > 0);
	for (int i = 0; i < JOBS; i++)
		if (jobs[i].pid == pid) {
			jobs[i].pid = 0;
			job_judge(&jobs[i], row, status, t);
			return &jobs[i];
		}
	die("a child that nobody knows");
}

static struct job *job_free(const struct row *row, struct tally *t)
{
	for (int i = 0; i < JOBS; i++)
		if (!jobs[i].pid)
			return &jobs[i];
	return job_reap(row, t);
}

static unsigned n_running(void)
{
	unsigned n = 0;

	for (int i = 0; i < JOBS; i++)
		n += jobs[i].pid != 0;
	return n;
}

static unsigned next_nth(unsigned nth, bool all)
{
	return all || nth < DENSE ? nth + 1 : nth + nth / 4;
}

static void run_row(const struct row *row, bool all, struct tally *t)
{
	struct fault f = { .call = row->call, .error = row->error };

	*t = (struct tally){ 0 };
	job_start(&jobs[0], &f);		/* without a fault: how many there are */
	job_reap(row, t);
	t->calls = jobs[0].outcome->calls;
	t->resets = 0;
	for (f.nth = 1; f.nth <= t->calls; f.nth = next_nth(f.nth, all))
		job_start(job_free(row, t), &f);
	while (n_running())
		job_reap(row, t);
}

/* The daemon raises a soft limit that is below the hard one. */
static void leave_room_for_setrlimit(void)
{
	struct rlimit limit;

	must(getrlimit(RLIMIT_NOFILE, &limit) == 0);
	limit.rlim_cur = limit.rlim_max - 1;
	must(setrlimit(RLIMIT_NOFILE, &limit) == 0);
}

static void print_table(const struct tally *t)
{
	printf("# %-16s %-13s %6s %7s %9s %9s %7s %6s  %s\n", "call", "error", "calls",
	       "faults", "survived", "no start", "VM out", "resets", "in the log");
	for (int i = 0; i < N_ROWS; i++)
		printf("# %-16s %-13s %6u %7u %9u %9u %7u %6u  %s\n", rows[i].call,
		       strerrorname_np(rows[i].error), t[i].calls, t[i].injected,
		       t[i].injected - t[i].refused, t[i].refused, t[i].left_out, t[i].resets,
		       rows[i].why ? rows[i].why : "warns");
}

int main(int argc, char **argv)
{
	const char *which = getenv("FAULTS"), *only = argc > 1 ? argv[1] : NULL;
	static struct tally tallies[N_ROWS];
	int n_failed = 0;

	scratch_begin();
	for (int i = 0; i < JOBS; i++)
		job_init(&jobs[i]);
	leave_room_for_setrlimit();
	printf("1..%d\n", N_ROWS);
	for (int i = 0; i < N_ROWS; i++) {
		struct tally *t = &tallies[i];
		bool ok;

		if (only && strcmp(only, rows[i].call) != 0)
			continue;
		run_row(&rows[i], which && strcmp(which, "all") == 0, t);
		ok = !t->failed && t->injected;
		n_failed += !ok;
		printf("%s %d - %s %s\n", ok ? "ok" : "not ok", i + 1, rows[i].call,
		       strerrorname_np(rows[i].error));
		fflush(stdout);
	}
	print_table(tallies);
	scratch_end();
	return n_failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
