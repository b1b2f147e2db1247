/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What happens in the soak, step by step: a seed gives an endless list of
 * actions, each aimed at a VM or at a slot for a connection. The list knows
 * nothing of how things stand, so that it is the same in each run: an action
 * that does not fit (data for a slot without a connection) is left out by who
 * performs it.
 *
 * A step tells when, too: what lasts (a pause, a dead VM) lasts a number of
 * steps.
 */
#pragma once

#include "soak/rng.h"

enum {
	SOAK_VMS = 8,
	SOAK_SLOTS = 96,			/* connections at a time */
	SOAK_STALLED_PORT = 700,		/* at each VM: a listener that never accepts */
};

enum action {
	ACT_OPEN_TO_HOST,			/* a guest connects to a host program */
	ACT_OPEN_TO_GUEST,			/* a host program connects to a guest */
	ACT_OPEN_TO_SIBLING,
	ACT_OPEN_TO_NOBODY,			/* what must be refused */
	ACT_SEND,
	ACT_FIN,				/* sends no more, behind what it has to send */
	ACT_DEAF,				/* reads no more */
	ACT_CLOSE,				/* behind what it has to send */
	ACT_CLOSE_NOW,
	ACT_ABORT,				/* a guest's RST; a host's close */
	ACT_STOP_READING,			/* for some steps */
	ACT_HOLD_RX,				/* a guest keeps its RX buffers for some steps */
	ACT_GARBAGE,				/* packets of no connection */
	ACT_PAUSE,				/* the rings stop, and resume where they were */
	ACT_DISABLE,				/* the same by SET_VRING_ENABLE */
	ACT_REBOOT,
	ACT_KILL,				/* the VMM is gone; later another one comes */
	ACT_RECONNECT,				/* the VMM is gone and comes back to its guest */
	ACT_HOTPLUG,				/* memory comes or goes */
	ACT_PROBE,				/* connects to a socket and vanishes */
	ACT_SECOND_VMM,				/* while one is in session */
	ACT_MUTE_CLIENT,			/* a host client that says nothing, or half a line */
	ACT_COUNT,
};

struct act {
	enum action kind;
	uint32_t slot;				/* of a connection */
	unsigned end;				/* 0: who opens it; 1: the other */
	unsigned vm, other_vm;
	uint32_t size;				/* bytes */
	uint32_t steps;				/* how long it lasts */
	uint32_t variant;			/* any number: which way it is done */
};

struct script {
	struct rng rng;
};

struct script script_new(uint64_t seed);
struct act script_next(struct script *s);
const char *action_name(enum action kind);
