/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One VM as the supervisor holds it: its row of the plan, its listening sockets, and a
 * duplicate of every descriptor on which its device's life depends. An engine that dies
 * takes none of them with it, and the next one gets them all.
 *
 * The engine says what is to be kept, under a slot: a number of its choice, which means
 * nothing here. Nothing is ever read from a kept descriptor, or written to it; and it is
 * closed elsewhere (closer.h), since that may take as long as a peer likes.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config/plan.h"
#include "control/capture.h"
#include "control/capture_files.h"
#include "daemon/sockets.h"

struct held_fd {
	uint32_t slot;
	int fd;					/* owned */
};

struct held_capture {				/* supervisor_capture.c */
	struct capture_files files;
	struct capture_settings *settings;	/* owned; NULL: nothing is captured */
	uint64_t id;				/* of this one, or the last; 0: there was none */
	uint64_t leaving;			/* that the engine was told to end, and has not yet: */
	int leaving_fd;				/* owned: how far it has come; -1: none is */
	bool is_told;				/* the engine was told of it */
	bool is_due;				/* what the plan says is to begin, once that can be */
	unsigned n_tries;			/* to begin with it, while others have its files */
};

struct held_vm {
	struct vm_plan plan;			/* owned */
	struct vm_plan *wanted;			/* owned: what it is to be once its front-end has
						   left; NULL: that is it */
	struct vm_sockets sockets;
	bool is_served;				/* its sockets are there */
	bool awaits_folder;			/* it will be, once their folders are */
	bool waits;				/* for the VM that had its CID to leave the engine,
						   or for another engine */
	bool is_left_out;			/* it has ended too many engines, or one could not
						   serve it */
	bool has_front_end;			/* in session */
	bool is_over;				/* ... and no other can come */
	int open_error;				/* why it is not served: LISTENER_E_*, -errno */
	unsigned faults;			/* engines that died of it, one after the other */
	struct held_fd *kept;			/* owned; by slot */
	size_t n_kept;
	uint64_t n_changes;			/* of these */
	uint64_t told;				/* to the next engine: so many of them */
	struct {				/* supervisor_shares.c: its shares when they were said last */
		bool is_set;			/* ... and others than it has */
		uint64_t max_memory;
		uint32_t max_connections;
	} before;
	uint32_t n_connects;			/* that it may still ask for, see connects.h */
	uint64_t connects_ms;			/* when they were counted last */
	struct held_capture capture;
};

/* Takes the row's contents over. NULL: no memory, they are still there. */
struct held_vm *held_vm_new(struct vm_plan *row);
void held_vm_free(struct held_vm *h);		/* NULL: nothing */

/* It is not served any more: closes all, and removes the sockets' names. */
void held_vm_close(struct held_vm *h);

/* Takes @fd over, also on failure; what was in @slot goes. 0; HELD_VM_E_*; -ENOMEM. */
enum { HELD_VM_E_SLOT = 1 };			/* no such slot: SUPERVISE_SLOTS_MAX */
int held_vm_keep(struct held_vm *h, uint32_t slot, int fd);
/* The same, of what the service manager has already (fd_store.h). */
int held_vm_restore(struct held_vm *h, uint32_t slot, int fd);
/* The service manager keeps all that it has: of two that are the same it keeps one. */
void held_vm_put_all(const struct held_vm *h);
int held_vm_get(const struct held_vm *h, uint32_t slot);	/* borrowed; -1: nothing */
void held_vm_drop(struct held_vm *h, uint32_t slot);
void held_vm_drop_all(struct held_vm *h);
