/* SPDX-License-Identifier: BSD-3-Clause */
/* Event descriptors of a front-end. */
#include "vhost/event_fd.h"

#include <fcntl.h>
#include <stdbool.h>
#include <sys/stat.h>

#include "util/error.h"

/* Anonymous inodes have no type. Of those, only eventfds can be written to and
 * might block. */
static bool is_anonymous(const struct stat *st)
{
	return (st->st_mode & S_IFMT) == 0;
}

int event_fd_prepare(int fd)
{
	struct stat st;
	int flags;

	if (fstat(fd, &st) < 0)
		return error_last();
	if (!is_anonymous(&st))
		return -EINVAL;
	flags = fcntl(fd, F_GETFL);
	if (flags < 0 || (!(flags & O_NONBLOCK) && fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0))
		return error_last();
	return 0;
}
