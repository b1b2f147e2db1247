/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The ports from which host programs call a guest: one after the other, from a number
 * that nobody can guess, so that the name of a connection is not used again soon.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "vsock/conn_table.h"

struct blob;
struct blob_reader;

struct host_ports {
	uint32_t next;				/* as an offset from the lowest port */
	bool have_wrapped;
};

void host_ports_init(struct host_ports *p, uint64_t first);	/* @first: any number */

void host_ports_save(const struct host_ports *p, struct blob *out);
bool host_ports_load(struct host_ports *p, struct blob_reader *in);	/* false: no such state */

/* Takes a port from which no connection in @table goes from @host_cid to the guest's
 * @guest_port. Once the numbers have come round this looks through the table. */
uint32_t host_ports_take(struct host_ports *p, const struct conn_table *table, uint64_t host_cid,
			 uint32_t guest_port);
