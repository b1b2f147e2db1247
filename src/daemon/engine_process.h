/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The engine as a child of the supervisor: the same program, started anew, so that nobody
 * who has seen one engine's memory knows where things lie in the next.
 */
#pragma once

#include <sys/types.h>

/* The program that this process runs, also when another has its name by now. 0 or -errno. */
int engine_process_open(int *program);

/* Where that is installed, for free(): who has another one there by now, finds it. NULL without
 * memory, or /proc. */
char *engine_process_path(void);

/*
 * Starts @program as a child that dies with us. Of our descriptors it has 0 to 2, and @passed, and
 * may have fewer than we, see launch_engine_files(). 0 or -errno; what goes wrong in the child
 * shows in its end, with status 127.
 */
int engine_process_spawn(int program, char *const argv[], int passed, pid_t *pid);

/*
 * Starts an engine: a child that dies with us. @channel: our end, blocking. 0 or -errno; what
 * goes wrong in the child shows in its end.
 */
int engine_process_start(int program, pid_t *pid, int *channel);

/* In main(): is this process an engine? Its end of the channel; -1: it is none. */
int engine_process_channel(int argc, char **argv);
