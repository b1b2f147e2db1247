/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What is done to one VM while the workers run: it comes, changes, goes. Each is a job that
 * the VM's worker does in its own thread, in the order in which they were posted. The others
 * of that worker notice no more of it than a batch of their own takes: a VM with thousands
 * of connections goes in many turns.
 *
 * Who there is, and in which groups, is the directory's (sibling.h), and changed there by who
 * posts: a VM is entered before its VM_OPEN, and taken out before its VM_CLOSE.
 */
#pragma once

#include "config/plan.h"
#include "device/worker.h"
#include "util/mailbox.h"

struct device_hooks;
struct sibling_dir;
struct vm;

/* Listening sockets; -1: none. */
struct vm_fds {
	int vhost, uds, seqpacket;
};

void vm_fds_close(struct vm_fds *fds);

/*
 * The caller's memory until it is done, and all that it points to as well. What there is to
 * say is filled in by vm_post_*().
 */
struct vm_job {
	/* It is done: 0, or what it was that did not work. In the worker's thread; or
	 * -ECANCELED, in that which delivers the last mail, where the worker was stopped
	 * before. The job may be freed, or posted again. */
	void (*done)(struct vm_job *job, int result);

	struct vm *vm;				/* the rest is vm_job.c's */
	struct mail mail;
	struct plan plan;			/* but for its rows; of when this was posted */
	const struct vm_plan *row;
	struct sibling_dir *siblings;
	const struct device_hooks *hooks;
	struct vm_fds fds;
	struct worker_removal removal;
};

/* As vm_open(). @vm is as vm_init() has made it, with its sockets; what it holds is the
 * worker's until this, and what is posted after it, is done. */
void vm_post_open(struct vm_job *job, struct vm *vm, const struct plan *plan, struct worker *w,
		  struct sibling_dir *siblings, const struct device_hooks *hooks);

/*
 * @row is another one for the same guest; what is different in it is of the kinds that
 * compare.h calls COMPARE_NOW or COMPARE_NEXT, and nothing else is looked at. @fds,
 * taken over: sockets that listen in place of those whose names have been removed. 0: @row is
 * the VM's from now on, and the one before it is not used any more. -errno: nothing has
 * changed, but the first socket may have.
 */
void vm_post_change(struct vm_job *job, struct vm *vm, const struct plan *plan,
		    const struct vm_plan *row, const struct vm_fds *fds);

/* Never fails: all its descriptors are closed when it is done, and vm_deinit() is what is
 * left. Nothing else may be posted for @vm any more. One without a device is fine. */
void vm_post_close(struct vm_job *job, struct vm *vm);
