/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the process was started with. A launcher passes on more than arguments:
 * signals that are ignored (nohup, a shell's background job) or blocked, standard
 * streams that are closed, limits. Some of it is meant; the rest would strike
 * later, far from its cause.
 */
#pragma once

#include <signal.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Makes closed descriptors among 0 to 2 /dev/null. Else what is opened next would
 * take their place, and the log would be written to a guest's socket. Writes to them
 * still fail, so that a lost line is not taken for a written one. Called before
 * anything is opened. 0 or -errno.
 */
int launch_open_streams(void);

/*
 * Unblocks all signals, whatever mask we were started with: a lost page and a refused
 * system call are told by one. Makes a write to a peer that has left, or beyond the
 * size that a file may have, an error and not the end.
 */
void launch_reset_signals(void);

/*
 * Blocks the signals that end the daemon, also for the threads made later, and puts
 * them into @ends for sigwait(). Those that were ignored at the start stay ignored. One
 * more is the daemon's own, see launch_end().
 */
void launch_block_ends(sigset_t *ends);

/*
 * For a process that is told by another when to end: ignores what would end both, and what
 * is meant for the other. @ends has what is left, see launch_end().
 */
void launch_ignore_ends(sigset_t *ends);

/* Wakes the thread that waits for @ends, whatever is ignored. From any thread. */
void launch_end(void);

/* Raises the limit of descriptors as far as the system allows; returns it. */
uint64_t launch_raise_files(void);

/*
 * How many of @n descriptors an engine may have: less than its supervisor, which keeps nothing
 * that the engine does not have open. So it is always the engine that runs out of them, and
 * refuses what needs more. launch_limit_engine() sets that limit, in the child that becomes one.
 */
uint64_t launch_engine_files(uint64_t n);
void launch_limit_engine(void);

/*
 * Makes room for @n descriptors, or a great many, while there is only one thread. The
 * kernel enlarges its table of them when that is full. With more than one thread each time
 * takes an RCU grace period, 10 ms and more, during which the worker that has just opened
 * a socket stands still.
 */
void launch_grow_files(uint64_t n);

/* Bytes of address space that guests' memory may take: the rest is for us. */
uint64_t launch_address_space(void);

/* Mappings that a process may have. */
uint64_t launch_max_maps(void);

size_t launch_count_cpus(void);			/* that we may run on; at least one */
