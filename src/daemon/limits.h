/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What one VM may take of what all of them share: file descriptors, address space,
 * mappings. A guest can open connections as it likes, and a front-end share memory
 * that nobody has, so the promises made to all VMs together must not exceed what
 * the process can have; else one, by using up its own, would take another's. And
 * what the kernel leaves of a path.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct plan;

/* Host clients that a VM lets wait for their handshake. */
uint32_t limits_handshakes(uint32_t max_connections);

/*
 * Lowers max_connections so that all VMs fit into @n_fds descriptors, beside
 * @n_workers threads, and, where regions are kept, a descriptor each, the mem_slots of
 * limits_share_memory(), which comes before. Whoever wants more than an equal share gets
 * that. Returns the share, in connections; 0: all fit as they are.
 */
uint32_t limits_fit(struct plan *plan, uint64_t n_fds, size_t n_workers);

/* How many descriptors there are at most, when all VMs use up theirs. */
uint64_t limits_files(const struct plan *plan, size_t n_workers);

/*
 * Sets max_memory of the VMs that have not said any, and mem_slots, so that all of
 * them fit into @space bytes and @max_maps mappings; beside those of a memory table
 * that a worker replaces, since for a moment there are both. False: those that have
 * said it, with a fair share for the others, do not fit.
 */
bool limits_share_memory(struct plan *plan, uint64_t space, uint64_t max_maps, size_t n_workers);

/*
 * The guest's connects to a port end at "<uds-path>_<port>", where the address of
 * a socket ends, too: how many digits the port may have, 0 to 10.
 */
enum { LIMITS_PORT_DIGITS = 10, LIMITS_ALL_PORTS_FIT = 96 };	/* ... bytes of path */
unsigned limits_port_digits(const char *uds_path);
