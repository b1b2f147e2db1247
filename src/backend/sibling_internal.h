/* SPDX-License-Identifier: BSD-3-Clause */
/* What the directory, the backend and the connections of siblings share. */
#pragma once

#include <stdatomic.h>

#include "backend/sibling.h"
#include "util/blob.h"

struct sibling {				/* the backend of one VM */
	struct backend base;
	struct sibling_config config;		/* ::self is a reference */
	struct list loaded;			/* struct end: not resumed yet */
};

/* It outlives its VM where a connection to that is on its way. */
struct sibling_entry {
	_Atomic size_t refs;
	uint64_t cid;
	struct mailbox *mailbox;		/* of its worker: another while all are parked */
	struct sibling *backend;		/* only for the VM's own worker; NULL: gone */
};

struct sibling_entry *sibling_entry_ref(struct sibling_entry *entry);
void sibling_entry_unref(struct sibling_entry *entry);

/* For a worker, which may use what it gets until it is back in its loop, and has to take a
 * reference for longer. NULL: there is no such VM. */
struct sibling_entry *sibling_dir_find(const struct sibling_dir *dir, uint64_t cid);

/* The same; NULL also if @from may not reach it. */
struct sibling_entry *sibling_dir_reach(const struct sibling_dir *dir, uint64_t from, uint64_t to);

/* How many VMs share a group with @cid; 0: none, or there is no such VM. */
size_t sibling_dir_count(const struct sibling_dir *dir, uint64_t cid);

/*
 * Opens a connection of that type from @from's guest at @src to @to's guest at @dst. The stream is
 * @from's end; its outcome comes by mux_stream_connected(). 0 or -ENOMEM.
 */
int sibling_conn_open(struct sibling *from, struct sibling_entry *to, enum vsock_type type,
		      const struct vsock_addr *src, const struct vsock_addr *dst,
		      struct stream **out);

/* State: as in backend_ops. Both ends of a connection are loaded before either VM goes on; one
 * that comes alone finds the other aborted. From any thread. */
#define SIBLING_STREAM_TAG BLOB_TAG('S', 'I', 'B', 'S')
int sibling_conn_load(struct sibling *s, const struct vsock_addr *guest,
		      const struct vsock_addr *peer, struct blob_reader *in, struct stream **out);
void sibling_conns_resume(struct sibling *s);
