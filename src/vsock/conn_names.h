/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Names of live connections in memory that outlives the process, so that the next one can
 * tell the guest which of them are void. A name is there from before the guest can learn
 * of the connection until it has been told, or has said, that it is over; to keep it costs
 * a few stores. A crash between any two of those leaves each name whole or absent.
 *
 * What was left in the area is hostile. It is read once, by conn_names_load(); after that
 * only we write it, and we never read it back.
 */
#pragma once

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vsock/pkt.h"

struct conn_name {				/* host order: for the same machine */
	_Atomic uint32_t is_used;		/* 0, 1: written last */
	uint32_t type;				/* enum vsock_type, or anything */
	uint32_t guest_port, peer_port;
	uint64_t peer_cid;
};
static_assert(sizeof(struct conn_name) == 24, "as another version of us knows it");

struct conn_names_area {			/* all zeroes: it has never been used */
	_Atomic uint32_t n_unnamed;		/* live, but there was no row for them */
	uint32_t reserved;
	struct conn_name rows[];
};

enum { CONN_NO_NAME = UINT32_MAX };

struct conn_names {
	struct conn_names_area *area;		/* borrowed; NULL: none are kept */
	uint32_t n_rows;
	uint32_t n_begun;			/* the others have never been used */
	uint32_t *free;				/* of those that have, as a stack */
	uint32_t n_free, room;			/* room: for all that have begun */
	uint32_t n_unnamed;
};

static inline size_t conn_names_size(size_t n_rows)	/* bytes of an area */
{
	return sizeof(struct conn_names_area) + n_rows * sizeof(struct conn_name);
}

void conn_names_init(struct conn_names *names);	/* none are kept */
void conn_names_deinit(struct conn_names *names);	/* the area stays as it is */

/* What is in use in an area: a copy of row @i. False: nothing, or garbage. */
bool conn_names_get(const struct conn_names *names, uint32_t i, struct conn_name *out);

/*
 * Begins to keep names in @area, of @size bytes. @is_new: it is all zeroes, and no page of it is
 * to be there before there is something in it. All rows that conn_names_get() gives are
 * taken; the caller, who has to look at each, drops those that are nobody's. *@n_unnamed: as
 * it was left there. 0 or -ENOMEM.
 */
int conn_names_open(struct conn_names *names, struct conn_names_area *area, size_t size,
		    bool is_new, uint32_t *n_unnamed);

/* All that was left has been looked at: what is unnamed is from now on of this process. */
void conn_names_settle(struct conn_names *names);

/* Returns the row, or CONN_NO_NAME, where there is none left or none are kept. */
uint32_t conn_names_add(struct conn_names *names, uint32_t type, uint32_t guest_port,
			const struct vsock_addr *peer);
void conn_names_drop(struct conn_names *names, uint32_t row);	/* CONN_NO_NAME, too */
