/* SPDX-License-Identifier: BSD-3-Clause */
/* The API, for the doctor, where the program was built without libcurl or jansson. */
#include "vsockctl/doctor_vm.h"

bool doctor_vm_can_ask(void)
{
	return false;
}

void doctor_vm_list(const char *api, struct doctor_facts *f, struct doctor_vms *out)
{
	(void)api;
	f->api = DOCTOR_API_NONE;
	*out = (struct doctor_vms){ .n = 0 };
}

void doctor_vm_look(const char *api, struct doctor_vm *vm)
{
	(void)api, (void)vm;
}
