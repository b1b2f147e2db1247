/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A device in a process that dies at its Nth step, and one that takes its place: as a
 * supervisor has it, but each step is chosen. A step is the beginning or the end of a system
 * call. Killed at the first, the process has not made the call; at the second it has made
 * it, and nothing since.
 *
 * Three processes: the test, which is front-end and guest; the keeper, which traces the
 * engine, keeps its descriptors and starts the next; and the engine.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <sys/types.h>

#include "device/device.h"

struct crash_plan {
	unsigned first, later;			/* steps that an engine makes: the first of
						   them, and each one after; 0: no end */
	bool answers_twice;			/* the keeper, with the same front-end */
};

/* What the keeper tells; shared with it. */
struct crash_report {
	atomic_uint steps;			/* of the engine that runs */
	atomic_uint n_engines;			/* that have been started */
	atomic_uint n_kept;			/* descriptors, with the journal's */
	atomic_uint n_dropped;			/* times that the slot of who was accepted was */
	atomic_bool has_failed;			/* an engine has ended by itself */
	atomic_int engine;			/* the process */
	atomic_bool is_idle;			/* it has begun to wait for events */
	atomic_bool is_spoilt;			/* the next engine finds a journal of garbage */
};

struct crash {
	pid_t keeper;
	struct crash_report *report;
};

enum { CRASH_CID = 3, CRASH_QUEUE_SIZE = 64, CRASH_MAX_CONNECTIONS = 32 };

/* Of what is behind the device: a guest's connect to this port is never answered. */
enum { CRASH_PENDING_PORT = 81 };

/* The device listens at @path. */
void crash_begin(struct crash *c, const char *path, const struct crash_plan *plan);
void crash_now(struct crash *c);		/* returns when the next engine runs */
void crash_end(struct crash *c);
