/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Whoever ends the daemon, with SIGTERM, waits for it: so it ends, whatever hangs.
 */
#pragma once

enum { GUARD_MS = 1200 };

/*
 * In GUARD_MS from now on, if it still runs, the process removes the names of its sockets
 * and ends with @status; or by an alarm, where a file system does not let it do the
 * former: within 2 s in any case. Does not block. Once, when the end begins.
 */
void guard_start(int status);
