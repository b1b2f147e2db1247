/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The daemon under test as a child process in a folder of its own, and what the
 * kernel says about it. The child dies with the thread that started it; nothing
 * else is ever signalled.
 *
 * By default it is two processes: the child is the supervisor, and the engine, which serves,
 * is a child of that. With --supervise=off the child is the engine itself; so it is for all
 * tests that do not say otherwise if TEST_SUPERVISE is "off"; TEST_THREADS is how many threads
 * it has for VMs. A foreign program, which a
 * benchmark is about, is one process and gets no option but those of its caller.
 *
 * The binary's path comes from the environment: VHOST_DEVICE_VSOCK. So may a mode
 * for --sandbox: TEST_SANDBOX (say "off" for valgrind, or to write coverage data; empty
 * for the daemon's default). Without it the sandbox is on, save where nobody may count
 * the descriptors of a process in it: ordinary users before Linux 6.2.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define DAEMON_FDS_UNKNOWN	UINT32_MAX

struct daemon {
	pid_t pid;				/* of what was started; 0: not running */
	int pidfd;
	bool is_supervised;			/* then it has an engine for a child */
	bool is_foreign;			/* another program; set before it is started */
	char dir[64];
	char socket[96], uds[96];		/* of the one VM of daemon_start() */
	char log[96];				/* its standard error */
	bool can_count_fds;			/* also in the sandbox; asked for before a test unshares */
	void (*prepare)(void);			/* what its launcher does last, in the child; or NULL */
};

struct daemon_usage {
	unsigned fds;				/* or DAEMON_FDS_UNKNOWN */
	/* The main one and workers; of a supervisor or a foreign program, all. */
	unsigned threads;
	uint64_t rss_bytes, cpu_ms;
	uint64_t wakeups;			/* voluntary context switches, of these threads */
};

/* Makes the folder and the paths, starts nothing. */
void daemon_init(struct daemon *d);
/* Stops it if need be (SIGKILL) and removes the folder. */
void daemon_deinit(struct daemon *d);

/* One VM with CID 3, and @extra options (NULL: none); waits until it listens. */
void daemon_start(struct daemon *d, const char *const *extra);
/* Any command line behind the program's name; does not wait. */
void daemon_spawn(struct daemon *d, const char *const *args);
/* False when the child ended before somebody listened at @path, or at a deadline of its clock. */
bool daemon_wait_listening(const struct daemon *d, const char *path);

/* A clock for how long something takes the daemon and the calling thread, not the machine: it
 * stands still while one of their threads could run and has no CPU. Without a daemon only the
 * caller's thread counts; for what one and the same daemon does, or for its start. */
int64_t daemon_clock_ms(const struct daemon *d);

/* Exit status, -signal, or INT_MIN when it is still running after @ms of that clock. */
int daemon_wait_exit(struct daemon *d, int ms);
/* SIGTERM, then daemon_wait_exit(). */
int daemon_stop(struct daemon *d, int ms);
void daemon_kill(struct daemon *d);		/* and waits until its engine has gone, too */
bool daemon_is_running(struct daemon *d);

/* What its supervisor has counted since its start, for engines to tell others. */
struct daemon_counts {
	uint64_t upgrades, crashes;
};

struct daemon_counts daemon_counts(const struct daemon *d);

/* The process that serves, once it does: after a crash, the next one. Waits for it. */
pid_t daemon_engine(const struct daemon *d);
/* Does not wait: one that may not serve yet; 0: there is none now. */
pid_t daemon_find_engine(const struct daemon *d);
/* The one that is to take over from @engine; 0: there is none now. */
pid_t daemon_find_other_engine(const struct daemon *d, pid_t engine);
/* The supervisor has a child that is no engine: a program that it asks, or one that connects. */
bool daemon_has_child(const struct daemon *d);
/* Are all of its threads stopped (SIGSTOP); asleep? */
bool daemon_is_stopped(pid_t pid);
bool daemon_is_all_asleep(pid_t pid);
/* Has it done all that it had to do, but for what waits for time, or for others? */
bool daemon_is_asleep(const struct daemon *d);
bool daemon_wait_asleep(const struct daemon *d, int ms);
/* Waits until the process @pid, not ours to reap, is gone; false at the deadline. */
bool daemon_wait_gone(pid_t pid, int ms);

/* May we count the descriptors of a daemon in the sandbox? */
bool daemon_can_count_fds(void);
/* Of the engine; of the supervisor (nothing, if there is none); the sum, for what the daemon
 * costs as a whole. */
struct daemon_usage daemon_usage(const struct daemon *d);
struct daemon_usage daemon_usage_supervisor(const struct daemon *d);
struct daemon_usage daemon_usage_both(const struct daemon *d);
/* Wake-ups between the two. A thread that a worker makes has its maker's name for a moment, so
 * that it may be one of @before only: never less than 0. */
uint64_t daemon_wakeups_between(const struct daemon_usage *before,
				const struct daemon_usage *after);
/*
 * Waits until @stretch, which lasts for a while, passes with no more than @cpu_ms and @wakeups of
 * those whose @usage it is: one at rest has that at once, whatever was left to do on a busy
 * machine; one that wakes again and again, or turns round, never has. False at the deadline
 * (DEADLINE_MS).
 */
bool daemon_rests(const struct daemon *d, struct daemon_usage (*usage)(const struct daemon *),
		  void (*stretch)(void), uint64_t cpu_ms, uint64_t wakeups);
/* Waits until the engine has no more than @fds descriptors open; false at the deadline. */
bool daemon_wait_fds(const struct daemon *d, unsigned fds, int ms);
/* RLIMIT_NOFILE of the running engine, soft limit. */
void daemon_limit_fds(const struct daemon *d, unsigned n);

/* The log so far, NUL-terminated; the caller frees it. */
char *daemon_log(const struct daemon *d);
bool daemon_has_logged(const struct daemon *d, const char *text);
/* Waits until @text is somewhere in the log, which a thread writes: it may come
 * later than what it tells about can be seen. False at the deadline, or at the end. */
bool daemon_wait_log(const struct daemon *d, const char *text);
