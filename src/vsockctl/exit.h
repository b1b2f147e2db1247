/* SPDX-License-Identifier: BSD-3-Clause */
/* Exit statuses, the same for all commands; the man page has them. */
#pragma once

enum exit_code {
	EXIT_DONE = 0,
	EXIT_FAILED = 1,			/* the system failed, or a transfer broke off */
	EXIT_USAGE = 2,				/* a mistake in the command line */
	EXIT_REFUSED = 3,			/* the daemon, or the guest, says no */
	EXIT_LATE = 4,				/* the time is over */
	EXIT_NO_DAEMON = 5,			/* nobody is at the socket, or we may not connect */
	EXIT_FOUND = 6,				/* doctor: something is wrong */
};
