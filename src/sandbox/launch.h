/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the process was started with. Launchers leave more behind than arguments:
 * signals that are ignored (nohup, a shell's background job) or blocked, standard
 * streams that are closed, limits. Some of it is meant; the rest would strike
 * later, far from its cause.
 */
#pragma once

#include <signal.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Descriptors 0 to 2 that are closed become /dev/null: what is opened next would
 * be in their place, and a guest's socket be what the log is written to. Nothing
 * can be written to them still, so that who reads nothing is not told that all
 * was said. Before anything is opened. 0 or -errno.
 */
int launch_open_streams(void);

/*
 * No signal is blocked, whatever the mask that was left to us: of a lost page and
 * of a refused system call we hear by one. Writing to who has left, or beyond the
 * size that a file may have, is an error and not the end.
 */
void launch_reset_signals(void);

/*
 * From here on the signals that end the daemon wait in @ends for sigwait(), also
 * in the threads made later. Those that were ignored at the start stay ignored. One
 * more is the daemon's own, see launch_end().
 */
void launch_block_ends(sigset_t *ends);

/* Wakes who waits for @ends, whatever else is ignored. From any thread. */
void launch_end(void);

/* As many descriptors as the system lets us have; how many that is. */
uint64_t launch_raise_files(void);

/*
 * Makes room for @n descriptors, or very many, in the only thread that there is. The kernel has a table
 * of them, which it makes larger when it is full; with more than one thread that takes an
 * RCU grace period each time, 10 ms and more, in which the worker that has just opened a
 * socket stands still.
 */
void launch_grow_files(uint64_t n);

/* Bytes of address space that guests' memory may take: the rest is for us. */
uint64_t launch_address_space(void);

/* Mappings that a process may have. */
uint64_t launch_max_maps(void);

size_t launch_count_cpus(void);			/* that we may run on; at least one */
