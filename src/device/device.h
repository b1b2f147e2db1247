/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One VM's vsock device: the vhost-user socket and session, three queues, the
 * packet core, and who is told what when.
 *
 * Everything that happens (a kick, a readable socket, a deadline) schedules one
 * turn of the device; the loop runs it when all events of its batch have been
 * seen. A turn drains a batch of the TX ring into the core, lets the core fill
 * RX buffers, publishes each ring's used entries at once and calls the guest at
 * most once per ring. What is left goes to the next turn, after the other
 * devices of the worker.
 *
 * Rings are clean between turns: nothing popped is kept, so a ring can be
 * stopped, moved or unmapped by any message.
 */
#pragma once

#include <stdatomic.h>
#include <stdint.h>
#include <sys/types.h>

#include "device/events.h"
#include "device/frontend.h"
#include "device/journal.h"
#include "device/scratch.h"
#include "device/tap.h"
#include "util/blob.h"
#include "util/loop.h"
#include "vhost/gmem.h"
#include "vsock/mux.h"

/* Who wants to know of its front-end: called in the device's thread, and by device_free(). */
struct device_hooks {
	void (*came)(uint64_t cid);
	void (*gone)(uint64_t cid);
	void (*over)(uint64_t cid);		/* gone, and no other can come */
	void (*event)(const struct device_event *e);	/* NULL: nobody ever wants to know */
	bool (*wants_events)(void);		/* does anybody just now? NULL: always */
};

struct device_config {
	struct frontend_address address;	/* where front-ends come from */
	const struct device_hooks *hooks;
	uint64_t guest_cid;
	uint32_t queue_size, pause_grace_ms;
	struct vsock_limits limits;		/* of its connections */
	struct gmem_limits memory;		/* that it may share */
	struct loop *loop;			/* borrowed, as scratch and keeper are */
	struct device_scratch *scratch;
	struct poller *poller;			/* of the loop; borrowed; NULL: there is none */
	uint32_t poll_us;			/* how long it may poll for this VM, at most */
	_Atomic uint64_t *handling;		/* has guest_cid while we handle what a peer of it
						   has sent, else 0; borrowed; NULL: none */
	_Atomic uint32_t *busy_us;		/* of its turns so far, modulo 2^32; likewise */
	/* Keeps what a crash of ours must not lose; NULL: nobody does, and there is no journal. */
	const struct journal_keeper *keeper;
	/* What it has kept of the device whose place this one takes, in any order; NULL: it is a
	 * new one. The descriptors are taken over in any case, the array is not. */
	const struct journal_kept *kept;
	size_t n_kept;
};

struct device;

/* A thread, as a device sees it: see device_config; and where its mail goes. */
struct device_place {
	struct loop *loop;
	struct device_scratch *scratch;
	struct poller *poller;
	_Atomic uint64_t *handling;
	struct mailbox *mailbox;
};

/*
 * Makes the device, which waits for front-ends. 0, or as listener_open(). The socket that it
 * may have been given is taken over in any case. One that takes another's place goes on with
 * its front-end from the loop's next batch on, in the thread that runs the loop.
 */
int device_new(struct device **out, const struct device_config *config);
void device_free(struct device *dev);		/* and its backends; NULL: nothing */

/*
 * Another process takes the device over. Its front-end goes the way of the keeper, and is loaded
 * with the rest: connections, clients of its backends. device_save: between two turns, and the
 * device does nothing after that, or goes on. device_load: into one that has the same backends, and
 * whose loop does not run yet; -errno, or DEVICE_E_BAD_STATE: it may only be freed, which no
 * peer notices. What was saved is hostile. @in NULL: the other one had nothing to save.
 *
 * device_load_ahead: loads what the keeper has while the other process still serves it, before
 * device_load(). When that has stopped, device_is_current() says whether it was the last word; else
 * the device may only be freed, for another that has what the keeper has then.
 */
enum { DEVICE_E_BAD_STATE = 1 };
void device_save(const struct device *dev, struct blob *out);
int device_load(struct device *dev, struct blob_reader *in);
void device_load_ahead(struct device *dev);
bool device_is_current(const struct device *dev);

/*
 * Begins to end the device, whose worker has others to serve: the front-end and its socket
 * are closed at once, connections a portion in each turn. Then @ended is called, from the
 * loop: device_free() has little left to do, and may come from there. Or at any time before:
 * then @ended is not called.
 */
void device_end(struct device *dev, void (*ended)(void *ctx), void *ctx);

uint64_t device_cid(const struct device *dev);	/* of its guest */
bool device_is_ending(const struct device *dev);	/* device_end() was called */

/*
 * It goes to another thread, with all that is its: between two turns, while neither thread runs and
 * all mail has been delivered, which is done once more after that. Guest, front-end and host
 * programs notice nothing; it takes a few microseconds for each connection. 0; -errno: it stays
 * where it is.
 * device_enter_thread() follows, in the other thread and before anything else of the device. One
 * that begins, ends, is looked at by who knows its thread, or has more than @max_conns connections
 * may not be moved just now: device_can_move(). Its siblings' directory is told by the caller.
 */
bool device_can_move(const struct device *dev, uint64_t max_conns);
int device_move(struct device *dev, const struct device_place *place);
void device_enter_thread(struct device *dev);	/* also of one that has not been moved */

/* For backends; borrowed, valid as long as the device. */
struct mux *device_mux(struct device *dev);
const char *device_tag(const struct device *dev);

/* Takes the backend over. At most MUX_BACKENDS_MAX. */
void device_add_backend(struct device *dev, struct backend *backend);

/* What may change under a running guest. */
struct device_change {
	struct vsock_limits limits;		/* as mux_set_limits() */
	uint32_t pause_grace_ms;		/* of the next pause */
	uint32_t poll_us;
	uint32_t queue_size;			/* with the next front-end, as memory */
	struct gmem_limits memory;
};

/* As frontend_answer(). */
void device_answer(struct device *dev, int outcome, int fd);

/* As frontend_accepted(). The keeper, which has accepted it, need not keep it for that any more. */
void device_accepted(struct device *dev, int outcome, int fd);

/* As frontend_exchange_socket(). */
int device_exchange_socket(struct device *dev, int fd);

void device_reconfigure(struct device *dev, const struct device_change *change);
