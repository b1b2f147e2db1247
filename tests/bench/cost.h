/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the daemon, or the kernel's vhost worker, spends on some traffic: CPU time and context
 * switches as the kernel counts them; kicks and calls of its guests' rings, as their drivers
 * count them; and, in a run of its own because it slows the daemon down, system calls as strace
 * counts them.
 */
#pragma once

#include "bench/bench.h"
#include "bench/vm.h"

struct cost {
	const struct host *host;
	pid_t engine;				/* the supervisor has no part in traffic */
	pid_t worker;				/* the kernel's instead, a thread of ours */
	clockid_t clock;
	int64_t cpu_ns;
	uint64_t switches, kicks, calls;
	pid_t strace;				/* 0: not counting */
	char file[128];
};

void cost_start(struct cost *c, const struct run *r, const struct host *h);
/* Adds figures per GiB and MiB. */
void cost_stop_bytes(struct cost *c, const struct run *r, uint64_t bytes);
/* Adds figures per 100,000 operations and per operation. */
void cost_stop_ops(struct cost *c, const struct run *r, uint64_t ops);

/* What one thread of a limit spent, per GiB or per 100,000 operations. */
void cost_of_thread(const struct run *r, const char *who, double cpu_s,
		    uint64_t bytes);
void cost_of_thread_ops(const struct run *r, const char *who, double cpu_s,
			uint64_t ops);

/* The daemon's own memory in use, of both processes: resident, not shared with guests. */
uint64_t cost_anon_bytes(const struct daemon *d);
