/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Unix stream sockets, as both ends of hybrid vsock and of vhost-user use them.
 *
 * The attacker is the peer, who may pass descriptors along with its bytes. Ours want
 * none, but for those of a front-end: where the kernel can refuse them (Linux 6.16),
 * unix_refuse_rights() makes it do so; elsewhere they are received and closed by a
 * closer thread, since to drop them unseen is a close(2) in the thread that reads.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>
#include <sys/uio.h>

#ifndef SO_PASSRIGHTS				/* Linux 6.16 */
#define SO_PASSRIGHTS	83
#endif

/* A non-blocking stream socket. 0 or -errno. */
int unix_socket(int *out);

/* Connects to a named unix socket without blocking: 0; -EAGAIN: its backlog is
 * full, try again on the same socket; -errno. */
int unix_connect(int fd, const char *path);

/* From now on the peers of @fd, and of what is accepted from it, cannot pass
 * descriptors. False: the kernel does not know how. */
bool unix_refuse_rights(int fd);

/* Urgent bytes (MSG_OOB) stay in their place among the others. */
void unix_keep_urgent_inline(int fd);

/*
 * recvmsg(2) without blocking, again if it was interrupted: bytes, 0 at the end, or
 * -errno. With @may_have_rights, descriptors that came along are closed elsewhere;
 * *@cut: there were some, so there may be more bytes than were read.
 */
ssize_t unix_recv(int fd, const struct iovec *iov, size_t n, bool may_have_rights, bool *cut);

/* Closes a connection that we have nothing to say to, after dropping what it has sent,
 * up to 64 KiB: an AF_UNIX peer reads an end then, not ECONNRESET. */
void unix_hang_up(int *fd);
