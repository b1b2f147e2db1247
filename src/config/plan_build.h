/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How a plan comes about, inside src/config: defaults first, then options.c and
 * yaml.c add what the user said, plan_finish() fills the gaps that are left and
 * check.c judges the whole.
 */
#pragma once

struct config_error;
struct plan;
struct vm_plan;

/* The plan of somebody who said nothing; it has no VM yet. */
void plan_init_defaults(struct plan *plan);
void vm_plan_init_defaults(struct vm_plan *vm);

/*
 * Appends a VM with its defaults. @origin NULL: it comes from single options.
 * NULL without memory. What an earlier call returned is no longer valid.
 */
struct vm_plan *plan_add_vm(struct plan *plan, const char *origin);

/* Groups become sorted and unique, or the default one; each VM's sockets get their
 * modes. 0 or -ENOMEM. */
int plan_finish(struct plan *plan);
