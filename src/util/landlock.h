/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Landlock, by its system calls: the headers of the build machine may know less than the
 * kernel. Rights to files below a folder; which there are, is said where they are used.
 */
#pragma once

#include <stdint.h>

/* struct landlock_ruleset_attr: what is denied but for its rules. Older kernels want what they
 * do not know to be 0. */
struct wire_landlock {
	uint64_t fs, net, scoped;
};

/* The version of its interface, from 1 on; -errno: the kernel has none, or not for us. */
int landlock_version(void);

/* *@ruleset: to be closed by the caller. All: 0 or -errno. */
int landlock_new(const struct wire_landlock *denied, int *ruleset);
int landlock_allow(int ruleset, int folder, uint64_t rights);
int landlock_enter(int ruleset);		/* this thread, for good; needs no_new_privs */
