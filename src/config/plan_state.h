/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A plan as state: what goes to a process that has read neither options nor a file. One VM
 * is a section, what was said for all of them another.
 *
 * A plan that is saved is one that config_read() has made, and maybe the daemon has shared
 * out. What is loaded is believed no more than an option is: numbers have their rows' ranges,
 * groups their order, a VM its one front-end and its one backend. What only the VMs together
 * show (check.h) is not looked at again. Descriptors go another way: vhost_socket.fd and
 * uds_socket.fd are -1 after a load.
 */
#pragma once

#include "util/blob.h"

struct plan;
struct vm_plan;

enum { PLAN_STATE_E_BAD = 1 };			/* cut, of a newer version, or never a plan */

void plan_state_save_vm(const struct vm_plan *vm, struct blob *out);

/* Fills @vm, which nobody has said anything of (vm_plan_init()), and is so again unless 0.
 * 0; PLAN_STATE_E_BAD; -ENOMEM. */
int plan_state_load_vm(struct vm_plan *vm, struct blob_reader *in);

/* vm_plan::said, which an engine has no use for; no section. False: it cannot be. */
void plan_state_save_said(const struct vm_plan *vm, struct blob *out);
bool plan_state_load_said(struct vm_plan *vm, struct blob_reader *in);

/* All but the VMs. */
void plan_state_save(const struct plan *plan, struct blob *out);

/* Fills @plan, as plan_init() leaves it, and it is so again unless 0. 0; PLAN_STATE_E_BAD;
 * -ENOMEM. */
int plan_state_load(struct plan *plan, struct blob_reader *in);
