/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The supervisor: the process that the user started. It binds the sockets and removes their
 * names, keeps a duplicate of every descriptor on which a device's life depends, starts the
 * engine and, when that dies or hangs, another; and it connects where the engine, confined
 * as it is, cannot. It never reads a byte of a guest, a front-end or a host program.
 */
#pragma once

#include <signal.h>

struct plan;

/*
 * Serves the VMs of @plan until one of @ends comes, which are blocked, or nothing is left to
 * serve. In the main thread, once, while there is no other. 0; otherwise what did not work,
 * which has been logged: LISTENER_E_*, -errno.
 */
int supervisor_run(struct plan *plan, const sigset_t *ends);
