/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The folder of a test program, for all that it makes: sockets, logs, files. It goes
 * when the program and all that it forked have gone, whatever ended them; a process
 * that waits for that sees to it.
 */
#pragma once

/* Makes it, in TMPDIR or in /tmp, and names it in TMPDIR: what follows is made in it. */
void scratch_begin(void);
void scratch_end(void);

/* Its path, some 40 bytes at most: the name of a socket has room for 107. */
const char *scratch_path(void);
