/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Takes connections from a listening socket in an event loop, as many at once as is fair:
 * one, and twice as many each time that there are more in the very next batch. For asking
 * for one too many costs more than taking one: the kernel makes the file first. When accepting
 * fails, most often for want of descriptors, the socket stays readable and the loop would
 * spin: so it rests, and tries again a little later.
 */
#pragma once

#include "util/listener.h"
#include "util/loop.h"
#include "util/loop_move.h"

struct acceptor_config {
	struct loop *loop;			/* borrowed, as all here */
	struct listener *listener;		/* open; outlives the acceptor */
	const char *tag, *what;			/* for log lines: "a host client" */
	int per_event;				/* connections taken at once, at most */
	bool is_held;				/* takes none before acceptor_resume() */
	/* @fd, non-blocking, is taken over. May stop the acceptor, not free it. */
	void (*accepted)(void *ctx, int fd);
	void *ctx;
	/* Asks somebody else to accept one, when there is any. 0: acceptor_answer() tells the
	 * outcome, if any; else it is asked again later. NULL: there is nobody. */
	int (*ask)(void *ask_ctx);
	void *ask_ctx;
};

struct acceptor {
	struct acceptor_config config;
	int burst;				/* connections taken at the last event, at most */
	uint64_t full_batch;			/* the last batch in which they were as many */
	struct loop_source source;		/* not added while it rests */
	struct loop_timer rest;
	bool is_asked;				/* and the rest is for want of an answer */
};

/* The null state: acceptor_stop() is safe. */
void acceptor_init(struct acceptor *a);

int acceptor_start(struct acceptor *a, const struct acceptor_config *config);	/* 0 or -errno */

/* What was asked has an outcome, as listener_accept()'s: 0 with @fd, which is taken over; else -1.
 * Also when nobody waits for it any more. */
void acceptor_answer(struct acceptor *a, int outcome, int fd);

void acceptor_resume(struct acceptor *a);	/* one that was started held, or was not */

/* Nobody is accepted before the works of the loop's next batch have run. */
void acceptor_start_late(struct acceptor *a, const struct acceptor_config *config);

/*
 * From now on it takes connections from @fd, another socket that listens, which its listener
 * takes over; those that wait at the old one are taken first. Nobody is accepted before the
 * loop's next batch. 0; -errno: all is as before, @fd is closed. One that
 * was not started has no use for it.
 */
int acceptor_exchange(struct acceptor *a, int fd);
void acceptor_stop(struct acceptor *a);		/* also when not started */
void acceptor_move(struct acceptor *a, struct loop_move *m);	/* likewise */
