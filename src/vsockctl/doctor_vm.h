/* SPDX-License-Identifier: BSD-3-Clause */
/* What the daemon's API says about its VMs, for the doctor. */
#pragma once

#include "vsockctl/doctor.h"

struct doctor_vms {
	struct doctor_vm *vms;			/* owned; NULL: none */
	size_t n;
};

/* Can it be asked at all, by this build? */
bool doctor_vm_can_ask(void);

/* All VMs of the daemon at @api, as far as its list tells. Says in @f whether it answers. */
void doctor_vm_list(const char *api, struct doctor_facts *f, struct doctor_vms *out);

/* The rest of @vm: its rings, and its connections that stand still. */
void doctor_vm_look(const char *api, struct doctor_vm *vm);
