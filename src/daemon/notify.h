/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Tells a service manager how we are, if there is one: systemd's NOTIFY_SOCKET and
 * WATCHDOG_USEC. READY=1 when all is served; STATUS= whenever front-ends come and go, but
 * not more often than once a second; WATCHDOG=1 twice in the time that the manager waits
 * for it, as long as no worker is held up; STOPPING=1 at the end.
 *
 * The socket is connected before the sandbox closes. What is sent is sent by a thread of
 * its own, which can wait where the manager is slow: its queue holds ten messages, from all
 * services. Without a manager there is no thread, and all of this does nothing.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/* Once, before the sandbox and before there is another thread. 0, or -errno: there is a
 * manager, but not where it says. */
int notify_init(void);

/* READY=1: @n_vms are served. @is_held_up tells, in the thread, whether a worker has not moved
 * since it was called last. 0 or -errno. */
int notify_start(size_t n_vms, bool (*is_held_up)(void));

/* RELOADING=1, and then READY=1: @n_vms are served now. Or without the first: so many are. */
void notify_reloading(void);
void notify_reloaded(size_t n_vms);

void notify_front_end(int n);			/* 1: one has come; -1: has gone. From any thread */

/* Waits until what the manager is to keep (fd_store.h) is sent, and no longer than @ms. */
void notify_flush(int ms);

/* STOPPING=1. Does not wait for long. After a notify_start() or none. */
void notify_stop(void);
