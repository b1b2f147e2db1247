/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Numbers in decimal where printf would cost most of the time: a connection's path
 * and its OK line, metrics, events.
 */
#pragma once

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
