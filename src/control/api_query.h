/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What stands behind the path of a request, after its "?": values, which are decoded, and how
 * they, and the path, are. Where a function returns bool, false: it is none of those that may be
 * there.
 *
 * The attacker is whoever may connect to the API. Input of a fuzz target.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* In place: each %XX becomes the byte that it says, save %00, which stays as it is: at a NUL the
 * rest would be cut off, unseen. Nothing that is known has a '%' in it. Returns the length. */
size_t api_query_decode(char *text);

struct api_query_key {				/* which may be there; the last has no name */
	const char *name;
	bool may_repeat;
};

enum {
	API_QUERY_E_UNKNOWN = 1,
	API_QUERY_E_REPEATED,
};

/* @keys, at most 32; NULL: there are none. *@given: those that were there, 0 before the first.
 * 0; API_QUERY_E_*. */
int api_query_claim(const struct api_query_key *keys, const char *name, unsigned *given);

/* A time as events have it, "SECS.NANOS", the latter of nine digits: in nanoseconds. */
bool api_query_time(const char *text, uint64_t *out_ns);

/* A number in decimal digits, from @min to @max. */
bool api_query_number(const char *text, uint64_t min, uint64_t max, uint64_t *out);
