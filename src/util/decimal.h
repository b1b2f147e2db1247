/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Numbers in decimal: where printf would cost most of the time (a connection's path and its OK
 * line, metrics, events), and where what stands behind one, and how large it may be, has to be
 * known exactly.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

enum { DECIMAL_MAX = 20 };			/* digits */

/* Writes @v without a terminator; returns the end of it. */
static inline char *decimal_put(char *out, uint64_t v)
{
	char digits[DECIMAL_MAX], *at = digits + sizeof digits;
	size_t n;

	do
		*--at = (char)('0' + v % 10);
	while (v /= 10);
	n = (size_t)(digits + sizeof digits - at);
	memcpy(out, at, n);
	return out + n;
}

/* Reads digits, at least one, up to what is none; *@at is left there. False: there is none, or the
 * number is above @max. */
static inline bool decimal_take(const char **at, uint64_t max, uint64_t *out)
{
	const char *c = *at;
	uint64_t n = 0;

	for (; *c >= '0' && *c <= '9'; c++) {
		uint64_t digit = (uint64_t)(*c - '0');

		if (n > max / 10 || n * 10 > max - digit)
			return false;
		n = n * 10 + digit;
	}
	if (c == *at)
		return false;
	*at = c;
	*out = n;
	return true;
}
