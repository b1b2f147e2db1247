/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One VM of the plan: its device, which listens for a front-end, and the backends that
 * take what its guest connects to.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/balance.h"
#include "daemon/sockets.h"
#include "device/journal.h"
#include "device/tap.h"
#include "protocol/virtio_vsock.h"

struct backend;
struct capture;
struct device;
struct device_hooks;
struct plan;
struct sibling_dir;
struct sibling_entry;
struct vm_plan;
struct worker;

struct vm {
	uint64_t cid;				/* as all its rows have it */
	const struct vm_plan *plan;		/* borrowed; for the worker's thread, if it runs */
	struct sibling_entry *sibling;		/* borrowed: in the directory */
	struct vm_sockets sockets;		/* the device takes the descriptors; names stay */

	/* Where there is a supervisor: what it keeps of an earlier engine, and for the next. */
	struct journal_keeper keeper;		/* ::keep NULL: nobody does */
	struct journal_kept *kept;		/* owned */
	size_t n_kept;
	bool is_held;				/* it takes another's place: device_load() follows */
	int (*ask)(void *ctx, enum vsock_type type, uint32_t port,
		   uint32_t id);		/* see uds_config; or NULL */
	int (*call)(void *ask_ctx);		/* see connector_config::ask; or NULL */
	int (*accept)(void *ask_ctx);		/* see acceptor_config::ask; or NULL */
	void *ask_ctx;				/* of all three */

	struct worker *worker;			/* borrowed; before vm_open(); another while all are
						   parked */
	struct balance_vm balance;		/* for the main thread */
	struct device *device;			/* the worker's, and for its thread; NULL: none */
	struct backend *uds;			/* the device's, likewise */
	struct capture *capture;		/* owned; likewise; NULL: none */
	struct device_tap tap;			/* the capture's, of the device */
	uint64_t capture_id;			/* for the main thread */
	bool is_counted;			/* likewise: engine::n_vms */
};

void vm_init(struct vm *vm, const struct vm_plan *plan);

/* Takes @fd over, also on failure; before vm_open(). 0 or -ENOMEM. */
int vm_add_kept(struct vm *vm, uint32_t slot, int fd);

/*
 * Gives the device and its backends to its worker, which has not been started yet or whose
 * thread this is. 0; LISTENER_E_*, -errno: no socket of it is left.
 */
int vm_open(struct vm *vm, const struct plan *plan, struct sibling_dir *siblings,
	    const struct device_hooks *hooks);

/* Of one whose worker has never run: closes all but its capture. vm_open() can follow, for the same
 * worker, with another row, sockets and what is kept. */
void vm_abandon(struct vm *vm);

/* In the worker's thread, or before it runs: takes @c over, NULL: none. */
void vm_set_capture(struct vm *vm, struct capture *c);

/* The outcome of what was asked, see uds_answer(), of a call with @id 0; takes @fd over. From any
 * thread. */
void vm_answer(struct vm *vm, uint32_t id, int result, int fd);

/* The outcome of an accept, see frontend_accepted(); likewise. */
void vm_accepted(struct vm *vm, int result, int fd);

/* After its worker has been stopped: removes the sockets' names. */
void vm_deinit(struct vm *vm);
