/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A stream socket, and its peer, which answers what is written to it. There is one of them in a
 * program, from begin_talk() to end_talk(); what fails ends the test.
 */
#pragma once

#include <stdbool.h>

#include "backend/sock_stream.h"
#include "util/loop.h"

struct mux {
	unsigned n_ready;			/* mux_stream_ready() */
};

extern struct mux mux;
extern struct loop *loop;
extern struct sock_stream s;
extern const struct sock_kind kind;
extern int peer;				/* the other end */

/* That the process may use, for sock_unread_pays(), which asks once in a program: main() sets it. */
extern int n_cpus;

void begin_talk(void);
void close_stream(void);
void end_talk(void);				/* after close_stream() */

int n_left(void);				/* bytes the peer has written that are in the socket */
bool is_left(void);

void ask(void);					/* 8 bytes, which the peer reads */
void peer_writes(const char *text);
void expect(const char *text);			/* it is read from the stream */

/* Asked, answered with 8 bytes, and read. Time passes in the loop alone, so they are quick. */
void talk(int turns);
