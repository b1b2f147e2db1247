/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Two plans, the one that is served and the one that is wanted: which VMs are new, which have
 * gone, and what is another in those that stay. A VM is known by its guest-cid: with another
 * CID it is another VM. Pure; nothing here acts.
 *
 * What has changed is a set of keys, as the user writes them: what to do with it depends on
 * when each of them can take effect, and what is done is logged by their names.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct plan;
struct vm_plan;

enum compare_when {				/* the earlier, the less it disturbs */
	COMPARE_NOW,				/* under a running guest */
	COMPARE_NEXT,				/* by itself, with the next front-end */
	COMPARE_ANEW,				/* the VM has to be made anew: once its front-end has
						   left, its device and its connections with it */
	COMPARE_RESTART,			/* as long as it lives the process stays as it is */
	COMPARE_NUM_WHEN,
};

typedef uint32_t compare_set;			/* of keys; 0: nothing has changed */

/* Of one VM. Modes and groups of sockets, and what is set for all VMs together, as the two
 * have them at the end. Where it comes from (vm_plan::origin) is no change; nor is another
 * way to spell the path of the same place. */
compare_set compare_vms(const struct vm_plan *before, const struct vm_plan *after);

/* Is the uds-path of both one place, however it is spelled? */
bool compare_same_uds(const struct vm_plan *a, const struct vm_plan *b);

/* Does nothing of what is captured differ? */
bool compare_same_capture(const struct vm_plan *a, const struct vm_plan *b);

/* Of what was said for all, besides that. */
compare_set compare_settings(const struct plan *before, const struct plan *after);

/* Those of @set that take effect then. One table for both kinds of sets each. */
compare_set compare_vms_when(compare_set set, enum compare_when when);
compare_set compare_settings_when(compare_set set, enum compare_when when);

/* The keys' names, "uds-path, groups", for logs; cut where @text is too small. */
enum { COMPARE_TEXT_MAX = 400 };		/* enough for all of them */
void compare_vms_text(compare_set set, char text[COMPARE_TEXT_MAX]);
void compare_settings_text(compare_set set, char text[COMPARE_TEXT_MAX]);

struct compare_row {
	const struct vm_plan *before, *after;	/* NULL: it is new; it has gone */
	compare_set changes;			/* 0 unless it has both */
};

/* All VMs of both, by CID: *@rows, to be freed, and *@n. 0 or -ENOMEM. */
int compare_plans(const struct plan *before, const struct plan *after, struct compare_row **rows,
		  size_t *n);
