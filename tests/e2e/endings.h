/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How connections end: who closes, half-closes or resets what, and what the other side has
 * to see of it. One table, for each kind of host program that a daemon can serve; a kind
 * that cannot tell some end from another says so.
 */
#pragma once

#include "e2e/e2e.h"

struct host_kind {				/* on `vhd`, whose VM is `vm` */
	struct pair (*guest_connects)(void);	/* at PORT, or another port of its own */
	struct pair (*host_connects)(void);
	bool tells_loss;			/* a close with bytes unread is known as such */
};

/* A case for each row, with a test for each side that may have connected. Once in a program. */
void endings_add(Suite *suite, void (*setup)(void), const struct host_kind *kind);
