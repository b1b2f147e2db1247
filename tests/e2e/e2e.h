/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the end-to-end tests share: the daemon of the running test, its VM, and
 * pairs of a guest's socket and a host's descriptor.
 *
 * Each test is a process with a daemon and a folder of its own. When it fails,
 * the folder stays until the end of the program, which then prints the daemon's
 * log.
 */
#pragma once

#include <check.h>

#include "support/daemon.h"
#include "support/deadline.h"
#include "support/driver.h"
#include "support/host.h"
#include "support/must.h"
#include "support/pattern.h"
#include "support/sanitized.h"
#include "support/sock.h"

extern struct daemon vhd;
extern struct driver vm;

enum { PORT = 1234 };				/* where somebody listens */

/* Thread sanitizer has a thread of its own that looks around ten times a second. */
#ifdef __SANITIZE_THREAD__
#define E2E_WAKEUPS(seconds)	(UINT64_C(20) * (seconds))
#else
#define E2E_WAKEUPS(seconds)	UINT64_C(0)
#endif

/* SIGTERM ends the daemon within 2 s (see guard.h); a sanitizer takes its time besides. */
enum { END_MS = IS_SANITIZED ? DEADLINE_MS : 2000 };

struct pair {
	struct sock *guest;
	int host;
};

/* Fixtures: only the folder; the daemon of one VM too; and a VM on it. */
void e2e_setup_bare(void);
void e2e_setup_daemon(void);
void e2e_setup_vm(void);
/* Ends the daemon, which must still be there and go at once with status 0. */
void e2e_teardown(void);
void e2e_teardown_ended(void);			/* for a daemon that is gone already */

/* A daemon with further options and a VM on it, from the bare fixture. */
void e2e_start(const char *const *extra, const struct driver_options *opt);

/* Daemons that are started from now on have the library that @variable of the environment names,
 * a test's; NULL: none. */
void e2e_preload(const char *variable);

/* The next child, and none after it, is process 1 of a PID namespace. False: not root. */
bool e2e_leave_pids(void);
void e2e_return_to_pids(void);

/* Connects at PORT, in either direction; listeners are made as needed. */
struct pair e2e_guest_connects(struct driver *d, const char *uds);
struct pair e2e_host_connects(struct driver *d, const char *uds);
/* Some patterned bytes each way. */
void e2e_check_talks(struct pair p);
void e2e_check_guest_to_host(struct pair p, size_t len, uint32_t seed);
void e2e_check_host_to_guest(struct pair p, size_t len, uint32_t seed);
/* Both ends close, and both see it. */
void e2e_close(struct pair p);
/* A new pair in each direction works. */
void e2e_check_alive(void);

/* How many listeners have exactly this name, for the kernel: what cuttlefish waits for, and ss
 * and lsof are asked for. */
unsigned e2e_count_listed(const char *path);

/*
 * A process has grown by no more than this since @before was measured, in threads not at all; or
 * will have, once others have closed and freed what is left: a thread that has just been started
 * still has the name of who has started it.
 */
struct e2e_growth {
	unsigned fds;
	uint64_t rss_bytes;			/* a sanitizer's slack is added */
};

void e2e_check_growth(struct daemon_usage (*usage)(const struct daemon *d),
		      const struct daemon_usage *before, const struct e2e_growth *allowed);

/* From now on we are on one CPU, and so is a daemon that is started then. */
void e2e_stay_on_this_cpu(void);

/* May so many files be open, here and in the daemon? Raises the limit if it can; if not,
 * says that @what is left out. */
bool e2e_may_open(unsigned files, const char *what);
/* Runs the suite: exit status of main(). */
int e2e_run(Suite *s);
/* A case with the e2e_setup_...() fixture, in the suite. */
TCase *e2e_case(Suite *s, const char *name, void (*setup)(void), int timeout_s);
/* The same with another end. */
TCase *e2e_case_with(Suite *s, const char *name, void (*setup)(void), void (*teardown)(void),
		     int timeout_s);
