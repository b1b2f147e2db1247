/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the kernel counts for the daemon: descriptors, threads, memory, CPU time
 * and wake-ups, from /proc.
 */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "support/daemon.h"
#include "support/deadline.h"
#include "support/must.h"

static unsigned count_entries(pid_t pid, const char *what)
{
	char path[512];
	unsigned n = 0;
	struct dirent *e;
	DIR *dir;

	snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, what);
	dir = opendir(path);
	must(dir);
	while ((e = readdir(dir)))
		n += e->d_name[0] != '.';
	closedir(dir);
	return n;
}

static void read_proc(pid_t pid, const char *what, char *text, size_t size)
{
	char path[512];
	size_t n;
	FILE *f;

	snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, what);
	f = fopen(path, "re");
	must(f);
	n = fread(text, 1, size - 1, f);
	text[n] = '\0';
	fclose(f);
}

static uint64_t cpu_ms(pid_t pid)
{
	char text[1024], *p;
	unsigned long user, sys;

	read_proc(pid, "stat", text, sizeof text);
	p = strrchr(text, ')');			/* the name may hold anything */
	must(p);
	must(sscanf(p + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu",
		    &user, &sys) == 2);
	return (user + sys) * 1000 / (unsigned long)sysconf(_SC_CLK_TCK);
}

static uint64_t wakeups(pid_t pid)
{
	static const char key[] = "\nvoluntary_ctxt_switches:";
	char text[8192], path[300], *p;
	uint64_t sum = 0;
	struct dirent *e;
	DIR *dir;

	snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
	dir = opendir(path);
	must(dir);
	while ((e = readdir(dir))) {
		if (e->d_name[0] == '.')
			continue;
		snprintf(path, sizeof path, "task/%.20s/status", e->d_name);
		read_proc(pid, path, text, sizeof text);
		if (atoi(e->d_name) != pid && !strstr(text, "Name:\tworker\n"))
			continue;		/* a sanitizer's thread */
		if ((p = strstr(text, key)))
			sum += strtoull(p + sizeof key - 1, NULL, 10);
	}
	closedir(dir);
	return sum;
}

struct daemon_usage daemon_usage(const struct daemon *d)
{
	struct daemon_usage u = {
		.fds = count_entries(d->pid, "fd"),
		.threads = count_entries(d->pid, "task"),
		.cpu_ms = cpu_ms(d->pid),
		.wakeups = wakeups(d->pid),
	};
	unsigned long pages;
	char text[256];

	read_proc(d->pid, "statm", text, sizeof text);
	must(sscanf(text, "%*u %lu", &pages) == 1);
	u.rss_bytes = pages * (unsigned long)sysconf(_SC_PAGESIZE);
	return u;
}

bool daemon_wait_fds(const struct daemon *d, unsigned fds, int ms)
{
	int64_t deadline = deadline_in(ms);

	while (count_entries(d->pid, "fd") > fds) {
		if (!deadline_left(deadline))
			return false;
		poll(NULL, 0, 5);		/* /proc cannot be polled */
	}
	return true;
}
