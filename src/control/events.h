/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The event monitor: a line of JSON for each thing that happens, in the form of
 * cloud-hypervisor's: {"timestamp": {"secs", "nanos"}, "source", "event", "properties"}.
 *
 * Supervisor and engine write to the same file, whole lines at a time. Each has a queue and a
 * thread (util/spool.h): whoever tells of something never waits for a reader. What does not fit
 * into the queue, or cannot be written, is lost and counted, and the next event that gets
 * through has one before it that says how many were ("lost").
 *
 * All text in a line is ours; a peer chooses nothing but numbers.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct device_event;

enum event_kind {
	EVENT_LOST,				/* events before this one; number: how many */
	EVENT_DAEMON_STARTED,
	EVENT_DAEMON_ENDED,			/* number: the exit status */
	EVENT_ENGINE_STARTED,			/* it serves; pid */
	EVENT_ENGINE_DIED,			/* pid; number: how it ended; cid: what it was busy with */
	EVENT_UPGRADED,				/* another engine has taken over; pid */
	EVENT_UPGRADE_FAILED,			/* all goes on as it was; reason */
	EVENT_VM_ADDED,				/* cid, as of all that follow */
	EVENT_VM_CHANGED,
	EVENT_VM_REMOVED,
	EVENT_VM_LEFT_OUT,			/* it cannot be served, or may not be any more */
	EVENT_CAPTURE_STARTED,
	EVENT_CAPTURE_ENDED,			/* number: packets; error: why; lost: packets */
	EVENT_OF_DEVICE,			/* events_put_device() */
};

struct event {					/* what is not said is 0 */
	enum event_kind kind;
	uint64_t cid;
	int pid;
	int64_t number;
	int error;				/* -errno */
	uint64_t lost;
	const char *reason;			/* a literal, for people */
	bool is_signal;				/* ENGINE_DIED: number is one, else an exit status */
};

/* Opens @path, made if need be: lines are appended. A pipe may come to have a reader later.
 * 0 or -errno. */
int events_open(const char *path);
int events_open_passed(int fd);			/* that this process was started with */
void events_adopt(int fd);			/* taken over: where lines go */
int events_descriptor(void);			/* borrowed; -1: nobody wants to know */
static inline bool events_are_on(void)
{
	return events_descriptor() >= 0;
}

/* From now on a thread writes. 0, or -errno: the callers go on writing. */
int events_start_thread(void);
void events_stop_thread(void);			/* writes what is queued, for a short while */
void events_flush(void);			/* the same, while guests wait: shorter */

/* From any thread, never blocks (once there is a thread); nothing where nobody wants to know. */
void events_put(const struct event *e);
void events_put_vm(enum event_kind kind, uint64_t cid);
void events_put_device(const struct device_event *e);	/* device_hooks::event */
bool events_are_wanted(void);			/* device_hooks::wants_events */

uint64_t events_count_lost(void);		/* by this process, on any way */

/* From now on @told, which must not block or put, is called with each event that is put by
 * events_put(), in that thread: when it happened, in nanoseconds since 1970, and its line. */
void events_watch(void (*told)(void *ctx, uint64_t at_ns, const char *line, size_t len), void *ctx);

/* ---- lines: for those who pass them on, and tests ---- */

enum { EVENTS_LINE_MAX = 1024 };		/* bytes; less than what a pipe takes at once */

struct event_record;

/* The line of what events_put() queues, with its newline, and a NUL. Returns its length. */
size_t events_format(char line[EVENTS_LINE_MAX], const struct event_record *record);
size_t events_format_lost(char line[EVENTS_LINE_MAX], unsigned n);	/* of EVENT_LOST */
void events_record(struct event_record *out, const struct event *e);
void events_record_device(struct event_record *out, const struct device_event *e);
