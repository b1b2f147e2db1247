/* SPDX-License-Identifier: BSD-3-Clause */
/* Bytes of a socket that are known, and stay in it. */
#include "backend/sock_unread.h"

#include <errno.h>
#include <sched.h>
#include <stdatomic.h>

#include "util/iov.h"
#include "util/unix_socket.h"

enum {
	ANSWERS_MIN = 16,			/* in a row, before the next may stay */
	ANSWER_MS = 5,				/* at most, between two writes */
	LOOKS_MAX = 2,				/* then what they have seen is taken out by a write */
	STAY_MAX = 512,				/* bytes, and so are more than these */
};

bool sock_unread_pays(void)
{
	static atomic_int n;			/* of CPUs; 0: not asked yet */
	cpu_set_t set;

	if (!atomic_load_explicit(&n, memory_order_relaxed)) {
		int r = sched_getaffinity(0, sizeof set, &set);

		/* More CPUs than the set has places are many. */
		atomic_store_explicit(&n, r < 0 ? CPU_SETSIZE : CPU_COUNT(&set),
				      memory_order_relaxed);
	}
	return atomic_load_explicit(&n, memory_order_relaxed) > 1;
}

int sock_unread_drop(struct sock_unread *u, int fd, struct loop *loop, struct loop_source *source)
{
	size_t n = u->n;
	int r;

	u->n = 0;
	u->looks = 0;
	loop_unremind(loop, source);
	r = unix_drop(fd, n);
	return r <= 0 ? r : -EIO;		/* UNIX_E_* says nothing of what is read next */
}

bool sock_unread_may_stay(const struct sock_unread *u, size_t room)
{
	return u->answers == ANSWERS_MIN && u->has_written && u->n + room <= SOCK_UNREAD_MAX;
}

bool sock_unread_is_due(const struct sock_unread *u)
{
	return u->answers < ANSWERS_MIN || u->looks >= LOOKS_MAX || u->n > STAY_MAX;
}

int sock_unread_look(struct sock_unread *u, int fd, struct loop *loop, struct loop_source *source,
		     const struct iovec *v, int nv, size_t *got)
{
	size_t room = iov_total(v, (size_t)nv);
	int r = 0;

	if (u->n && !u->looks_on)
		u->looks_on = unix_set_peek_offset(fd, u->n) == 0;
	if (u->n && !u->looks_on)
		r = sock_unread_drop(u, fd, loop, source);
	if (!r)
		r = unix_peek(fd, v, (size_t)nv, got);
	if (r)
		return r;
	u->n = (uint16_t)(u->n + *got);
	if (*got < room && (u->looks++ || loop_remind(loop, source)))
		return 0;
	return sock_unread_drop(u, fd, loop, source);	/* more waits, and needs its place */
}

/* Written and read in turns, and quickly? */
void sock_unread_note_write(struct sock_unread *u, uint64_t now_ms)
{
	if (u->has_written || (uint32_t)now_ms - u->written_ms > ANSWER_MS)
		u->answers = 0;
	else if (u->answers < ANSWERS_MIN)
		u->answers++;
	u->has_written = true;
	u->written_ms = (uint32_t)now_ms;
}

void sock_unread_note_read(struct sock_unread *u)
{
	u->has_written = false;
}

void sock_unread_note_greeted(struct sock_unread *u, uint64_t now_ms)
{
	u->answers = ANSWERS_MIN;
	u->has_written = true;
	u->written_ms = (uint32_t)now_ms;
}
