/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The kernel's own vhost-vsock as a contender: the same guest driver with /dev/vhost-vsock
 * behind its rings, as a VMM sets that up, and host programs with AF_VSOCK sockets where
 * ours have unix sockets. No virtual machine is needed for it.
 *
 * It refuses to run outside the guest of in_guest.py, so that no machine's own AF_VSOCK is
 * touched. What the kernel does not take ends the measurement.
 */
#pragma once

#include <sys/types.h>

#include "support/driver.h"

/*
 * Newer kernels reset the connection of a guest that has kept to its credit: they allow as many
 * packets to wait for a reader as have their struct sk_buff in the socket's buffer (576 bytes
 * each: 455 in 256 KiB), of which virtio knows nothing; messages of 64 bytes reach that before
 * their credit. The program's socket fails with ENOBUFS. A measurement that ends so is void, and
 * no failure: struct measure's is_overrun.
 */

/* Dies where it is forbidden, or where the modules are missing. */
void kernel_check(void);

struct kernel_vsock {
	int fd;					/* /dev/vhost-vsock */
	pid_t worker;				/* its thread, one of ours */
};

/* @d has been made by driver_init(), with habits of two queues. */
void kernel_up(struct kernel_vsock *k, struct driver *d);
void kernel_down(struct kernel_vsock *k);

/* Blocking sockets of @type: SOCK_STREAM or SOCK_SEQPACKET. Closed by the caller. */
int kernel_listen(int type, uint32_t port, int backlog);
int kernel_connect(int type, uint32_t cid, uint32_t port);	/* -1: refused */
