/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Log lines: one write(2) per line, to standard error or a file, from any thread.
 *
 * Whoever reads the log must not hold up the VMs: a pipe may be full because its
 * reader was stopped, a file system may hang. So once workers run, a thread of
 * its own writes the lines (spool.h). What does not fit into its queue, or fails to
 * be written, is dropped and counted, and the next line that gets through says how
 * many were.
 *
 *   err    an operator must act
 *   warn   somebody misbehaved, or the host ran short
 *   info   a VM came or went
 *   debug  per message or connection, never per packet
 *   trace  more than anybody wants
 *
 * The tag names the object: "vm0 3:1024>2:80". Bytes that a peer chose pass
 * through here only as numbers or escaped: control characters in a formatted
 * line are written as \xNN.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum log_level { LEVEL_ERR, LEVEL_WARN, LEVEL_INFO, LEVEL_DEBUG, LEVEL_TRACE };
enum { LOG_LEVELS = LEVEL_TRACE + 1 };

extern const char *const log_level_names[LOG_LEVELS];	/* "error" to "trace" */

/* @path NULL: standard error. 0 or -errno of opening the file (appended to). */
int log_init(enum log_level level, const char *path);

/* The same, with a file that is open already: taken over, unless it is standard error. */
void log_adopt(enum log_level level, int fd);

uint64_t log_count_lost(void);			/* lines that could not be written, so far */

/* Where lines go: borrowed, for a process that is to log to the same place. */
int log_descriptor(void);

/* From now on a thread writes. 0, or -errno: the callers go on writing. */
int log_start_thread(void);

/* Writes what is queued; the callers write again. False: that takes more than a
 * second, and it goes on. */
bool log_stop_thread(void);

/* The same, with so much time; for a thread that ends the process beside others, which may be
 * doing this as well. */
bool log_stop_thread_within(int wait_ms);

/* As log_stop_thread(), and closes the file. */
void log_deinit(void);

extern _Atomic(enum log_level) log_level;	/* read by the macros; set by any thread */

/* No malloc, and no lock that is held during a system call but futex and write:
 * the handler of a signal that a refused call raised (the sandbox's) may log too. */
void log_line(enum log_level level, const char *tag, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* An error, written by the caller itself: for one who is about to end the process,
 * and with it the queue. Does not wait for a reader. */
void log_last_words(const char *tag, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

#define log_at(level, ...) \
	do { if ((level) <= log_level) log_line(level, __VA_ARGS__); } while (0)
#define log_err(...)	log_at(LEVEL_ERR, __VA_ARGS__)
#define log_warn(...)	log_at(LEVEL_WARN, __VA_ARGS__)
#define log_info(...)	log_at(LEVEL_INFO, __VA_ARGS__)
#define log_debug(...)	log_at(LEVEL_DEBUG, __VA_ARGS__)
