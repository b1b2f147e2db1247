/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A library in the daemon that stops an engine (SIGSTOP) at a point of its way to taking over
 * from another, each time in the same place: the file that the environment names, as the engine
 * starts, has one of these words.
 */
#pragma once

#define HALT_FILE	"HALT_FILE"
#define HALT_TOLD	"told"			/* it has heard all, and has done nothing of it */
#define HALT_PREPARED	"prepared"		/* it has done all, and is about to say so */
