/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Connects to a host program's socket whose backlog is full: they wait their turn.
 *
 * AF_UNIX tells nobody when a backlog has room again, so it has to be tried. Thousands of
 * connections of one guest may wait for a program that accepts none: their neighbours
 * must not notice. So one of them tries for all that wait for the same port, the one
 * that came first, less and less often while it does so in vain; and a turn tries a few
 * ports, whichever have waited longest.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "util/list.h"
#include "util/loop.h"

struct dialer_config {
	struct loop *loop;			/* borrowed */
	/* Connects the socket @fd to @port: 0; -EAGAIN: its backlog is full; -errno. Never
	 * blocks, never calls back. */
	int (*connect)(void *ctx, int fd, uint32_t port);
	void *ctx;
};

struct dialer {
	struct dialer_config config;
	struct list ports;			/* struct dial_port, the one to be tried first first */
	struct loop_timer timer;
};

struct dial {					/* one connect that waits */
	int fd;					/* borrowed */
	uint64_t give_up_ms;
	/* It is over: 0; -EAGAIN: the time is; -errno. May free it. */
	void (*done)(struct dial *d, int error);
	struct dial_port *port;
	struct list node;			/* dial_port::dials */
};

void dialer_init(struct dialer *dialer, const struct dialer_config *config);
void dialer_deinit(struct dialer *dialer);	/* nothing waits any more */

/* Waits for @port with d->fd, whose connect has said -EAGAIN. 0 or -ENOMEM. */
int dial_begin(struct dialer *dialer, struct dial *d, uint32_t port, uint64_t give_up_ms);

void dial_init(struct dial *d);			/* waits for nothing */
void dial_cancel(struct dialer *dialer, struct dial *d);	/* also if it waits for nothing */
