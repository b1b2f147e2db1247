/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The daemon's expenses: see cost.h.
 */
#include "bench/cost.h"

#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "bench/clock.h"
#include "support/deadline.h"
#include "support/must.h"

static const double GIB = 1024.0 * 1024 * 1024, MIB = 1024.0 * 1024;

/* Of a thread, voluntary and not; with @name only if that is its name. None once it has ended. */
static uint64_t thread_switches(const char *status, const char *name)
{
	FILE *f = fopen(status, "re");
	char line[128], own[32] = "";
	uint64_t sum = 0;

	while (f && fgets(line, sizeof line, f)) {
		sscanf(line, "Name: %31[^\n]", own);
		if (strstr(line, "ctxt_switches:") && (!name || strcmp(own, name) == 0))
			sum += strtoull(strchr(line, ':') + 1, NULL, 10);
	}
	if (f)
		fclose(f);
	return sum;
}

/* Of ours only workers: other threads have no part in traffic, and may end meanwhile. */
static uint64_t count_switches(const struct cost *c)
{
	const char *name = c->host->daemon.is_foreign ? NULL : "worker";
	char path[300];
	uint64_t sum = 0;
	struct dirent *e;
	DIR *dir;

	if (c->worker) {
		snprintf(path, sizeof path, "/proc/self/task/%d/status", (int)c->worker);
		return thread_switches(path, NULL);
	}
	snprintf(path, sizeof path, "/proc/%d/task", (int)c->engine);
	dir = opendir(path);
	must(dir);
	while ((e = readdir(dir))) {
		if (e->d_name[0] == '.')
			continue;
		snprintf(path, sizeof path, "/proc/%d/task/%.20s/status", (int)c->engine,
			 e->d_name);
		sum += thread_switches(path, name);
	}
	closedir(dir);
	return sum;
}

static void count_notifications(const struct host *h, uint64_t *kicks, uint64_t *calls)
{
	const struct guest_ring *r;

	*kicks = *calls = 0;
	for (unsigned i = 0; i < h->n_vms; i++)
		for (r = h->vms[i].d.vq; r < h->vms[i].d.vq + VSOCK_NUM_QUEUES; r++) {
			*kicks += r->n_kicks;
			*calls += r->n_calls;
		}
}

/* CPUCLOCK_SCHED of one thread of ours, which <time.h> has no name for. */
static clockid_t clock_of_thread(pid_t tid)
{
	return (clockid_t)(~(unsigned)tid << 3 | 4 | 2);
}

static pid_t tracer_of(pid_t pid)
{
	char path[64], line[128];
	long tracer = 0;
	FILE *f;

	snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
	f = fopen(path, "re");
	must(f);
	while (fgets(line, sizeof line, f))
		sscanf(line, "TracerPid: %ld", &tracer);
	fclose(f);
	return (pid_t)tracer;
}

static uint64_t anon_bytes(pid_t pid)
{
	char path[64], line[128];
	unsigned long kib = 0;
	FILE *f;

	snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
	f = fopen(path, "re");
	must(f);
	while (fgets(line, sizeof line, f))
		sscanf(line, "RssAnon: %lu", &kib);
	fclose(f);
	return (uint64_t)kib * 1024;
}

uint64_t cost_anon_bytes(const struct daemon *d)
{
	return anon_bytes(daemon_engine(d)) + (d->is_supervised ? anon_bytes(d->pid) : 0);
}

static void start_strace(struct cost *c)
{
	char pid[16];
	int64_t deadline = deadline_in(5000);

	snprintf(pid, sizeof pid, "%d", (int)c->engine);
	snprintf(c->file, sizeof c->file, "%s/strace", c->host->daemon.dir);
	c->strace = fork();
	must(c->strace >= 0);
	if (c->strace == 0) {
		prctl(PR_SET_PDEATHSIG, SIGTERM);
		execlp("strace", "strace", "-c", "-f", "-qq", "-U", "calls,name", "-o",
		       c->file, "-p", pid, (char *)NULL);
		_exit(127);
	}
	while (tracer_of(c->engine) == 0) {
		if (waitpid(c->strace, NULL, WNOHANG) || !deadline_left(deadline))
			die("strace is not available here");
		poll(NULL, 0, 5);
	}
}

/* The last line of strace's table is the sum. */
static uint64_t stop_strace(struct cost *c)
{
	char line[256];
	uint64_t n, total = 0;
	FILE *f;

	kill(c->strace, SIGINT);
	must(waitpid(c->strace, NULL, 0) == c->strace);
	c->strace = 0;
	f = fopen(c->file, "re");
	must(f);
	while (fgets(line, sizeof line, f))
		if (sscanf(line, "%lu", &n) == 1)
			total = n;
	fclose(f);
	return total;
}

void cost_start(struct cost *c, const struct run *r, const struct host *h)
{
	*c = (struct cost){ .host = h };
	if (h->has_kernel) {
		c->worker = h->vms[0].kernel.worker;
		c->clock = clock_of_thread(c->worker);
	} else {
		c->engine = daemon_engine(&h->daemon);
		if (r->counts_syscalls)
			start_strace(c);
		must(clock_getcpuclockid(c->engine, &c->clock) == 0);
	}
	c->switches = count_switches(c);
	count_notifications(h, &c->kicks, &c->calls);
	c->cpu_ns = clock_ns(c->clock);
}

static void stop(struct cost *c, const struct run *r, double many, double few,
		 const char *const names[5])
{
	double cpu_s = (double)(clock_ns(c->clock) - c->cpu_ns) / 1e9;
	double switches = (double)(count_switches(c) - c->switches);
	uint64_t kicks, calls;

	if (r->counts_syscalls) {
		figure_add(r->out, names[4], (double)stop_strace(c) / few);
		return;
	}
	count_notifications(c->host, &kicks, &calls);
	figure_add(r->out, names[0], cpu_s / many);
	figure_add(r->out, names[1], switches / few);
	figure_add(r->out, names[2], (double)(kicks - c->kicks) / few);
	figure_add(r->out, names[3], (double)(calls - c->calls) / few);
}

void cost_stop_bytes(struct cost *c, const struct run *r, uint64_t bytes)
{
	static const char *const names[] = {
		"cpu s/GiB", "switches/MiB", "kicks/MiB", "calls/MiB", "syscalls/MiB",
	};

	stop(c, r, (double)bytes / GIB, (double)bytes / MIB, names);
}

void cost_stop_ops(struct cost *c, const struct run *r, uint64_t ops)
{
	static const char *const names[] = {
		"cpu s/100k", "switches/op", "kicks/op", "calls/op", "syscalls/op",
	};

	stop(c, r, (double)ops / 1e5, (double)ops, names);
}

void cost_of_thread(const struct run *r, const char *who, double cpu_s,
		    uint64_t bytes)
{
	char name[28];

	snprintf(name, sizeof name, "%.12s cpu s/GiB", who);
	figure_add(r->out, name, cpu_s / ((double)bytes / GIB));
}

void cost_of_thread_ops(const struct run *r, const char *who, double cpu_s,
			uint64_t ops)
{
	char name[28];

	snprintf(name, sizeof name, "%.12s cpu s/100k", who);
	figure_add(r->out, name, cpu_s / ((double)ops / 1e5));
}
