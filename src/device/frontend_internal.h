/* SPDX-License-Identifier: BSD-3-Clause */
/* What frontend.c shares with frontend_candidates.c, and with frontend_state.c, which is about
 * one that takes another's place. */
#pragma once

#include "device/frontend.h"

#define FRONTEND_EVENTS	(EPOLLIN | EPOLLRDHUP)	/* of its sockets */

void frontend_forget_loaded(struct frontend *fe);	/* if there is any; no peer notices */

struct session_config frontend_session_config(struct frontend *fe);

/* For a process that comes after a crash of this one; nothing where it is not journalled. */
void frontend_commit(struct frontend *fe);

enum place { PLACE_FREE, PLACE_TAKEN, PLACE_UNKNOWN };

/* Is the front-end in session still alive? Not known while it has sent more than one turn
 * handles. */
enum place frontend_look_at_place(struct frontend *fe);

/* Takes @sock over. 0 or -errno. */
int frontend_session_begin(struct frontend *fe, int sock);

/* Waits for the messages of a session that has begun. 0; -errno: it is gone again. */
int frontend_session_wait(struct frontend *fe);

/* The same of its socket alone: 0 or -errno. And for nothing of it, its kicks among that, any
 * more. */
int frontend_wait_for_messages(struct frontend *fe, int sock);
void frontend_wait_no_more(struct frontend *fe);

/* Of a session that was loaded: finishes what the other process has begun with. */
void frontend_session_resume(struct frontend *fe);

/* Handles what the front-end has sent; afterwards it may be gone. */
void frontend_session_turn(struct frontend *fe);

/* @fd: of the ring; -1: it has none. */
void frontend_wait_for_kicks(struct frontend *fe, unsigned ring, int fd);

/* Is this a duplicate of the socket of a front-end, in session or a candidate? */
bool frontend_is_here(const struct frontend *fe, int fd);

/* Takes @fd over. When all places are taken, the oldest candidate loses its own. 0 or -errno,
 * which has been logged. */
int frontend_add_candidate(struct frontend *fe, int fd);

/* The candidate has sent its first byte, or is gone. */
void frontend_on_candidate(struct loop_source *source, uint32_t events);
void frontend_drop_candidate(struct frontend_candidate *c);	/* if there is one */

/* Waits for the first byte of a candidate. 0; -errno, which has been logged: it is gone. */
int frontend_wait_for_candidate(struct frontend_candidate *c);

/* A connection has ended: what follows of that. */
void frontend_on_lost(struct frontend *fe);
