/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Bytes of a socket that are known, and stay in it for a while.
 *
 * A read of a unix socket frees what its peer has written, which wakes the peer where it waits in
 * read(2) for what comes next: two context switches, to find that nothing has come. Right after a
 * write to it, it is awake. So where a peer answers one write after another at once, an answer is
 * looked at, and taken out of the socket after a write. That is a call more, also for peers that
 * wait in poll(2), which are not woken so; for two answers it is one. On one CPU we read before
 * the peer waits.
 *
 * The bytes occupy the peer's send buffer, so they are few: over a write one answer stays, of 512
 * bytes at most. The next read takes them out as well, the end, or the loop's reminder. So a peer
 * that polls for POLLOUT, which it gets while three quarters of its buffer are free, has to wait for
 * none of it with an SO_SNDBUF of 4096 (it is 212992 unless a program or the system sets it); with
 * less than that, or one answer in so many small writes that they fill a quarter, it waits for the
 * reminder, once, and then is not quick. Descriptors and urgent bytes do not stay.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "util/loop.h"

enum { SOCK_UNREAD_MAX = 8192 };		/* bytes, at any time */

/* There is more than one CPU. */
bool sock_unread_pays(void);

struct sock_unread {
	uint32_t written_ms;			/* when, modulo 2^32 */
	uint16_t n;				/* bytes, the first in the socket */
	uint8_t answers;			/* in a row, each soon after what was written */
	uint8_t looks : 6;			/* that have seen them */
	bool looks_on : 1;			/* a look begins where the last one has ended */
	bool has_written : 1;			/* since the last read */
};

/* Takes them out of @fd, whose source is @source. 0; -errno: they may come again, so nothing is to
 * be read any more. */
int sock_unread_drop(struct sock_unread *u, int fd, struct loop *loop, struct loop_source *source);

/* What is read next into @room bytes may stay, and what is unread, too. */
bool sock_unread_may_stay(const struct sock_unread *u, size_t room);

/* After a write: its peer is awake, and there is enough to be taken out. */
bool sock_unread_is_due(const struct sock_unread *u);

/* As unix_recv(), where there is nothing left; what it has read stays, and @source will be
 * reminded. -errno: as sock_unread_drop(). */
int sock_unread_look(struct sock_unread *u, int fd, struct loop *loop, struct loop_source *source,
		     const struct iovec *v, int nv, size_t *got);

void sock_unread_note_write(struct sock_unread *u, uint64_t now_ms);
void sock_unread_note_read(struct sock_unread *u);

/* The first write to it has been a greeting, which it has waited for in order to say something: it
 * is taken for one that answers at once, until it does not. */
void sock_unread_note_greeted(struct sock_unread *u, uint64_t now_ms);
