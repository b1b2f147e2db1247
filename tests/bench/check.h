/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the streams of a benchmark carry: messages of one size, each the same
 * pattern but for a stamp in its first bytes, its number. So the sender writes
 * eight bytes per message and not all of them, and a receiver can compare any
 * place of the stream: lost, doubled and swapped messages show.
 *
 * A timed run compares the ends of one message in every 64th piece that
 * arrives; a quick run compares every byte. All are counted.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { CHECK_STAMP = 8, CHECK_MESSAGE_MAX = 64 * 1024 };

struct check {
	size_t size;
	bool all;
	uint64_t offset;			/* of the next byte, the count so far */
	uint64_t n_pieces, n_compared;		/* n_compared in bytes */
};

/* The pattern of a message, the stamp's place included. */
const uint8_t *check_pattern(void);
/* A message smaller than the stamp has no number. */
void check_stamp(uint8_t *message, size_t size, uint64_t number);
/* Counts; dies when the sample differs. */
void check_take(struct check *c, const uint8_t *data, size_t len);
