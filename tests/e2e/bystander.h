/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Two VMs: sibs[0] suffers or does harm, sibs[1] stands by, and a thread moves
 * its bytes to and from the host all the time. Each byte is checked; whatever
 * happens to the one, the other must get on. A third is the neighbour on the worker
 * of sibs[0]: it measures how long it is held up, see neighbour.h.
 */
#pragma once

#include "e2e/sibs.h"

/* Where the two are: on one worker, or on two. */
enum { ON_ONE_WORKER, ON_TWO_WORKERS, PLACES };

/* A case of tests that use it. */
TCase *bystander_case(Suite *s, const char *name, int timeout_s);
/* sibs[0] is up too, its traffic is the test's. @extra
 * options, or NULL. */
void bystander_begin(int place, const char *const *extra);
/* It was served for a while, after this call. */
void bystander_check(void);
/* Rest, to measure the daemon alone, and go on. */
void bystander_stop(void);
void bystander_start(void);

/* sibs[0] has nothing to do, and the bystander rests: so does the daemon. A
 * thousand wake-ups a second are allowed to one that must @poll. */
void bystander_check_no_spin(bool polls);

/* Both are well: sibs[0] with a new front-end if @renew. Ends the traffic, but not what
 * is measured. */
void bystander_end(bool renew);
/* The fixture's end, which judges that. */
void bystander_teardown(void);
