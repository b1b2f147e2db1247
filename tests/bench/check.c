/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Comparing a sample of what arrives: see check.h.
 */
#include "bench/check.h"

#include <pthread.h>
#include <string.h>

#include "support/must.h"
#include "support/pattern.h"

enum { SAMPLE_EVERY = 64, SAMPLE_LEN = 256, SEED = 4 };

static uint8_t pattern[CHECK_MESSAGE_MAX];

static void fill(void)
{
	pattern_fill(pattern, sizeof pattern, 0, SEED);
}

const uint8_t *check_pattern(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, fill);
	return pattern;
}

void check_stamp(uint8_t *message, size_t size, uint64_t number)
{
	if (size >= CHECK_STAMP)
		memcpy(message, &number, sizeof number);
}

/* @len bytes at @at of message @number; @len does not leave the message. */
static void compare(struct check *c, const uint8_t *data, size_t len, size_t at,
		    uint64_t number)
{
	const uint8_t *stamp = (const uint8_t *)&number;
	size_t stamped = 0;

	if (c->size >= CHECK_STAMP && at < CHECK_STAMP) {
		stamped = CHECK_STAMP - at < len ? CHECK_STAMP - at : len;
		if (memcmp(data, stamp + at, stamped) != 0)
			die("byte %llu is not in message %llu",
			    (unsigned long long)(number * c->size + at),
			    (unsigned long long)number);
	}
	if (memcmp(data + stamped, check_pattern() + at + stamped, len - stamped) != 0)
		die("wrong bytes near byte %llu",
		    (unsigned long long)(number * c->size + at));
	c->n_compared += len;
}

static void compare_all(struct check *c, const uint8_t *data, size_t len)
{
	uint64_t offset = c->offset;
	size_t at, n;

	for (; len; data += n, offset += n, len -= n) {
		at = offset % c->size;
		n = c->size - at < len ? c->size - at : len;
		compare(c, data, n, at, offset / c->size);
	}
}

static void compare_some(struct check *c, const uint8_t *data, size_t len)
{
	size_t skip = (c->size - c->offset % c->size) % c->size, n = c->size;
	uint64_t number = (c->offset + skip) / c->size;

	if (skip < len) {			/* a message begins here */
		n = len - skip < n ? len - skip : n;
		compare(c, data + skip, n < SAMPLE_LEN ? n : SAMPLE_LEN, 0, number);
	} else {				/* the inside of one */
		n = len < SAMPLE_LEN ? len : SAMPLE_LEN;
		compare(c, data, n, c->offset % c->size, c->offset / c->size);
	}
}

void check_take(struct check *c, const uint8_t *data, size_t len)
{
	if (c->all)
		compare_all(c, data, len);
	else if (c->n_pieces % SAMPLE_EVERY == 0)
		compare_some(c, data, len);
	c->n_pieces++;
	c->offset += len;
}
