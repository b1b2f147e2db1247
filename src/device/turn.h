/* SPDX-License-Identifier: BSD-3-Clause */
/* How a part of a device's turn ended. */
#pragma once

enum turn {
	TURN_DONE,				/* nothing is left to do */
	TURN_LATE,				/* nothing but what has come in meanwhile */
	TURN_MORE,				/* cut short: the rest is for the next turn */
};

/* The one of the two that leaves more to do. */
static inline enum turn turn_worse(enum turn a, enum turn b)
{
	return a > b ? a : b;
}
