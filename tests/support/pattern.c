/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Position-dependent bytes: see pattern.h. Eight at a time, each word a mixture
 * of its number and the seed.
 */
#include "support/pattern.h"

#include <string.h>

static uint64_t word(uint64_t n, uint32_t seed)
{
	uint64_t x = (n + 1) * UINT64_C(0x9e3779b97f4a7c15) ^
		     ((uint64_t)seed << 32 | seed);

	x ^= x >> 29;
	return x * UINT64_C(0xbf58476d1ce4e5b9);
}

void pattern_fill(void *to, size_t len, uint64_t offset, uint32_t seed)
{
	uint8_t *p = to;
	size_t at, n;
	uint64_t w;

	for (; len; p += n, offset += n, len -= n) {
		at = offset % 8;
		n = 8 - at < len ? 8 - at : len;
		w = word(offset / 8, seed);
		memcpy(p, (uint8_t *)&w + at, n);
	}
}

size_t pattern_check(const void *from, size_t len, uint64_t offset, uint32_t seed)
{
	const uint8_t *p = from;
	uint8_t want[8];
	size_t done, n;

	for (done = 0; done < len; done += n) {
		n = 8 - (offset + done) % 8;
		if (n > len - done)
			n = len - done;
		pattern_fill(want, n, offset + done, seed);
		if (memcmp(want, p + done, n) == 0)
			continue;
		for (n = 0; want[n] == p[done + n]; n++)
			;
		return done + n;
	}
	return len;
}
