/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The eventfds that a front-end hands over: kicks, by which it signals us, calls and
 * errors of rings, by which we signal it.
 *
 * The attacker is the front-end, and means to hold us up, and with us all VMs of the
 * worker: by a descriptor of another kind (a pipe that is full, a file whose server does
 * not answer a stat or a poll), or by an eventfd that blocks. So what it hands over is
 * looked at without asking its file system, and has to be an eventfd. Whether that one
 * blocks is the front-end's own business: O_NONBLOCK belongs to the open file, which it
 * shares with us, and it may sleep in a read of it. One that blocks is polled before each
 * write; one that is made to block and full in between is left by the watchdog's signal.
 */
#pragma once

#include <stdbool.h>

enum { EVENT_FD_E_OTHER = 1, EVENT_FD_E_HELD_UP };

/*
 * 0: @fd is an eventfd; *@may_block: O_NONBLOCK is not set. EVENT_FD_E_OTHER; -errno.
 * EVENT_FD_E_HELD_UP: it is one that blocks, with a counter that only the kernel itself
 * can have brought so far; nothing else blocks here.
 */
int event_fd_check(int fd, bool *may_block);

/*
 * Signals: 0, also when the counter is full, since then it was signalled often enough.
 * EVENT_FD_E_HELD_UP: the write blocked until the watchdog came; -errno.
 */
int event_fd_signal(int fd, bool may_block);
