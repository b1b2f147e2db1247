/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The eventfds of a front-end: kicks, by which it signals us; calls and errors of rings,
 * by which we signal it.
 *
 * The attacker is the front-end. It wants to hold us up, and with us all VMs of the worker:
 * by a descriptor of another kind (a full pipe, a file whose server does not answer a stat
 * or a poll), or by an eventfd that blocks. So each descriptor is checked without asking
 * its file system, and has to be an eventfd. Whether that blocks is the front-end's own
 * business: O_NONBLOCK belongs to the open file, which it shares with us, and it may sleep
 * in a read of it. One that blocks is polled before each write. If it is made to block, and
 * filled, in between, the watchdog's signal ends the write.
 */
#pragma once

#include <stdbool.h>

enum {
	EVENT_FD_E_OTHER = 1,			/* not an eventfd */
	EVENT_FD_E_HELD_UP,			/* a write blocked until the watchdog came */
};

/*
 * 0: @fd is an eventfd; *@may_block: O_NONBLOCK is not set. EVENT_FD_E_OTHER; -errno.
 * EVENT_FD_E_HELD_UP: it blocks, with a counter that only the kernel can have brought so
 * far. Nothing else here blocks.
 */
int event_fd_check(int fd, bool *may_block);

/*
 * Adds one to the counter. 0, also when it is full: then the peer has been signalled often
 * enough. EVENT_FD_E_HELD_UP; -errno.
 */
int event_fd_signal(int fd, bool may_block);
