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

/* Voluntary and not, of all threads. */
static uint64_t count_switches(pid_t pid)
{
	char path[300], line[128];
	uint64_t sum = 0;
	struct dirent *e;
	DIR *dir;
	FILE *f;

	snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
	dir = opendir(path);
	must(dir);
	while ((e = readdir(dir))) {
		if (e->d_name[0] == '.')
			continue;
		snprintf(path, sizeof path, "/proc/%d/task/%.20s/status", (int)pid,
			 e->d_name);
		if (!(f = fopen(path, "re")))
			continue;
		while (fgets(line, sizeof line, f))
			if (strstr(line, "ctxt_switches:"))
				sum += strtoull(strchr(line, ':') + 1, NULL, 10);
		fclose(f);
	}
	closedir(dir);
	return sum;
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
	snprintf(c->file, sizeof c->file, "%s/strace", c->daemon->dir);
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

void cost_start(struct cost *c, const struct run *r, const struct daemon *d)
{
	*c = (struct cost){ .daemon = d, .engine = daemon_engine(d) };
	if (r->counts_syscalls)
		start_strace(c);
	must(clock_getcpuclockid(c->engine, &c->clock) == 0);
	c->switches = count_switches(c->engine);
	c->cpu_ns = clock_ns(c->clock);
}

static void stop(struct cost *c, const struct run *r, double many, double few,
		 const char *const names[3])
{
	double cpu_s = (double)(clock_ns(c->clock) - c->cpu_ns) / 1e9;
	double switches = (double)(count_switches(c->engine) - c->switches);

	if (r->counts_syscalls) {
		figure_add(r->out, names[2], (double)stop_strace(c) / few);
		return;
	}
	figure_add(r->out, names[0], cpu_s / many);
	figure_add(r->out, names[1], switches / few);
}

void cost_stop_bytes(struct cost *c, const struct run *r, uint64_t bytes)
{
	static const char *const names[] = {
		"cpu s/GiB", "switches/MiB", "syscalls/MiB",
	};

	stop(c, r, (double)bytes / GIB, (double)bytes / MIB, names);
}

void cost_stop_ops(struct cost *c, const struct run *r, uint64_t ops)
{
	static const char *const names[] = {
		"cpu s/100k", "switches/op", "syscalls/op",
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
