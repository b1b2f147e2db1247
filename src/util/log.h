/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Log lines: one write(2) per line, to standard error or a file, from any thread.
 *
 * Whoever reads the log must not hold up the VMs: a pipe may be full because its
 * reader was stopped, a file system may hang. So once workers run, a thread of
 * its own writes the lines. They wait in a queue of fixed size; what does not fit,
 * or fails to be written, is dropped and counted, and the next line that gets
 * through says how many were.
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

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

enum log_level { LOG_ERR, LOG_WARN, LOG_INFO, LOG_DEBUG, LOG_TRACE };

/* @path NULL: standard error. 0 or -errno of opening the file (appended to). */
int log_init(enum log_level level, const char *path);

/* From now on a thread writes. 0, or -errno: the callers go on writing. */
int log_start_thread(void);

/* Writes what is queued; the callers write again. False: that takes more than a
 * second, and it goes on. */
bool log_stop_thread(void);

/* The same, and closes the file. */
void log_deinit(void);

extern enum log_level log_level;		/* read by the macros; set by log_init() */

/* No malloc, and no lock that is held during a system call but futex and write:
 * the handler of a signal that a refused call raised (the sandbox's) may log too. */
void log_line(enum log_level level, const char *tag, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* An error, written by the caller itself: for one who is about to end the process,
 * and with it the queue. Does not wait for a reader. */
void log_last_words(const char *tag, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/*
 * "2026-11-21T13:28:08.042Z ", how many bytes. gmtime() would look for the time
 * zone's file at its first call, and take a lock.
 */
size_t log_put_time(char *line, size_t size, const struct timespec *ts);

#define log_at(level, ...) \
	do { if ((level) <= log_level) log_line(level, __VA_ARGS__); } while (0)
#define log_err(...)	log_at(LOG_ERR, __VA_ARGS__)
#define log_warn(...)	log_at(LOG_WARN, __VA_ARGS__)
#define log_info(...)	log_at(LOG_INFO, __VA_ARGS__)
#define log_debug(...)	log_at(LOG_DEBUG, __VA_ARGS__)

/*
 * For what a guest, a front-end or a host program can cause as often as it likes:
 * at most LOG_LIMIT_BURST lines in LOG_LIMIT_MS for each call site and tag, then the
 * next one that passes says how many were swallowed. By tag, since a noisy guest
 * must not silence the lines of another VM.
 *
 * The limits are a table of fixed size, 96 KiB; a guest can use a few dozen of them.
 * When hundreds of noisy VMs have taken all that a new one could have, it shares
 * another's: the log stays bounded, whatever they do.
 */
enum { LOG_LIMIT_BURST = 10, LOG_LIMIT_MS = 5000, LOG_LIMITS = 4096 };

struct log_limit {
	_Atomic uint64_t owner;			/* site and tag; 0: nobody yet */
	_Atomic uint64_t window_ms;
	_Atomic unsigned passed, swallowed;
};

/* The limit of @tag, by its text, at the call site that has the address @site. */
struct log_limit *log_limit_of(const void *site, const char *tag);

/* True when the caller may log; *@swallowed lines were not since the last. */
bool log_limit_pass(struct log_limit *limit, unsigned *swallowed);

#define log_limited(level, tag, fmt, ...)					\
	do {									\
		static char site_;						\
		unsigned swallowed_;						\
		if ((level) > log_level ||					\
		    !log_limit_pass(log_limit_of(&site_, tag), &swallowed_))	\
			break;							\
		if (swallowed_)							\
			log_line(level, tag, "(%u like the next not shown)",	\
				 swallowed_);					\
		log_line(level, tag, fmt, ##__VA_ARGS__);			\
	} while (0)
#define log_guest(...)	log_limited(LOG_WARN, __VA_ARGS__)

/*
 * For what its operator should hear of once: the first line of each kind is a warning,
 * and never left out; the next ones are info, with a limit. For one thread.
 */
struct log_once {
	uint64_t seen[3];			/* a bit for each kind: errno has 133 */
};

bool log_once_pass(struct log_once *once, unsigned kind);	/* true: the first */

/* @is_first: what log_once_pass() said. */
#define log_noted(is_first, tag, fmt, ...)					\
	do {									\
		static char site_;						\
		enum log_level level_ = (is_first) ? LOG_WARN : LOG_INFO;	\
		unsigned swallowed_;						\
		bool passes_;							\
		if (level_ > log_level)						\
			break;							\
		passes_ = log_limit_pass(log_limit_of(&site_, tag), &swallowed_); \
		if (swallowed_)							\
			log_line(level_, tag, "(%u like the next not shown)",	\
				 swallowed_);					\
		if (passes_ || level_ == LOG_WARN)				\
			log_line(level_, tag, fmt, ##__VA_ARGS__);		\
	} while (0)
#define log_first(once, kind, ...)	log_noted(log_once_pass(once, kind), __VA_ARGS__)
