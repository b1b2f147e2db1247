/* SPDX-License-Identifier: BSD-3-Clause */
/* What must hold of any plan that was accepted, and of any refusal. */
#include "plan_judge.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "config/check.h"
#include "config/error.h"
#include "config/finish.h"
#include "config/place.h"
#include "config/plan.h"

enum { PATH_LEN_MAX = 107 };

static bool is_path(const char *path)
{
	return path && *path && strlen(path) <= PATH_LEN_MAX;
}

/* Is @path a "<uds-path>_<port>", where the guest would find it? Both are cleaned. */
static bool leads_to(const struct vm_plan *vm, const char *path)
{
	const char *uds = vm->uds_at.rest;
	size_t len = uds ? strlen(uds) : 0;

	return len && path && strncmp(path, uds, len) == 0 && path[len] == '_' &&
		strspn(path + len + 1, "0123456789") == strlen(path + len + 1) &&
		(path[len + 1] == '0' ? strlen(path + len + 1) == 1 :
		 strlen(path + len + 1) >= 1 && strlen(path + len + 1) <= 9);
}

static void judge_vm(const struct vm_plan *vm)
{
	assert(vm->guest_cid > 2 && vm->guest_cid < UINT32_MAX);
	assert(!!vm->socket + !!vm->connect + (vm->vhost_socket.fd >= 0) == 1);
	assert((!vm->socket || is_path(vm->socket)) && (!vm->connect || is_path(vm->connect)));
	assert(vm->vhost_socket.fd == -1 || vm->vhost_socket.fd > 2);
	assert((vm->has_forward_cid ? !vm->uds_path : is_path(vm->uds_path)));
	assert(vm->has_forward_cid || (!vm->n_forward_listen && !vm->n_forward_listen_seqpacket &&
				       !vm->forward_listen_any));
	assert(vm->uds_path || !vm->n_host_cids);
	assert(vm->limits.max_connections >= 1 && vm->limits.max_connections <= 1 << 20);
	assert(vm->limits.max_buffered >= 1 && vm->limits.tx_buffer_size >= 1 &&
	       vm->limits.tx_buffer_size <= UINT32_C(1) << 31);
	assert(vm->max_memory <= UINT64_C(1) << 56);
	assert(vm->poll_us <= 1000);
	assert(vm->queue_size >= 1 && vm->queue_size <= 32768 &&
	       !(vm->queue_size & (vm->queue_size - 1)));
	assert(vm->n_groups >= 1);
	for (size_t i = 1; i < vm->n_groups; i++)
		assert(strcmp(vm->groups[i - 1], vm->groups[i]) < 0);
}

/* Where its front-end is met; NULL: at a descriptor. */
static const char *front_end_of(const struct vm_plan *vm)
{
	return vm->connect ? vm->connect_at.rest : vm->socket_at.rest;
}

/* Neither VM claims what is the other's, nor reaches it past all groups. */
static void judge_pair(const struct vm_plan *a, const struct vm_plan *b)
{
	const char *uds_a = a->uds_at.rest, *uds_b = b->uds_at.rest;
	const char *fe_a = front_end_of(a), *fe_b = front_end_of(b);

	assert(a->guest_cid != b->guest_cid);
	assert(!fe_a || !fe_b || strcmp(fe_a, fe_b) != 0);
	assert(!uds_b || !fe_a || strcmp(fe_a, uds_b) != 0);
	assert(!uds_a || !uds_b || strcmp(uds_a, uds_b) != 0);
	assert(!leads_to(a, fe_b) && !leads_to(a, uds_b));
	assert(a->vhost_socket.fd < 0 || a->vhost_socket.fd != b->vhost_socket.fd);
	for (size_t i = 0; i < a->n_host_cids; i++)
		assert(a->host_cids[i] != b->guest_cid);
}

/* No folder exists: the text alone decides. */
static int look_nowhere(const char *path, struct stat *st)
{
	(void)path, (void)st;
	errno = ENOENT;
	return -1;
}

void plan_judge(struct plan *plan, int r, struct config_error *err)
{
	if (r == 0)
		r = finish_plan(plan);
	if (r == 0)
		r = place_find_all(plan, look_nowhere);
	if (r == 0)
		r = check_plan(plan, err);
	assert(r == 0 || r == CONFIG_E_EXIT || r == CONFIG_E_USAGE);
	assert(memchr(err->text, '\0', sizeof err->text) && !*err->text == (r != CONFIG_E_USAGE));
	if (r)
		return;
	assert(plan->n_vms > 0);
	for (size_t i = 0; i < plan->n_vms; i++) {
		judge_vm(&plan->vms[i]);
		for (size_t k = 0; k < plan->n_vms; k++)
			if (k != i)
				judge_pair(&plan->vms[i], &plan->vms[k]);
	}
}
