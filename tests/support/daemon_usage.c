/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the kernel knows of the daemon, from /proc: its engine; descriptors, threads, memory,
 * CPU time and wake-ups of both its processes.
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "protocol/supervise.h"
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

/* ---- the engine ---- */

/* What /proc/PID/stat says; false: there is no such process. */
static bool read_stat(pid_t pid, char name[32], char *state, pid_t *parent)
{
	char text[1024], *end;

	if (!read_proc(pid, "stat", text, sizeof text))
		return false;
	end = strrchr(text, ')');		/* the name may hold anything */
	must(end && sscanf(text, "%*d (%31[^)]", name) == 1);
	return sscanf(end + 2, "%c %d", state, parent) == 2;
}

/* They have that name once they serve. */
static bool has_workers(pid_t pid)
{
	char path[300], name[32];
	struct dirent *e;
	bool has = false;
	DIR *dir;

	snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
	dir = opendir(path);
	while (dir && !has && (e = readdir(dir))) {
		snprintf(path, sizeof path, "task/%.20s/comm", e->d_name);
		has = e->d_name[0] != '.' && read_proc(pid, path, name, sizeof name) &&
			strcmp(name, "worker\n") == 0;
	}
	if (dir)
		closedir(dir);
	return has;
}

static bool is_child_of(pid_t pid, pid_t supervisor, bool is_engine)
{
	pid_t parent;
	char name[32], state;

	return read_stat(pid, name, &state, &parent) && parent == supervisor && state != 'Z' &&
		(strcmp(name, "vsock-engine") == 0) == is_engine;
}

/* A child that is an engine, or none, but not @other. 0: there is no such one. */
static pid_t find_child(const struct daemon *d, bool is_engine, pid_t other)
{
	pid_t found = 0;
	struct dirent *e;
	DIR *dir;

	dir = opendir("/proc");
	if (!dir)				/* a test that has run out of descriptors */
		return 0;
	while (!found && (e = readdir(dir))) {
		pid_t pid = atoi(e->d_name);

		if (pid > 0 && pid != other && is_child_of(pid, d->pid, is_engine))
			found = pid;
	}
	closedir(dir);
	return found;
}

pid_t daemon_find_other_engine(const struct daemon *d, pid_t engine)
{
	return find_child(d, true, engine);
}

bool daemon_has_child(const struct daemon *d)
{
	return find_child(d, false, 0) != 0;
}

pid_t daemon_find_engine(const struct daemon *d)
{
	return d->is_supervised ? daemon_find_other_engine(d, 0) : d->pid;
}

pid_t daemon_engine(const struct daemon *d)
{
	int64_t deadline = deadline_in(DEADLINE_MS);
	pid_t engine;

	while (!(engine = daemon_find_engine(d)) || (d->is_supervised && !has_workers(engine))) {
		if (deadline_poll(d->pidfd, POLLIN, 0) || !deadline_left(deadline))
			die("there is no engine that serves: %s", daemon_log(d));
		poll(NULL, 0, 2);		/* /proc cannot be polled */
	}
	return engine;
}

/* Opens the memory that it shares with its engines; -1: not by this descriptor. */
static int open_shared(const char *path)
{
	char to[64] = "";

	if (readlink(path, to, sizeof to - 1) < 0 || strncmp(to, "/memfd:workers", 14) != 0)
		return -1;
	return open(path, O_RDONLY | O_CLOEXEC);
}

struct daemon_counts daemon_counts(const struct daemon *d)
{
	struct supervise_shared shared;
	int fd = -1;

	for (int n = 0; fd < 0 && n < 1024; n++) {
		char path[64];

		snprintf(path, sizeof path, "/proc/%d/fd/%d", (int)d->pid, n);
		fd = open_shared(path);
	}
	must(fd >= 0 && pread(fd, &shared, sizeof shared, 0) == sizeof shared);
	close(fd);
	return (struct daemon_counts){ shared.upgrades, shared.crashes };
}

bool daemon_wait_gone(pid_t pid, int ms)
{
	/* Which tells of its last thread, where /proc tells of the main one. */
	int fd = (int)syscall(SYS_pidfd_open, pid, 0);
	bool is_gone;

	if (fd < 0)
		return true;
	is_gone = deadline_poll(fd, POLLIN, deadline_in(ms));
	close(fd);
	return is_gone;
}

/* ---- what they cost ---- */

enum kind { ENGINE, SUPERVISOR, FOREIGN };

/* Threads of a sanitizer have the main one's name, or the one that it had at first. */
static bool is_counted(const char *status, const char *tid, pid_t pid, enum kind kind)
{
	char name[32];

	if (kind == FOREIGN || atoi(tid) == pid)
		return true;
	if (sscanf(status, "Name:\t%31[^\n]", name) != 1)
		return false;
	return kind == ENGINE ? strcmp(name, "worker") == 0 :
				strncmp(name, "vhost-device", 12) != 0;
}

static void count_threads(pid_t pid, enum kind kind, struct daemon_usage *u)
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
		if (!is_counted(text, e->d_name, pid, kind))
			continue;
		u->threads++;
		if ((p = strstr(text, key)))
			u->wakeups += strtoull(p + sizeof key - 1, NULL, 10);
	}
	closedir(dir);
}

static struct daemon_usage usage_of(pid_t pid, enum kind kind)
{
	struct daemon_usage u = { .fds = count_fds(pid), .cpu_ms = cpu_ms(pid) };
	unsigned long pages;
	char text[256];

