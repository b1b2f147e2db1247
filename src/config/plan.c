/* SPDX-License-Identifier: BSD-3-Clause */
/* The plan: how it begins, and its memory. */
#include "config/plan.h"

#include <stdlib.h>
#include <string.h>

void plan_init(struct plan *plan)
{
	*plan = (struct plan){
		.vhost_socket = SOCKET_PLAN_UNSET,
		.uds_socket = SOCKET_PLAN_UNSET,
		.api_socket = SOCKET_PLAN_UNSET,
		.event_fd = -1,
		.umask = 077,
		.uid = (uid_t)-1,
		.gid = (gid_t)-1,
	};
}

void vm_plan_init(struct vm_plan *vm)
{
	*vm = (struct vm_plan){
		.vhost_socket = SOCKET_PLAN_UNSET,
		.uds_socket = SOCKET_PLAN_UNSET,
	};
}

struct vm_plan *plan_add_vm(struct plan *plan, const char *origin)
{
	struct vm_plan *vms = plan->vms, *vm;
	size_t n = plan->n_vms;

	if ((n & (n - 1)) == 0)			/* so it needs no capacity beside it */
		vms = reallocarray(vms, n ? 2 * n : 1, sizeof *vms);
	if (!vms)
		return NULL;
	plan->vms = vms;
	vm = &vms[n];
	vm_plan_init(vm);
	if (origin) {
		vm->origin = strdup(origin);
		if (!vm->origin)
			return NULL;
	}
	plan->n_vms++;
	return vm;
}

void vm_plan_deinit(struct vm_plan *vm)
{
	for (size_t i = 0; i < vm->n_groups; i++)
		free(vm->groups[i]);
	free(vm->groups);
	free(vm->capture.path);
	free(vm->capture.ports);
	free(vm->forward_listen);
	free(vm->forward_listen_seqpacket);
	free(vm->host_cids);
	free(vm->vhost_socket.group);
	free(vm->uds_socket.group);
	free(vm->uds_at.rest);
	free(vm->connect_at.rest);
	free(vm->socket_at.rest);
	free(vm->uds_path);
	free(vm->connect);
	free(vm->socket);
	free(vm->origin);
	vm_plan_init(vm);
}

void plan_deinit(struct plan *plan)
{
	for (size_t i = 0; i < plan->n_vms; i++)
		vm_plan_deinit(&plan->vms[i]);
	free(plan->vms);
	free(plan->log_file);
	free(plan->config);
	free(plan->event_path);
	free(plan->user);
	free(plan->group);
	free(plan->vhost_socket.group);
	free(plan->uds_socket.group);
	free(plan->api_path);
	free(plan->api_socket.group);
	free(plan->api_at.rest);
	for (size_t i = 0; i < plan->n_api_folders; i++)
		free(plan->api_folders[i]);
	free(plan->api_folders);
	*plan = (struct plan){
		.api_socket = SOCKET_PLAN_UNSET, .event_fd = -1, .uid = (uid_t)-1, .gid = (gid_t)-1,
	};
}
