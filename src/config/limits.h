/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What one VM may take of what all of them share: file descriptors. A guest can
 * open connections as it likes, so the promises made to all VMs together must
 * not exceed what the process can have; else one guest, by using up its own,
 * would take another's. And what the kernel leaves of a path.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct plan;

/* Host clients that a VM lets wait for their handshake. */
uint32_t limits_handshakes(uint32_t max_connections);

/*
 * Lowers max_connections so that all VMs fit into @n_fds descriptors, beside
 * @n_workers threads. Whoever wants more than an equal share gets that. Returns
 * the share, in connections; 0: all fit as they are.
 */
uint32_t limits_fit(struct plan *plan, uint64_t n_fds, size_t n_workers);

/*
 * The guest's connects to a port end at "<uds-path>_<port>", where the address of
 * a socket ends, too: how many digits the port may have, 0 to 10.
 */
enum { LIMITS_PORT_DIGITS = 10, LIMITS_ALL_PORTS_FIT = 96 };	/* ... bytes of path */
unsigned limits_port_digits(const char *uds_path);
