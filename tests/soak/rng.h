/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Numbers that look random and depend on a seed only (splitmix64). Each part of
 * the soak that draws has a generator of its own, so that how often one draws
 * does not change what another one gets.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct rng {
	uint64_t state;
};

static inline uint64_t rng_u64(struct rng *r)
{
	uint64_t x = r->state += UINT64_C(0x9e3779b97f4a7c15);

	x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
	return x ^ x >> 31;
}

/* 0 to @n - 1. */
static inline uint32_t rng_below(struct rng *r, uint32_t n)
{
	return (uint32_t)((rng_u64(r) >> 32) * n >> 32);
}

static inline uint32_t rng_range(struct rng *r, uint32_t low, uint32_t high)
{
	return low + rng_below(r, high - low + 1);
}

static inline bool rng_one_in(struct rng *r, uint32_t n)
{
	return rng_below(r, n) == 0;
}

/* 1 to @max, small ones as often as large ones: 1 to 3, 4 to 15, 16 to 63 ... */
static inline uint32_t rng_size(struct rng *r, uint32_t max)
{
	uint32_t bits = 0, n;

	while (bits < 31 && max >> (bits + 1))
		bits++;
	n = rng_below(r, UINT32_C(1) << rng_range(r, 1, bits)) + 1;
	return n < max ? n : max;
}

static inline struct rng rng_new(uint64_t seed, uint64_t stream)
{
	struct rng r = { seed };

	r.state = rng_u64(&r) ^ stream * UINT64_C(0xd1342543de82ef95);
	return r;
}
