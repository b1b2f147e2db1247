/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The listening sockets of one VM: that of its vhost-user device, and that of its uds-path.
 * Made here, or passed to us, when it is taken over. Those that were made have names, which go
 * when this does.
 */
#pragma once

#include "util/listener.h"

struct plan;
struct vm_plan;

struct vm_sockets {
	struct listener vhost, uds;		/* fd -1: there is none, or it is another's */
};

void vm_sockets_init(struct vm_sockets *s);

/*
 * Binds those that @vm wants made. 0; LISTENER_E_*, -errno: none is left, and which one
 * could not be had has been logged, with its path.
 */
int vm_sockets_open(struct vm_sockets *s, const struct plan *plan, const struct vm_plan *vm);

/*
 * The uds-path of @now becomes that of @next, or gets its mode: another socket, where the path
 * is another. 0; LISTENER_E_*, -errno, which has been logged: nothing has changed.
 */
int vm_sockets_move_uds(struct vm_sockets *s, const struct plan *plan, const struct vm_plan *now,
			const struct vm_plan *next);

/* Closes them, and removes their names; also when not open. */
void vm_sockets_deinit(struct vm_sockets *s);

/* Logs why the device, its sockets apart, could not be had. */
void vm_sockets_explain(const struct vm_plan *vm, int error);
