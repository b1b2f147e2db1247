/* SPDX-License-Identifier: BSD-3-Clause */
/* What the directory, the backend and the connections of siblings share. */
#pragma once

#include "backend/sibling.h"

struct sibling {				/* the backend of one VM */
	struct backend base;
	struct sibling_config config;
	struct sibling_entry *self;
};

struct sibling_entry {				/* one VM in the directory */
	uint64_t cid;
	char *const *groups;
	size_t n_groups;
	struct mailbox *mailbox;
	struct sibling *backend;		/* only for the VM's own worker; NULL: gone */
};

/* NULL: no such VM. */
struct sibling_entry *sibling_dir_find(const struct sibling_dir *dir, uint64_t cid);

/* How many VMs share a group with @cid. */
size_t sibling_dir_count(const struct sibling_dir *dir, uint64_t cid);

/*
 * Opens a connection from @from's guest at @src to @to's guest at @dst. The stream is
 * @from's end; its outcome comes by mux_stream_connected(). 0 or -ENOMEM.
 */
int sibling_conn_open(struct sibling *from, struct sibling_entry *to,
		      const struct vsock_addr *src, const struct vsock_addr *dst,
		      struct stream **out);
