/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Somebody in the daemon who should not be there: a library that is loaded into
 * it and takes orders. A host client that says "TRY <act> [<what>]\n" instead of
 * a CONNECT line makes the worker itself do that act, and is answered
 * "<errno>\n", 0 for success; unless the worker dies of it.
 *
 * It also makes the kernel look older: landlock as of the ABI that the environment
 * names; a file system hang, in which names are removed; and a log slow, where it matters.
 */
#pragma once

#define INTRUDER_ORDER	"TRY "
#define INTRUDER_LANDLOCK "INTRUDER_LANDLOCK"
#define INTRUDER_UNLINK	"INTRUDER_UNLINK"	/* "hangs" */
#define INTRUDER_LOG_MS	"INTRUDER_LOG_MS"	/* so long it takes to write that something hangs */
