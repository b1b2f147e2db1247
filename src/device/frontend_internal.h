/* SPDX-License-Identifier: BSD-3-Clause */
/* What frontend.c and frontend_state.c share: the second is about one that takes another's
 * place. */
#pragma once

#include "device/frontend.h"

void frontend_forget_loaded(struct frontend *fe);	/* if there is any; no peer notices */

struct session_config frontend_session_config(struct frontend *fe);

/* Waits for the messages of a session that has begun. 0; -errno: it is gone again. */
int frontend_session_wait(struct frontend *fe);

/* Handles what the front-end has sent; afterwards it may be gone. */
void frontend_session_turn(struct frontend *fe);

/* @fd: of the ring; -1: it has none. */
void frontend_wait_for_kicks(struct frontend *fe, unsigned ring, int fd);

/* Takes @fd over. When all places are taken, the oldest candidate loses its own. 0 or -errno,
 * which has been logged. */
int frontend_add_candidate(struct frontend *fe, int fd);

/* Waits for the first byte of a candidate. 0; -errno, which has been logged: it is gone. */
int frontend_wait_for_candidate(struct frontend_candidate *c);

/* A connection has ended: what follows of that. */
void frontend_on_lost(struct frontend *fe);
