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
struct vm_plan;

/* Host clients that a VM lets wait for their handshake. */
uint32_t limits_handshakes(uint32_t max_connections);

/*
 * Sets connections_share, and each VM's max_connections, so that all VMs fit into @n_fds
 * descriptors, beside @n_workers threads, and, where regions are kept, a descriptor each,
 * the mem_slots of limits_share_memory(), which comes before. Whoever has said more than an
 * equal share gets that.
 */
void limits_fit(struct plan *plan, uint64_t n_fds, size_t n_workers);

/* What @vm, which need not be one of the plan's rows, has of the shares that were found last. */
void limits_give(const struct plan *plan, struct vm_plan *vm);

/* How many descriptors there are at most, when all VMs use up theirs. */
uint64_t limits_files(const struct plan *plan, size_t n_workers);

/*
 * Sets memory_share, each VM's max_memory, and mem_slots, so that all of them fit into
 * @space bytes and @max_maps mappings; beside those of a memory table that a worker
 * replaces, since for a moment there are both. And has_too_little_memory: those that have
 * said it, with a fair share for the others, do not fit.
 */
void limits_share_memory(struct plan *plan, uint64_t space, uint64_t max_maps, size_t n_workers);

/*
 * The guest's connects to a port end at "<uds-path>_<port>", where the address of
 * a socket ends, too: how many digits the port may have, 0 to 10.
 */
enum { LIMITS_PORT_DIGITS = 10, LIMITS_ALL_PORTS_FIT = 96 };	/* ... bytes of path */
unsigned limits_port_digits(const char *uds_path);
