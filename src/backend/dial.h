/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Connects to a host program's socket whose backlog is full: they wait their turn.
 *
 * AF_UNIX tells nobody when a backlog has room again, so it has to be tried. Thousands of
 * connections of one guest may wait for a program that accepts none: their neighbours
 * must not notice. So of all that wait for a port only the first tries, less and less
 * often while it is in vain; and a turn tries a few ports, those that have waited longest.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "util/list.h"
#include "util/loop.h"
#include "util/loop_move.h"
#include "vsock/backend.h"

struct dial;

struct dialer_config {
	struct loop *loop;			/* borrowed */
	/* Connects the socket @d->fd to @port: 0; BACKEND_E_BUSY: its backlog is full;
	 * BACKEND_E_PENDING: dial_answer() will tell, and until then nobody else tries;
	 * another outcome, which done() is told. Never blocks, never calls back. */
	int (*connect)(void *ctx, struct dial *d, uint32_t port);
	void *ctx;
	bool is_held;				/* tries nothing before dialer_resume() */
};

struct dialer {
	struct dialer_config config;
	struct list ports;			/* struct dial_port, the next to be tried first */
	struct loop_timer timer;
};

struct dial {					/* one connect that waits */
	int fd;					/* owned; -1: it waits for nothing */
	uint64_t give_up_ms;
	/* Called when it is over. 0: dial_take_fd() gives the connected socket;
	 * BACKEND_E_BUSY: still, and the time is over; BACKEND_E_TIMEOUT: the answer has
	 * not come; another outcome of connect(). May free it. */
	void (*done)(struct dial *d, int result);
	struct dial_port *port;
	struct list node;			/* dial_port::dials */
};

void dialer_init(struct dialer *dialer, const struct dialer_config *config);
void dialer_deinit(struct dialer *dialer);	/* nothing may wait any more */

void dialer_move(struct dialer *dialer, struct loop_move *m);

void dialer_resume(struct dialer *dialer);	/* also if it is not held */

void dial_init(struct dial *d, void (*done)(struct dial *d, int result));

/* Waits for @port with the socket @fd, whose connect has said BACKEND_E_BUSY, until
 * @give_up_ms at most. Takes @fd over, also on failure. 0 or -ENOMEM. */
int dial_begin(struct dialer *dialer, struct dial *d, int fd, uint32_t port,
	       uint64_t give_up_ms);
int dial_take_fd(struct dial *d);		/* -1: there is none */

/* What connect() of @d has said BACKEND_E_PENDING to: another outcome. 0: @fd is taken over,
 * connected, in place of the dial's own. May call done(). */
void dial_answer(struct dialer *dialer, struct dial *d, int result, int fd);
void dial_cancel(struct dialer *dialer, struct dial *d);	/* also if it waits for nothing */
