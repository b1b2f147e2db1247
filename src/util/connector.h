/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Connects to a unix socket that somebody else listens at, until it is there, and again
 * when the connection has ended. Nobody tells when a name appears or a backlog has room,
 * so it has to be tried: every 100 ms at first, then less and less often, down to every
 * 5 s; soon again after a connection that was good for something.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "util/loop.h"
#include "util/loop_move.h"

struct connector_config {
	struct loop *loop;			/* borrowed, as all here but ... */
	const char *path;			/* ... this, which is copied */
	const char *tag, *what;			/* for log lines: "socket-connect" */
	/* @fd, non-blocking, is taken over. One at a time: connector_again() is due when it
	 * is of no use any more. */
	void (*connected)(void *ctx, int fd);
	void *ctx;
	/* Asks somebody who sees more of the file system to connect, where this process cannot
	 * for want of a name or a right. 0: connector_answer() tells the outcome, if any; else
	 * this one stands. NULL: there is nobody. */
	int (*ask)(void *ask_ctx);
	void *ask_ctx;
	bool only_asks;				/* whatever this process sees */
};

struct connector {
	struct connector_config config;
	char *path;				/* owned */
	struct loop_timer timer;		/* the next attempt */
	uint32_t wait_ms;			/* the pause after it, should it fail */
	bool is_asked;				/* and the timer is for want of an answer */
	int last;				/* how the last one ended: UNIX_E_*, -errno */
};

/* The null state: connector_stop() is safe. */
void connector_init(struct connector *c);

/* The first attempt is the loop's. 0 or -errno. */
int connector_start(struct connector *c, const struct connector_config *config);
void connector_stop(struct connector *c);	/* also when not started */
void connector_move(struct connector *c, struct loop_move *m);	/* likewise */

/* What was asked has an outcome, as unix_connect()'s: 0 with @fd, which is taken over; else -1.
 * Nobody may be waiting for it any more. */
void connector_answer(struct connector *c, int outcome, int fd);

/* There is a connection already: not before connector_again(). */
void connector_hold(struct connector *c);

void connector_again(struct connector *c);	/* it has ended; also when said twice */
void connector_settle(struct connector *c);	/* it is good: after its end, soon again */
