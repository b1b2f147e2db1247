/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Closes descriptors that others have made, in threads of its own.
 *
 * The last close(2) of a file does what its kind has to do then, and that may take as
 * long as somebody else likes: a TCP socket with SO_LINGER waits for its peer, a file
 * on FUSE for its server. Whoever passes us a descriptor and closes his own copy would
 * stop the thread that closes ours, and all the VMs it serves. A socket of our own is
 * no better where descriptors may wait in it unread: they go with it.
 *
 * A thread comes with the first descriptor and goes when there was none for a while.
 * While it is held up by one, others come beside it, up to CLOSER_THREADS_MAX; what is
 * left then stays open until one of them is done.
 */
#pragma once

enum { CLOSER_THREADS_MAX = 16 };

/*
 * Makes room for as many descriptors as the process may have: without it, or where it
 * failed, or where no thread is to be had, the caller of closer_close() closes by
 * himself. 0 or -errno. For the life of the process.
 */
int closer_init(void);

/* Takes *@fd over, from any thread, and leaves -1; never blocks. It must be in no epoll
 * set, since it stays open for a while. */
void closer_close(int *fd);
