/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Whoever ends the daemon, with SIGTERM, waits for it: so it ends, whatever hangs.
 */
#pragma once

enum { GUARD_MS = 1500 };

/*
 * In GUARD_MS from now on, if it still runs, the process removes the names of its sockets
 * and ends with @status; within 2 s, also where a file system does not let it do the
 * former. Does not block. To be called once, when the end begins.
 */
void guard_start(int status);
