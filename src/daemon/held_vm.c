/* SPDX-License-Identifier: BSD-3-Clause */
/* One VM as the supervisor holds it. */
#include "daemon/held_vm.h"

#include <stdlib.h>

#include "daemon/fd_store.h"
#include "protocol/supervise.h"
#include "util/closer.h"
#include "util/error.h"
#include "util/fd.h"

struct held_vm *held_vm_new(struct vm_plan *row)
{
	struct held_vm *h = calloc(1, sizeof *h);

	if (!h)
		return NULL;
	h->plan = *row;
	vm_plan_init(row);
	vm_sockets_init(&h->sockets);
	capture_files_init(&h->capture.files);
	h->capture.leaving_fd = -1;
	return h;
}

void held_vm_free(struct held_vm *h)
{
	if (!h)
		return;
	held_vm_close(h);
	vm_plan_deinit(&h->plan);
	if (h->wanted)
		vm_plan_deinit(h->wanted);
	free(h->wanted);
	free(h);
}

void held_vm_close(struct held_vm *h)
{
	held_vm_drop_all(h);
	vm_sockets_deinit(&h->sockets);
	capture_files_close(&h->capture.files);
	fd_close(&h->capture.leaving_fd);
	free(h->capture.settings);
	h->capture.settings = NULL;
	fd_store_drop(h->plan.guest_cid, "socket");
	fd_store_drop(h->plan.guest_cid, "uds");
	fd_store_drop(h->plan.guest_cid, "seqpacket");
	h->is_served = false;
}

/* Where the slot is, or would be. */
static size_t find(const struct held_vm *h, uint32_t slot)
{
	size_t from = 0, to = h->n_kept;

	while (from < to) {
		size_t mid = from + (to - from) / 2;

		if (h->kept[mid].slot < slot)
			from = mid + 1;
		else
			to = mid;
	}
	return from;
}

static bool has(const struct held_vm *h, size_t at, uint32_t slot)
{
	return at < h->n_kept && h->kept[at].slot == slot;
}

int held_vm_get(const struct held_vm *h, uint32_t slot)
{
	size_t at = find(h, slot);

	return has(h, at, slot) ? h->kept[at].fd : -1;
}

int held_vm_restore(struct held_vm *h, uint32_t slot, int fd)
{
	size_t at = find(h, slot);

	if (slot >= SUPERVISE_SLOTS_MAX) {
		closer_close(&fd);
		return HELD_VM_E_SLOT;
	}
	if (has(h, at, slot)) {
		closer_close(&h->kept[at].fd);
	} else {
		struct held_fd *kept = realloc(h->kept, (h->n_kept + 1) * sizeof *kept);

		if (!kept) {
			closer_close(&fd);
			return -ENOMEM;
		}
		h->kept = kept;
		memmove(kept + at + 1, kept + at, (h->n_kept - at) * sizeof *kept);
		h->n_kept++;
	}
	h->kept[at] = (struct held_fd){ .slot = slot, .fd = fd };
	h->n_changes++;
	return 0;
}

int held_vm_keep(struct held_vm *h, uint32_t slot, int fd)
{
	int r = held_vm_restore(h, slot, fd);

	if (!r)
		fd_store_put_slot(h->plan.guest_cid, slot, fd);
	return r;
}

void held_vm_put_all(const struct held_vm *h)
{
	if (h->sockets.vhost.path)
		fd_store_put(h->plan.guest_cid, "socket", h->sockets.vhost.fd);
	if (h->sockets.uds.path)
		fd_store_put(h->plan.guest_cid, "uds", h->sockets.uds.fd);
	if (h->sockets.seqpacket.path)
		fd_store_put(h->plan.guest_cid, "seqpacket", h->sockets.seqpacket.fd);
	for (size_t i = 0; i < h->n_kept; i++)
		fd_store_put_slot(h->plan.guest_cid, h->kept[i].slot, h->kept[i].fd);
}

void held_vm_drop(struct held_vm *h, uint32_t slot)
{
	size_t at = find(h, slot);

	if (!has(h, at, slot))
		return;
	fd_store_drop_slot(h->plan.guest_cid, slot);
	closer_close(&h->kept[at].fd);
	h->n_changes++;
	h->n_kept--;
	memmove(h->kept + at, h->kept + at + 1, (h->n_kept - at) * sizeof *h->kept);
}

void held_vm_drop_all(struct held_vm *h)
{
	for (size_t i = 0; i < h->n_kept; i++) {
		fd_store_drop_slot(h->plan.guest_cid, h->kept[i].slot);
		closer_close(&h->kept[i].fd);
	}
	free(h->kept);
	h->kept = NULL;
	h->n_changes += h->n_kept;
	h->n_kept = 0;
}
