/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The innocent neighbour: a VM on the worker of those who do harm. A program of the host
 * and its guest pass one byte to and fro, a thousand times a second, and how long that
 * takes says whether the others hold up the worker.
 *
 * The rule: whatever the others do, of 100 round trips 99 take less than 5 ms and twice
 * what they take while the others do honest work of the same amount.
 *
 * Two things make that a measure of the daemon, and not of the machine or of luck:
 *
 * - What a thread that could run waits for a CPU is not counted, neither the worker's
 *   nor that of the thread that measures. On a small machine with others on it that is
 *   many milliseconds, whatever the daemon does, and the kernel tells how much it was
 *   (schedstat). Only the worker's own time is left: what it computes for somebody else,
 *   or waits for.
 * - A round trip counts for each millisecond that it took, as the message that would have
 *   been sent then, and come through when it did. A worker that stands still for a second
 *   is a thousand bad ones, not one bad one among a thousand good.
 *
 * What is left of the machine's own doing (a hypervisor that takes the CPU away, memory
 * that has to be found) comes and goes; what an attack does, it does each time. So
 * neighbour_compare() believes a bad measure when it has seen it three times. Where threads
 * wait for a CPU for a quarter of the time, and under a sanitizer, all is well: that is
 * a measure of something else.
 */
#pragma once

#include <stdint.h>

#include "e2e/e2e.h"

enum { NEIGHBOUR_ALLOWED_US = 5000 };

/* The neighbour as words for --vm, in the daemon's folder. Named last, or with --threads=1,
 * it has the first VM's worker, and CID 1000. */
const char *neighbour_words(void);
/* The daemon listens: its guest comes, and a connection is there. */
void neighbour_up(void);
void neighbour_down(void);			/* also if it is not up, or still measures */

/* Round trips, by a thread of their own, from here to there. */
void neighbour_start(void);
int64_t neighbour_stop(void);			/* the time that 99 of 100 took at most, in us */
/* In between, for those who measure the daemon alone; nothing if it does not measure. */
void neighbour_rest(void);
void neighbour_go_on(void);

/* The same while @act is done again and again for a while. */
int64_t neighbour_measure(void (*act)(void));
bool neighbour_is_well(int64_t with_attack_us, int64_t with_honest_us);

/* The rule, for an attack and the honest work that it is compared with: both measured, and
 * if need be again. */
void neighbour_compare(void (*honest)(void), void (*attack)(void));

/*
 * The rule for whole tests. A case of neighbour_case() measures honest work once, before
 * the first of its tests, and each test that measures is judged by it at its end.
 */
TCase *neighbour_case(Suite *s, const char *name, void (*setup)(void), void (*teardown)(void),
		      int timeout_s);
void neighbour_judge(void);			/* nothing if it does not measure */

/* Fixtures as those of e2e.h, and the neighbour measures. The daemon has one worker. */
void neighbour_setup_daemon(void);
void neighbour_setup_vm(void);
void neighbour_teardown(void);			/* with neighbour_judge() */
/* From the bare fixture: with more words for the other VM, and options; both may be NULL. */
void neighbour_start_daemon(const char *words, const char *const *extra);
