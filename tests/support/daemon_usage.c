/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the kernel counts for the daemon: descriptors, threads, memory, CPU time
 * and wake-ups, from /proc.
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/daemon.h"
#include "support/deadline.h"
#include "support/must.h"

/* Linux 6.2 and newer tell everybody how many there are, as the size of the folder;
 * who may look into it can count the names. Nobody but root may, once the process
 * is in the sandbox. */
static unsigned count_fds(pid_t pid)
{
	char path[64];
	struct dirent *e;
	struct stat st;
	unsigned n = 0;
	DIR *dir;

	snprintf(path, sizeof path, "/proc/%d/fd", (int)pid);
	must(stat(path, &st) == 0);
	if (st.st_size)
		return (unsigned)st.st_size;
	dir = opendir(path);
	if (!dir && errno == EACCES)
		return DAEMON_FDS_UNKNOWN;
	must(dir);
	while ((e = readdir(dir)))
		n += e->d_name[0] != '.';
	closedir(dir);
	return n;
}

/* Another process of ours that has shut itself off as the sandbox does. */
bool daemon_can_count_fds(void)
{
	int ready[2], hold[2];
	bool can;
	pid_t pid;
	char c = 0;

	must(pipe2(ready, O_CLOEXEC) == 0 && pipe2(hold, O_CLOEXEC) == 0);
	pid = fork();
	must(pid >= 0);
	if (pid == 0) {
		close(hold[1]);
		prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
		must(write(ready[1], &c, 1) == 1);
		_exit(read(hold[0], &c, 1) != 0);
	}
	must(read(ready[0], &c, 1) == 1);
	can = count_fds(pid) != DAEMON_FDS_UNKNOWN;
	for (int i = 0; i < 2; i++) {
		close(ready[i]);
		close(hold[i]);
	}
	must(waitpid(pid, NULL, 0) == pid);
	return can;
}

/* False: it is not there (any more). */
static bool read_proc(pid_t pid, const char *what, char *text, size_t size)
{
	char path[512];
	size_t n;
	FILE *f;

	snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, what);
	f = fopen(path, "re");
	if (!f)
		return false;
	n = fread(text, 1, size - 1, f);
	text[n] = '\0';
	fclose(f);
	return n > 0;
}

static uint64_t cpu_ms(pid_t pid)
{
	char text[1024], *p;
	unsigned long user, sys;

	must(read_proc(pid, "stat", text, sizeof text));
	p = strrchr(text, ')');			/* the name may hold anything */
	must(p);
	must(sscanf(p + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu",
		    &user, &sys) == 2);
	return (user + sys) * 1000 / (unsigned long)sysconf(_SC_CLK_TCK);
}

/* Of the main thread and the workers: a sanitizer has threads of its own. */
static void count_threads(pid_t pid, struct daemon_usage *u)
{
	static const char key[] = "\nvoluntary_ctxt_switches:";
	char text[8192], path[300], *p;
	struct dirent *e;
	DIR *dir;

	snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
	dir = opendir(path);
	must(dir);
	while ((e = readdir(dir))) {
		if (e->d_name[0] == '.')
			continue;
		snprintf(path, sizeof path, "task/%.20s/status", e->d_name);
		if (!read_proc(pid, path, text, sizeof text))
			continue;		/* a thread that has ended meanwhile */
		if (atoi(e->d_name) != pid && !strstr(text, "Name:\tworker\n"))
			continue;
		u->threads++;
		if ((p = strstr(text, key)))
			u->wakeups += strtoull(p + sizeof key - 1, NULL, 10);
	}
	closedir(dir);
}

struct daemon_usage daemon_usage(const struct daemon *d)
{
	struct daemon_usage u = {
		.fds = count_fds(d->pid),
		.cpu_ms = cpu_ms(d->pid),
	};
	unsigned long pages;
	char text[256];

	must(read_proc(d->pid, "statm", text, sizeof text));
	must(sscanf(text, "%*u %lu", &pages) == 1);
	count_threads(d->pid, &u);
	u.rss_bytes = pages * (unsigned long)sysconf(_SC_PAGESIZE);
	return u;
}

bool daemon_wait_fds(const struct daemon *d, unsigned fds, int ms)
{
	int64_t deadline = deadline_in(ms);

	must(count_fds(d->pid) != DAEMON_FDS_UNKNOWN);
	while (count_fds(d->pid) > fds) {
		if (!deadline_left(deadline))
			return false;
		poll(NULL, 0, 5);		/* /proc cannot be polled */
	}
	return true;
}
