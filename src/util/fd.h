/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * File descriptors: -1 when absent, closed only here, moved by fd_take().
 */
#pragma once

#include <errno.h>
#include <unistd.h>

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
