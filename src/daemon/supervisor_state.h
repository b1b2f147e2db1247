/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A supervisor as state: what the program that is installed by now needs to go on in its
 * place, in the same process. Its descriptors stay open over execve(2), under their numbers.
 *
 * The numbers of sections' versions say which programs can take over from which: one reads
 * its own and all that came before. Another program is asked before it is executed.
 */
#pragma once

#include "daemon/supervisor_internal.h"

enum { SUPERVISOR_STATE_E_BAD = 1 };		/* cut, of a newer version, or never one */

/* As a file, *@fd, with the numbers of the descriptors in it. 0; BLOB_E_*; -errno. */
int supervisor_state_save(struct supervisor *s, int *fd);

/* All descriptors that the state names are to stay open, or not. 0 or -errno. */
int supervisor_state_pass(struct supervisor *s, int state_fd, bool is_passed);

/*
 * Fills @s, of which ::plan is a plan as plan_init() leaves it, and the rest as
 * supervisor_init() does. 0; SUPERVISOR_STATE_E_BAD; -errno. What was loaded belongs to @s in
 * any case.
 */
int supervisor_state_load(struct supervisor *s, int fd);

/* Could it be loaded? The descriptors need not be there. */
bool supervisor_state_check(int fd);