	must(read_proc(pid, "statm", text, sizeof text));
	must(sscanf(text, "%*u %lu", &pages) == 1);
	count_threads(pid, kind, &u);
	u.rss_bytes = pages * (unsigned long)sysconf(_SC_PAGESIZE);
	return u;
}

/* How long threads of @pid, or only @tid, could have run and had no CPU; 0 where the kernel does
 * not count it. */
static uint64_t waited_us(pid_t pid, pid_t tid)
{
	char path[300], text[128];
	unsigned long long ns;
	uint64_t sum = 0;
	struct dirent *e;
	DIR *dir;

	snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
	dir = opendir(path);
	while (dir && (e = readdir(dir))) {
		if (e->d_name[0] == '.' || (tid && atoi(e->d_name) != tid))
			continue;
		snprintf(path, sizeof path, "task/%.20s/schedstat", e->d_name);
		if (read_proc(pid, path, text, sizeof text) && sscanf(text, "%*u %llu", &ns) == 1)
			sum += ns / 1000;
	}
	if (dir)
		closedir(dir);
	return sum;
}

int64_t daemon_clock_ms(const struct daemon *d)
{
	pid_t engine = d->pid && d->is_supervised ? daemon_find_engine(d) : 0;
	uint64_t waited = waited_us(getpid(), (pid_t)syscall(SYS_gettid));

	if (d->pid)
		waited += waited_us(d->pid, 0);
	if (engine)
		waited += waited_us(engine, 0);
	return (now_us() - (int64_t)waited) / 1000;
}

struct daemon_usage daemon_usage(const struct daemon *d)
{
	return usage_of(daemon_engine(d), d->is_foreign ? FOREIGN : ENGINE);
}

struct daemon_usage daemon_usage_supervisor(const struct daemon *d)
{
	return d->is_supervised ? usage_of(d->pid, SUPERVISOR) : (struct daemon_usage){ 0 };
}

struct daemon_usage daemon_usage_both(const struct daemon *d)
{
	struct daemon_usage a = daemon_usage(d), b = daemon_usage_supervisor(d);
	bool knows = a.fds != DAEMON_FDS_UNKNOWN && b.fds != DAEMON_FDS_UNKNOWN;

	return (struct daemon_usage){
		.fds = knows ? a.fds + b.fds : DAEMON_FDS_UNKNOWN, .threads = a.threads + b.threads,
		.rss_bytes = a.rss_bytes + b.rss_bytes, .cpu_ms = a.cpu_ms + b.cpu_ms,
		.wakeups = a.wakeups + b.wakeups,
	};
}

uint64_t daemon_wakeups_between(const struct daemon_usage *before,
				const struct daemon_usage *after)
{
	return after->wakeups > before->wakeups ? after->wakeups - before->wakeups : 0;
}

bool daemon_wait_fds(const struct daemon *d, unsigned fds, int ms)
{
	int64_t deadline = deadline_in(ms);
	pid_t engine = daemon_engine(d);

	must(count_fds(engine) != DAEMON_FDS_UNKNOWN);
	while (count_fds(engine) > fds) {
		if (!deadline_left(deadline))
			return false;
		poll(NULL, 0, 5);		/* /proc cannot be polled */
	}
	return true;
}

/* A process that is gone has none. */
static bool are_all(pid_t pid, char state)
{
	char path[64], text[1024], *end;
	bool are = true;
	struct dirent *e;
	DIR *dir;

	snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
	dir = opendir(path);
	while (dir && (e = readdir(dir))) {
		if (e->d_name[0] == '.')
			continue;
		snprintf(path, sizeof path, "task/%.20s/stat", e->d_name);
		end = read_proc(pid, path, text, sizeof text) ? strrchr(text, ')') : NULL;
		are &= !end || (end[1] == ' ' && end[2] == state);
	}
	if (dir)
		closedir(dir);
	return dir && are;
}

bool daemon_is_stopped(pid_t pid)
{
	return are_all(pid, 'T');
}

bool daemon_is_all_asleep(pid_t pid)
{
	return are_all(pid, 'S');
}

/* Whoever is told something can be run from that moment on, so nothing is on its way from one
 * that sleeps to the next. */
bool daemon_is_asleep(const struct daemon *d)
{
	return daemon_is_all_asleep(daemon_engine(d)) &&
		(!d->is_supervised || daemon_is_all_asleep(d->pid));
}

bool daemon_rests(const struct daemon *d, struct daemon_usage (*usage)(const struct daemon *),
		  void (*stretch)(void), uint64_t cpu_ms, uint64_t wakeups)
{
	int64_t deadline = deadline_in(DEADLINE_MS);
	struct daemon_usage before, after = usage(d);
	bool rests;

	do {
		before = after;
		stretch();
		after = usage(d);
		rests = after.cpu_ms - before.cpu_ms <= cpu_ms &&
			daemon_wakeups_between(&before, &after) <= wakeups;
	} while (!rests && deadline_left(deadline));
	return rests;
}

bool daemon_wait_asleep(const struct daemon *d, int ms)
{
	int64_t deadline = deadline_in(ms);

	while (!daemon_is_asleep(d)) {
		if (!deadline_left(deadline))
			return false;
		poll(NULL, 0, 1);
	}
	return true;
}
