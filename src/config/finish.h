/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The gaps that are left when all has been read: groups become sorted and unique, or
 * the default one; each VM gets what was said for all, each socket its mode.
 */
#pragma once

struct plan;
struct vm_plan;

/* One of @plan's VMs, that has come later. 0 or -ENOMEM, as the next. */
int finish_vm(const struct plan *plan, struct vm_plan *vm);
int finish_plan(struct plan *plan);
