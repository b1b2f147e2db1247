/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Connects for the engine, whose confined view lacks a name or a right: a symbolic link out
 * of a folder, a socket that only the user who started us may write to. And for VMs of the API,
 * whose paths others have chosen: these connects end in the folders where they may be.
 *
 * Looking a name up can take as long as a file system likes, and whoever may write to the
 * folder can make it lead to one that hangs. So each connect is done by a child, which
 * tells the engine the outcome itself and lives for a second at most; there are only so
 * many of them, and a VM gets only so many in a time.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "daemon/held_vm.h"
#include "util/folders.h"

enum { CONNECTS_MAX = 16 };			/* children at a time, for all VMs */

struct connects {
	pid_t children[CONNECTS_MAX];		/* 0: none */
	struct folders within;			/* where VMs of the API may be led to */
};

/*
 * Connects a socket of @type, SOCK_*, to @port of @h for the engine at @channel, which gets
 * CONNECTED for @id in any case, -EAGAIN where it has asked too often. 0, also
 * if it has ended; as channel_send().
 */
int connects_begin(struct connects *c, struct held_vm *h, int channel, int type, uint32_t port,
		   uint32_t id, uint64_t now_ms);

/* The same to the socket-connect of @h, whose id is 0. */
int connects_call(struct connects *c, struct held_vm *h, int channel, uint64_t now_ms);

/* A child has ended. True: it was one of these. */
bool connects_ended(struct connects *c, pid_t child);
