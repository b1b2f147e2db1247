/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The listening sockets of one VM: that of its vhost-user device, that of its uds-path, and for
 * host programs with SOCK_SEQPACKET another beside it, "<uds-path>_seqpacket", which a VM is
 * served without if it cannot be had. Made here, or passed to us, when it is taken over. Those
 * that were made have names, which go when this does.
 *
 * Nobody has asked for the name of the third: it is made when all VMs have those that are
 * theirs, and closed as soon as one wants its name.
 */
#pragma once

#include "util/listener.h"

struct plan;
struct socket_plan;
struct vm_plan;

/* Who may use a socket: whoever we become owns it, as if it had made it. */
struct listener_access sockets_access(const struct plan *plan, const struct socket_plan *socket);

struct vm_sockets {
	struct listener vhost, uds, seqpacket;	/* fd -1: there is none, or it is another's */
	int vhost_error, uds_error, seqpacket_error;	/* why it has no name any more, if it is
							   known */
};

void vm_sockets_init(struct vm_sockets *s);

/* Where those of VMs of the API may be: nowhere, where no folder has been named. Borrowed from
 * @plan. */
struct folders sockets_api_folders(const struct plan *plan);

/* Where its names have to be, whenever they are made, removed or connected to. Borrowed from
 * @plan. */
struct folders vm_sockets_within(const struct plan *plan, const struct vm_plan *vm);

/* As they were in a program before: their names, which are there, have to be where these may be. */
void vm_sockets_confine(struct vm_sockets *s, const struct plan *plan, const struct vm_plan *vm);

/*
 * Binds those that @vm wants made; the folder of its socket-connect has to be there, too. 0;
 * LISTENER_E_*, -errno: none is left, and which one could not be had has been logged, with
 * its path.
 */
int vm_sockets_open(struct vm_sockets *s, const struct plan *plan, const struct vm_plan *vm);

/* Is the socket for SOCK_SEQPACKET missing? Also where that of the uds-path was passed to us. */
bool vm_sockets_want_seqpacket(const struct vm_sockets *s, const struct vm_plan *vm);

/* Has @other its name for another socket? Whether that is there already or not. */
bool vm_sockets_seqpacket_is_wanted(const struct vm_plan *vm, const struct vm_plan *other);

/* Makes it, unless @is_wanted; false: it could not be had, which has been logged once. */
bool vm_sockets_open_seqpacket(struct vm_sockets *s, const struct plan *plan,
			       const struct vm_plan *vm, bool is_wanted);

/* Closes it if @other wants its name. */
void vm_sockets_yield(struct vm_sockets *s, const struct vm_plan *vm, const struct vm_plan *other);

/* Another VM is to have the name of its uds-path, which is to move: see below. */
void vm_sockets_release_uds(struct vm_sockets *s);

/*
 * The uds-path of @now becomes that of @next, or gets its mode: another socket, where the path
 * is another; that for SOCK_SEQPACKET is closed. 0; LISTENER_E_*, -errno, which has been
 * logged: nothing has changed, but where the name was released it may be gone.
 */
int vm_sockets_move_uds(struct vm_sockets *s, const struct plan *plan, const struct vm_plan *now,
			const struct vm_plan *next);

/* Are the folders there, also that of socket-connect? Not asked of a path that is too long. */
bool vm_sockets_have_folders(const struct vm_plan *vm);

/* Has one of those that were made lost its name, to nobody who has it now? */
bool vm_sockets_lack_name(const struct vm_sockets *s);

/*
 * Those that have lost their names become others that have them, so far as that can be: then
 * *@is_new. 0; LISTENER_E_*, -errno: not all, which has been logged once.
 */
int vm_sockets_renew(struct vm_sockets *s, const struct plan *plan, const struct vm_plan *vm,
		     bool *is_new);

/* Closes them, and removes their names; also when not open. */
void vm_sockets_deinit(struct vm_sockets *s);

/* Logs why the device, its sockets apart, could not be had. */
void vm_sockets_explain(const struct plan *plan, const struct vm_plan *vm, int error);
