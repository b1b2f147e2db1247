/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Times of day as people read them. gmtime() would look for the time zone's file at its
 * first call, which the sandbox forbids, and take a lock, which the handler of a signal
 * must not wait for.
 */
#pragma once

#include <stddef.h>
#include <time.h>

enum { CALENDAR_TEXT_MAX = 32 };		/* bytes of one, up to the year 9999, with its NUL */

/*
 * "2026-11-21T13:28:08.042Z", as RFC 3339 has it: UTC, and the milliseconds that are over.
 * Returns its length; what does not fit into @size bytes is cut. @ts not before 1970.
 */
size_t calendar_put_utc(char *text, size_t size, const struct timespec *ts);
