/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Front-ends as tables: what a VMM says to its back-end, message by message, when its device
 * is made, started, paused, reset, and when it finds a back-end again that had left.
 *
 * A message that is answered otherwise than the VMM wants it fails the test: an answer that is
 * late, missing, too many, of another size, or that the VMM itself would give up on.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "support/driver.h"

enum { FRONT_END_STEPS = 24 };

/* What SET_VRING_BASE says. */
enum front_end_base {
	BASE_ZERO,
	BASE_AVAIL,				/* what the guest has offered, as its memory has it */
	BASE_USED,				/* what it was given back, likewise */
	BASE_STOPPED,				/* what GET_VRING_BASE said */
};

struct front_end_step {
	uint32_t request;			/* 0: the end */
	bool need_reply;			/* the flag of the header */
	/* Neighbours with the same number go to ring 0 together, then to ring 1, then to 2. */
	unsigned round;
	/*
	 * GET_FEATURES, GET_PROTOCOL_FEATURES: bits without which it gives up.
	 * SET_PROTOCOL_FEATURES: what it takes of the offered. SET_FEATURES: what it adds to what
	 * the driver took. GET_QUEUE_NUM: the least. SET_VRING_ENABLE: 1 or 0.
	 */
	uint64_t value;
	enum front_end_base base;
	uint32_t offset, size, flags;		/* of GET_CONFIG and SET_CONFIG */
	uint32_t padding;			/* bytes behind the data, though not in @size */
	bool is_refused;			/* the acknowledgement is not 0 */
};

struct front_end {
	const char *name;
	uint64_t passes;			/* features that it lets through to its guest */
	uint32_t queue_size;
	bool shares_call;			/* one descriptor for all rings, another at each start */

	/* The device is made; its driver reads the CID; its driver is ready. */
	struct front_end_step meet[FRONT_END_STEPS], config[4], start[FRONT_END_STEPS];
	/* Empty: nothing is said. */
	struct front_end_step config_write[2];	/* by the driver, of its CID */
	struct front_end_step pause[8], resume[FRONT_END_STEPS];
	struct front_end_step reset[8], restart[FRONT_END_STEPS];
	bool reconnects;
	struct front_end_step reconnect[FRONT_END_STEPS];
};

/* A VM of this VMM, whose driver takes @features of what it is shown; nothing is said yet. */
void front_end_init(struct driver *d, const struct front_end *fe, uint64_t features);
/* Says it all, and fails the test on a wrong answer. */
void front_end_say(struct driver *d, const struct front_end *fe,
		   const struct front_end_step *steps);
/* Nothing has come that was not asked for, and the connection stands. */
void front_end_check_quiet(struct driver *d);
