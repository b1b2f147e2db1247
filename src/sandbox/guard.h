/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Whoever ends the daemon by SIGTERM waits for it. So it ends, whatever hangs.
 */
#pragma once

enum { GUARD_MS = 1200 };

/*
 * If the process still runs after GUARD_MS, it removes the names of its sockets and ends
 * with @status; or, where a file system does not let it do that, by an alarm. Within 2 s in
 * any case. Does not block. Called once, when the end begins.
 */
void guard_start(int status);
/* The end has come to exit(3), which may take its time (a sanitizer looks for leaks). Without
 * guard_start(), to no effect. Does not block. */
void guard_stop(void);
