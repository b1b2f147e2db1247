/* SPDX-License-Identifier: BSD-3-Clause */
/* What the files of a hosted engine share: hosted.c (its life), hosted_vms.c (the VMs that the
 * supervisor tells it of), hosted_handover.c (from one engine to another), hosted_api.c (orders of
 * the control API). */
#pragma once

#include <stdnoreturn.h>

#include "config/plan.h"
#include "daemon/channel.h"
#include "daemon/engine.h"
#include "daemon/hosted.h"

struct hosted_vm;
struct vm;

struct hosted {
	int channel;
	struct plan plan;			/* but for its rows */
	struct hosted_vm **vms;			/* owned; for the main thread, as all here */
	size_t n_vms;
	struct supervise_shared *shared;	/* NULL: there is none */
	struct channel_state state;		/* for the next message */
	struct engine engine;
	int api_fd;				/* for the engine, until it has it; -1: no API */
	bool may_serve;				/* no other engine does: what is kept is ours */
	bool is_ahead;				/* VMs are opened that another engine still serves */
	bool has_started;			/* the engine runs */
	bool is_parked;				/* ... but does nothing */
};

/* There is one in the process, and hooks of devices come from any worker. */
extern struct hosted hosted;

/* ---- hosted.c ---- */

/* What the supervisor has said, which is not of those that begin or take over. 0;
 * CHANNEL_E_END: it is to end; CHANNEL_E_GARBAGE; -errno. */
int hosted_obey(struct channel_msg *msg);

/* Obeys until one of @type comes, or of @or_type, which is left in *@msg. As hosted_obey(). */
int hosted_learn(uint32_t type, uint32_t or_type, struct channel_msg *msg);

/*
 * The supervisor is gone, and so are we: at once, since the service manager may keep the devices
 * for another one, which is to find them as they are and not as an end in good order leaves them.
 */
noreturn void hosted_vanish(void);

/* From any worker, which waits for the supervisor then: it is quick, or the end. */
void hosted_tell(enum supervise_type type, uint64_t cid, uint64_t number);

/* What has come for a message has been read. */
void hosted_forget_state(void);

/* What has come for the next message: 0; CHANNEL_E_GARBAGE: it is no plan's; -ENOMEM. */
int hosted_read_plan(struct plan *plan, struct vm_plan *row);

/* ---- hosted_vms.c: each takes what it needs out of @msg ---- */

/* A VM is new, or has another row. 0; CHANNEL_E_GARBAGE; -errno. */
int hosted_take_vm(struct channel_msg *msg);
int hosted_take_kept(struct channel_msg *msg);
void hosted_remove_vm(uint64_t cid);
void hosted_take_connected(struct channel_msg *msg);
void hosted_take_accepted(struct channel_msg *msg);

/* Gives all VMs to the engine: as engine_prepare(); as engine_open_vms(), of those that are not open
 * yet, @is_held: what they are is loaded next. */
int hosted_prepare_engine(const struct engine_config *config);
int hosted_open_vms(bool is_held);

void hosted_tell_left_out(void);		/* which could not be opened; while no worker runs */

struct vm *hosted_vm(size_t i);
struct vm *hosted_find_vm(uint64_t cid);	/* NULL: there is no such one */

/* After the workers have been stopped. */
void hosted_free_vms(void);

/* ---- hosted_api.c ---- */

int hosted_order(struct supervise_msg *m, const void *text, size_t len, int fd);
void hosted_take_done(struct channel_msg *msg);
int hosted_take_event(const struct channel_msg *msg);	/* 0; CHANNEL_E_GARBAGE */

/* ---- hosted_captures.c ---- */

int hosted_take_capture(struct channel_msg *msg);	/* 0; CHANNEL_E_GARBAGE; -errno */
void hosted_start_captures(void);		/* no other engine writes them, and no worker runs */
void hosted_flush_captures(void);		/* the engine is parked */
void hosted_end_captures(void);			/* after the workers have been stopped */

/* ---- hosted_handover.c ---- */

/* Does what can be done before the other engine has stopped. As engine_open_vms(). */
int hosted_open_ahead(void);

/* @msg has the socket between the two engines. */
void hosted_hand_over(struct channel_msg *msg);	/* the engine is parked */
int hosted_take_over(struct channel_msg *msg);	/* 0; LISTENER_E_*, CHANNEL_E_*, -errno */
