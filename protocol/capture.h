/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How far a capture has come: memory that the supervisor keeps with the capture's files, so
 * that an engine which takes another's place goes on behind the last whole packet, and the
 * number of those that are lost is right even over a crash. The next engine believes nothing
 * of it but counts.
 */
#pragma once

#include <assert.h>
#include <stdatomic.h>
#include <stdint.h>

enum {
	CAPTURE_FILES_MAX = 16,
	CAPTURE_PLACE_BITS = 56,		/* of capture_shared::place for the offset */
};

struct capture_shared {
	_Atomic uint64_t seen;			/* packets that the filter let pass */
	_Atomic uint64_t lost;			/* ... which are in no file, and will not be */
	_Atomic uint64_t written;		/* ... which are */
	_Atomic uint64_t bytes;			/* of these, in the files */
	_Atomic uint64_t place;			/* the number of the file, and where its last whole
						   packet ends; 0: none has been begun */
	_Atomic uint32_t is_torn;		/* a part of a packet may be behind that */
	_Atomic uint32_t ended;			/* errno: it ended by itself; 0: it has not */
};
static_assert(sizeof(struct capture_shared) == 48, "no gaps");
