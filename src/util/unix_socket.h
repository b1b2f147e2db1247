/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Unix sockets, as both ends of hybrid vsock and of vhost-user use them.
 *
 * The attacker is the peer, which may pass descriptors along with its bytes. We want none,
 * except a front-end's: where the kernel can refuse them (Linux 6.16), unix_refuse_rights()
 * makes it do so; elsewhere they are received, and closed by a closer thread, since to drop
 * them unseen means a close(2) in the thread that reads.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <sys/un.h>

#ifndef SO_PASSRIGHTS				/* Linux 6.16 */
#define SO_PASSRIGHTS	83
#endif

enum {
	UNIX_E_AGAIN = 1,			/* not now: nothing has come, or a full backlog */
	UNIX_E_EOF,
	UNIX_E_RESET,				/* the peer closed without having read all */
	UNIX_E_NO_NAME,				/* there is no such file */
	UNIX_E_NOBODY,				/* nobody listens at it */
	UNIX_E_OTHER_TYPE,			/* not at a socket of this type */
	UNIX_E_DENIED,				/* its mode, or that of a folder, says no */
	UNIX_E_NAME_LENGTH,			/* no socket has such a long name */
	UNIX_E_TOO_LONG,			/* a message, for who is to take it */
};

enum { UNIX_PATH_BYTES = sizeof ((struct sockaddr_un *)0)->sun_path };

/* The folder of the socket @path, which is no longer than its name can be. */
void unix_folder(char folder[UNIX_PATH_BYTES], const char *path);

/* A non-blocking socket, SOCK_STREAM or SOCK_SEQPACKET. 0 or -errno. */
int unix_socket(int *out, int type);

/* Connects to a named unix socket without blocking. 0; UNIX_E_AGAIN: try again on the same
 * socket; one of the UNIX_E_* that follow UNIX_E_RESET; -errno. */
int unix_connect(int fd, const char *path);
int unix_open_error(int error);			/* the same, of a -errno of open(2) */

/* @error, of unix_connect(), is for want of a name or of a right: a process that sees more of
 * the file system, or may do more, may get further. */
bool unix_is_unseen(int error);

/* From now on the peers of @fd, and of what is accepted from it, cannot pass
 * descriptors. False: the kernel does not know how. */
bool unix_refuse_rights(int fd);

bool unix_refuses_rights(int fd);		/* as it was made to, there or by its listener */

/* Urgent bytes (MSG_OOB) stay in their place among the others. */
void unix_keep_urgent_inline(int fd);

/*
 * recvmsg(2) without blocking, again if it was interrupted. 0 and *@got > 0 bytes;
 * UNIX_E_AGAIN, UNIX_E_EOF, UNIX_E_RESET; -errno. With @may_have_rights, descriptors that
 * came along are closed elsewhere; *@cut: there were some, so there may be more bytes than
 * were read.
 */
int unix_recv(int fd, const struct iovec *iov, size_t n, bool may_have_rights, size_t *got,
	      bool *cut);

/* What has come of a socket whose peer cannot pass descriptors, as unix_recv(): it stays unread.
 * unix_drop() takes the first @n bytes of it, or says why not. */
int unix_peek(int fd, const struct iovec *iov, size_t n, size_t *got);
int unix_drop(int fd, size_t n);

/* From now on each look begins where the last one has ended, the next one after @offset bytes;
 * what is taken out counts back. -1: each looks at the first byte, as at first. 0 or -errno. */
int unix_set_peek_offset(int fd, int offset);

/*
 * The same for a message of SOCK_SEQPACKET: 0 and all of it, *@got bytes or none; UNIX_E_TOO_LONG:
 * it was longer than @iov, and is lost; the others as above. Descriptors are always closed
 * elsewhere. unix_tell_empty() before it: an empty message comes with its sender's
 * credentials then, and an end without. 0 or -errno.
 */
int unix_tell_empty(int fd);
int unix_recv_message(int fd, const struct iovec *iov, size_t n, size_t *got);

/*
 * Ends what comes from the peer. True: nothing of it is left unread. What is unread may hold
 * descriptors, which are closed with the socket, and may take long.
 */
bool unix_drained(int fd);

/* Closes a connection, which must be in no epoll set; in this thread only if drained. */
void unix_close(int *fd);

/* Closes a connection without a word, after dropping what the peer has sent, up to 64 KiB:
 * so it reads an end, not ECONNRESET. */
void unix_hang_up(int *fd);
