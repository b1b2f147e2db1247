/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One VM of the plan: its device, which listens for a front-end, and the backends that
 * take what its guest connects to.
 */
#pragma once

struct device_hooks;
struct plan;
struct sibling_dir;
struct vm_plan;
struct worker;

/*
 * Opens the sockets of @vm and gives the device to @w, which has not been started yet.
 * 0; LISTENER_E_*, -errno: no socket of it is left. Which one could not be had has been
 * logged, with its path.
 */
int vm_open(const struct plan *plan, const struct vm_plan *vm, struct worker *w,
	    struct sibling_dir *siblings, const struct device_hooks *hooks);
