/* SPDX-License-Identifier: BSD-3-Clause */
/* The ports from which host programs call a guest. */
#include "vsock/host_ports.h"

#include "util/blob.h"

enum {
	LOWEST = 1 << 30,
	COUNT = 1 << 30,
};

void host_ports_init(struct host_ports *p, uint64_t first)
{
	*p = (struct host_ports){ .next = (uint32_t)(first % COUNT) };
}

void host_ports_save(const struct host_ports *p, struct blob *out)
{
	blob_put_u32(out, p->next);
	blob_put_u8(out, p->have_wrapped);
}

bool host_ports_load(struct host_ports *p, struct blob_reader *in)
{
	struct host_ports loaded = { .next = blob_get_u32(in) };

	loaded.have_wrapped = blob_get_bool(in);
	if (in->is_short || loaded.next >= COUNT)
		return false;
	*p = loaded;
	return true;
}

/* Never a port in use: once the numbers have come round, each is looked up. Before, only
 * this very name can be taken, by a guest that has guessed it. */
uint32_t host_ports_take(struct host_ports *p, const struct conn_table *table, uint64_t host_cid,
			 uint32_t guest_port)
{
	for (;;) {
		struct vsock_addr host = { host_cid, LOWEST + p->next };

		if (++p->next == COUNT) {
			p->next = 0;
			p->have_wrapped = true;
		}
		if (conn_table_find(table, guest_port, &host))
			continue;
		if (!p->have_wrapped || !conn_table_find_peer(table, &host))
			return host.port;
	}
}
