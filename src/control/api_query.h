/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What stands behind the path of a request, after its "?": values, which are decoded. Each
 * function: false, it is none of those that may be there.
 *
 * The attacker is whoever may connect to the API. Input of a fuzz target.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* A time as events have it, "SECS.NANOS", the latter of nine digits: in nanoseconds. */
bool api_query_time(const char *text, uint64_t *out_ns);

/* A number in decimal digits, from @min to @max. */
bool api_query_number(const char *text, uint64_t min, uint64_t max, uint64_t *out);
