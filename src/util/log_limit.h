/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How many log lines others may cause: so many in a while, or loudly only once. Who logs
 * what a peer does uses these and not the plain macros of log.h (tests/lint/logs.sh).
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "util/log.h"

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

uint64_t log_limit_count_swallowed(void);	/* lines, of all limits, so far */

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
#define log_guest(...)	log_limited(LEVEL_WARN, __VA_ARGS__)

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
		enum log_level level_ = (is_first) ? LEVEL_WARN : LEVEL_INFO;	\
		unsigned swallowed_;						\
		bool passes_;							\
		if (level_ > log_level)						\
			break;							\
		passes_ = log_limit_pass(log_limit_of(&site_, tag), &swallowed_); \
		if (swallowed_)							\
			log_line(level_, tag, "(%u like the next not shown)",	\
				 swallowed_);					\
		if (passes_ || level_ == LEVEL_WARN)				\
			log_line(level_, tag, fmt, ##__VA_ARGS__);		\
	} while (0)
#define log_first(once, kind, ...)	log_noted(log_once_pass(once, kind), __VA_ARGS__)
