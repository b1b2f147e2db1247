/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the two halves of a device share: device.c moves packets, frontend.c
 * deals with whoever is connected to the vhost-user socket.
 */
#pragma once

#include "device/device.h"
#include "util/acceptor.h"
#include "util/listener.h"
#include "util/log.h"
#include "vhost/session.h"

enum { CANDIDATES_MAX = 4 };

struct candidate {				/* connected, and has not said anything yet */
	struct device *dev;
	int fd;					/* -1: none */
	struct loop_source source;
};

struct device {
	struct device_config config;
	char tag[32];				/* "vm 3" */
	struct mux *mux;
	struct backend *backends[MUX_BACKENDS_MAX];	/* owned */
	size_t n_backends;
	struct loop_work work;			/* the turn */
	struct loop_timer timer;		/* the next deadline of the mux */
	bool in_turn;
	unsigned turns_late;			/* in which deadlines had to wait for the rings */
	bool event_due;				/* TRANSPORT_RESET */

	struct listener listener;
	struct acceptor acceptor;
	struct candidate candidates[CANDIDATES_MAX];
	unsigned next_candidate;
	struct session *session;		/* NULL: no front-end */
	struct loop_source session_source;
	struct loop_source kicks[VSOCK_NUM_QUEUES];
	struct loop_timer resume;		/* until when a stopped guest may go on */
	struct loop_timer no_memory;		/* then somebody has to hear of it */
	uint64_t closed_until_ms;		/* until then no front-end is let in */
	struct log_once failures;		/* enum in frontend.c */
};

void device_schedule(struct device *dev);

/* Whether a guest is there, by its rings. At once, and not in the next turn: a
 * host program may connect right behind the message that starts the last ring. */
void device_look_at_guest(struct device *dev);

int frontend_init(struct device *dev);		/* 0, or -errno as for listener_open() */
void frontend_deinit(struct device *dev);	/* also after a failed or no init */

/* Ends the session, and with it the guest's connections. */
void frontend_drop(struct device *dev);
