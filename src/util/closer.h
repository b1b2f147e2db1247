/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Closes descriptors that others have made, and unmaps their memory, in threads of its own.
 *
 * The last close(2) of a file does what its kind has to do then, and that may take as
 * long as somebody else likes: a TCP socket with SO_LINGER waits for its peer, a file
 * on FUSE for its server. Whoever passes us a descriptor and closes his own copy would
 * stop the thread that closes ours, and all the VMs it serves. A socket of our own is
 * no better where descriptors may wait in it unread: they go with it.
 *
 * Memory takes its time, too: the last mapping of a file that nobody has open any more
 * frees all its pages, and a VMM that ends has closed its guest's memory before we hear of
 * it. That is some 250 ms for each GiB, and 60 where only what we had touched is unmapped.
 *
 * A thread comes with the first descriptor and goes when there was none for a while.
 * While it is held up by one, others come beside it, up to CLOSER_THREADS_MAX; what is
 * left then stays open until one of them is done. Memory has threads of its own: who
 * holds up the others does not hold that.
 */
#pragma once

#include <stddef.h>

enum { CLOSER_THREADS_MAX = 16, CLOSER_UNMAPPERS_MAX = 4 };

/* A mapping, kept by whoever has made it: giving it back needs no memory and cannot fail. */
struct closer_map {
	void *at;
	size_t len, granule;			/* a multiple of it */
	struct closer_map *next;		/* closer.c's */
};

/*
 * Makes room for as many descriptors as the process may have: without it, or where it
 * failed, or where no thread is to be had, the caller of closer_close() closes by
 * himself. 0 or -errno. Until the process ends.
 */
int closer_init(void);

/* The process ends: what has not been closed or unmapped is left to its end. */
void closer_deinit(void);

/* Takes *@fd over, from any thread, and leaves -1; never blocks. It must be in no epoll
 * set, since it stays open for a while. */
void closer_close(int *fd);

/*
 * Takes @m over, which malloc() has made, from any thread. Nobody accesses that memory any
 * more; it is unmapped soon, in pieces, since nobody can map anything while one is. Never
 * takes long, as long as less than 1/8 of the address space waits for it.
 */
void closer_unmap(struct closer_map *m);
