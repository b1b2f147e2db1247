/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Whoever ends the daemon by SIGTERM waits for it. So it ends, whatever hangs.
 */
#pragma once

/*
 * If the process still runs after 1.2 s, it removes the names of its sockets and ends
 * with @status; or, where a file system does not let it do that, by an alarm. Within 2 s in
 * any case; where a sanitizer is built in, later. Does not block. Called once, when the end begins.
 */
void guard_start(int status);

/* The end has come to exit(3), which may take its time (a sanitizer looks for leaks). Without
 * guard_start(), to no effect. Does not block. */
void guard_stop(void);
