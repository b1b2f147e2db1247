/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How the test support gives up: what must not fail ends the program (or the
 * test, when a test program has set must_hook), with file, line and reason, so
 * that tests read as a list of steps. What a test may want to see fail returns
 * a value instead.
 */
#pragma once

#include <errno.h>
#include <string.h>

/* Called with the message before the program aborts; may not return. */
extern void (*must_hook)(const char *file, int line, const char *text);

void must_fail(const char *file, int line, const char *fmt, ...)
	__attribute__((noreturn, format(printf, 3, 4)));

#define die(...)	must_fail(__FILE__, __LINE__, __VA_ARGS__)
#define must(cond)							\
	do {								\
		if (!(cond))						\
			die("%s (%s)", #cond, strerror(errno));		\
	} while (0)
