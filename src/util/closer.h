/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Closes descriptors that others have made, and unmaps their memory, in threads of its own.
 *
 * The last close(2) of a file may take as long as somebody else likes: a TCP socket with
 * SO_LINGER waits for its peer, a file on FUSE for its server. A peer that passes us a
 * descriptor and closes its own copy could stop the thread that closes ours, and all the
 * VMs it serves. A socket of our own is no better where descriptors may wait in it unread:
 * they are closed with it.
 *
 * Memory takes its time, too: the last mapping of a file that nobody has open any more
 * frees all its pages, and a VMM that ends has closed its guest's memory before we hear of
 * it. That is some 250 ms for each GiB, and 60 where only what we had touched is unmapped.
 *
 * The first descriptor starts a thread, which ends when there was none for a while. While
 * one descriptor holds it up, others are started, up to CLOSER_THREADS_MAX; what is left
 * then stays open until one of them is done. A watcher starts them, as long as something
 * waits: no other descriptor may come that would show that a thread is held up. Memory has
 * threads of its own, which a descriptor cannot hold up.
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
 * failed, or where no thread is to be had, closer_close() closes in the calling thread.
 * 0 or -errno. For the life of the process.
 */
int closer_init(void);

/* From now on there may be threads; what was to be closed before has waited. A process that is
 * to become less than it was does that first: the kernel may demand that it has one thread, and
 * others would stay what it was. */
void closer_start(void);

/* Leaves what has not been closed or unmapped to the end of the process. */
void closer_deinit(void);

/* Takes *@fd over, from any thread, and leaves -1; never blocks. It must be in no epoll
 * set, since it stays open for a while. */
void closer_close(int *fd);

/*
 * Takes @m over, which malloc() has made, from any thread. The memory must not be accessed
 * any more; it is unmapped soon, in pieces, since nobody can map anything meanwhile. Does
 * not block while there are threads, and less than 1/8 of the address space waits for them.
 */
void closer_unmap(struct closer_map *m);
