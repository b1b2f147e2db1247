/* SPDX-License-Identifier: BSD-3-Clause */
/* What nobody has said follows from the rest. */
#include "config/finish.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "config/plan.h"

static int compare_groups(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static int finish_groups(struct vm_plan *vm)
{
	size_t n = 0;

	if (vm->n_groups == 0) {
		free(vm->groups);
		vm->groups = malloc(sizeof *vm->groups);
		if (!vm->groups || !(vm->groups[0] = strdup(PLAN_GROUP)))
			return -ENOMEM;
		vm->n_groups = 1;
		return 0;
	}
	qsort(vm->groups, vm->n_groups, sizeof *vm->groups, compare_groups);
	for (size_t i = 0; i < vm->n_groups; i++) {
		if (n > 0 && strcmp(vm->groups[n - 1], vm->groups[i]) == 0)
			free(vm->groups[i]);
		else
			vm->groups[n++] = vm->groups[i];
	}
	vm->n_groups = n;
	return 0;
}

/* What @socket does not say is as @otherwise has it. */
static void inherit(struct socket_plan *socket, const struct socket_plan *otherwise)
{
	if (socket->mode == SOCKET_MODE_UNSET)
		socket->mode = otherwise->mode;
	if (socket->gid == (gid_t)-1)
		socket->gid = otherwise->gid;
}

/* Nobody has said anything of the mode; who names a group has an idea of their own. */
static void finish_mode(struct socket_plan *socket, mode_t umask)
{
	if (socket->mode != SOCKET_MODE_UNSET)
		return;
	socket->mode = 0600;
	if (socket->gid != (gid_t)-1)
		return;
	if (!(umask & S_IWGRP))
		socket->mode |= S_IRGRP | S_IWGRP;
	if (!(umask & S_IWOTH))
		socket->mode |= S_IROTH | S_IWOTH;
}

/* The VM's own word for the socket, that for all VMs, then those for the other socket. */
static void finish_sockets(const struct plan *plan, struct vm_plan *vm)
{
	inherit(&vm->uds_socket, &plan->uds_socket);
	inherit(&vm->uds_socket, &vm->vhost_socket);
	inherit(&vm->uds_socket, &plan->vhost_socket);
	inherit(&vm->vhost_socket, &plan->vhost_socket);
	finish_mode(&vm->uds_socket, plan->umask);
	finish_mode(&vm->vhost_socket, plan->umask);
}

int finish_vm(const struct plan *plan, struct vm_plan *vm)
{
	vm->limits.linger_ms = plan->linger_ms;
	vm->said.max_memory = vm->max_memory;
	vm->said.max_connections = vm->limits.max_connections;
	finish_sockets(plan, vm);
	return finish_groups(vm);
}

int finish_plan(struct plan *plan)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < plan->n_vms; i++)
		r = finish_vm(plan, &plan->vms[i]);
	finish_mode(&plan->vhost_socket, plan->umask);
	finish_mode(&plan->api_socket, plan->umask);
	return r;
}
