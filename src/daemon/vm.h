/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One VM of the plan: its device, which listens for a front-end, and the backends that
 * take what its guest connects to.
 */
#pragma once

#include <stdbool.h>

#include "daemon/sockets.h"

struct device_hooks;
struct plan;
struct sibling_dir;
struct sibling_entry;
struct vm_plan;
struct worker;

struct vm {
	const struct vm_plan *plan;		/* borrowed */
	struct sibling_entry *sibling;		/* borrowed: in the directory */
	struct vm_sockets sockets;		/* the device takes the descriptors; names stay */
	bool is_wanted;				/* the sockets are there */
};

/*
 * Gives the device and its backends to @w, which has not been started yet. 0; LISTENER_E_*,
 * -errno: no socket of it is left.
 */
int vm_open(struct vm *vm, const struct plan *plan, struct worker *w, struct sibling_dir *siblings,
	    const struct device_hooks *hooks);

/* After its worker has been stopped: removes the sockets' names. */
void vm_deinit(struct vm *vm);
