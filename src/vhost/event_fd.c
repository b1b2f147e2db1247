/* SPDX-License-Identifier: BSD-3-Clause */
/* Eventfds of a front-end. */
#include "vhost/event_fd.h"

#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <sys/stat.h>
#include <unistd.h>

#include "util/error.h"
#include "util/fd.h"

/* Anonymous inodes have no type. */
static int check_anonymous(int fd)
{
	struct statx st;
	int r = fd_stat(fd, STATX_TYPE, &st);

	if (r < 0)
		return r;
	return (st.stx_mode & S_IFMT) == 0 ? 0 : EVENT_FD_E_OTHER;
}

/* Of all anonymous files only eventfds take eight bytes. Adding zero changes nothing, and
 * blocks only where the counter has overflowed (POLLERR), which no write can bring about. */
static int check_takes_zero(int fd)
{
	struct pollfd p = { .fd = fd };
	const uint64_t zero = 0;

	if (poll(&p, 1, 0) && p.revents & POLLERR)
		return EVENT_FD_E_OTHER;
	if (write(fd, &zero, sizeof zero) == (ssize_t)sizeof zero)
		return 0;
	return errno == EINTR ? EVENT_FD_E_HELD_UP : EVENT_FD_E_OTHER;
}

int event_fd_check(int fd, bool *may_block)
{
	int flags = fcntl(fd, F_GETFL), r;

	if (flags < 0)
		return error_last();
	if ((r = check_anonymous(fd)) || (r = check_takes_zero(fd)))
		return r;
	*may_block = !(flags & O_NONBLOCK);
	return 0;
}

int event_fd_signal(int fd, bool may_block)
{
	struct pollfd p = { .fd = fd, .events = POLLOUT };
	const uint64_t one = 1;

	if (may_block && (poll(&p, 1, 0) != 1 || !(p.revents & POLLOUT)))
		return 0;
	if (write(fd, &one, sizeof one) == (ssize_t)sizeof one || errno == EAGAIN)
		return 0;
	return errno == EINTR ? EVENT_FD_E_HELD_UP : error_last();
}
