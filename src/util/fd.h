/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * File descriptors: -1 when absent, closed only here, moved by fd_take().
 */
#pragma once

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "util/error.h"

/* Closes *@fd if there is one and leaves -1. errno is kept. */
static inline void fd_close(int *fd)
{
	int saved_errno = errno;

	if (*fd >= 0)
		close(*fd);
	*fd = -1;
	errno = saved_errno;
}

/* Moves ownership out of *@fd. */
static inline int fd_take(int *fd)
{
	int taken = *fd;

	*fd = -1;
	return taken;
}

/* What is known of the open file, @wanted of STATX_*: the server of a file, which might not answer,
 * is not asked. 0 or -errno. */
static inline int fd_stat(int fd, unsigned wanted, struct statx *out)
{
	int flags = AT_EMPTY_PATH | AT_STATX_DONT_SYNC;

	return statx(fd, "", flags, wanted, out) < 0 ? error_last() : 0;
}
