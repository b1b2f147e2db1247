/* SPDX-License-Identifier: BSD-3-Clause */
/* Names of live connections, in memory that outlives the process. */
#include "vsock/conn_names.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "util/error.h"

enum {
	FIRST_ROWS = 16,
	ROWS_MAX = 1 << 30,			/* so that doubling does not wrap */
};

/* The process that reads the area begins when this one has ended: that the compiler keeps
 * the order of stores is enough. */
static void keep_order(void)
{
	atomic_signal_fence(memory_order_seq_cst);
}

void conn_names_init(struct conn_names *names)
{
	*names = (struct conn_names){ .area = NULL };
}

void conn_names_deinit(struct conn_names *names)
{
	free(names->free);
	conn_names_init(names);
}

bool conn_names_get(const struct conn_names *names, uint32_t i, struct conn_name *out)
{
	const struct conn_name *row = &names->area->rows[i];

	*out = (struct conn_name){
		.is_used = atomic_load_explicit(&row->is_used, memory_order_relaxed),
		.type = row->type, .guest_port = row->guest_port, .peer_port = row->peer_port,
		.peer_cid = row->peer_cid,
	};
	return out->is_used == 1;
}

static void clear(struct conn_names *names, uint32_t row)
{
	atomic_store_explicit(&names->area->rows[row].is_used, 0, memory_order_relaxed);
	keep_order();
	names->free[names->n_free++] = row;
}

static void count_unnamed(struct conn_names *names, uint32_t n)
{
	names->n_unnamed = n;
	atomic_store_explicit(&names->area->n_unnamed, n, memory_order_relaxed);
}

/* For the stack, should they all be free at once. False: there is none. */
static bool has_room_for(struct conn_names *names, uint32_t n)
{
	uint32_t room = names->room ? names->room : FIRST_ROWS;
	uint32_t *rows;

	if (n <= names->room)
		return true;
	while (room < n)
		room *= 2;
	rows = realloc(names->free, room * sizeof *rows);
	if (!rows)
		return false;
	names->free = rows;
	names->room = room;
	return true;
}

int conn_names_open(struct conn_names *names, struct conn_names_area *area, size_t size,
		    bool is_new, uint32_t *n_unnamed)
{
	size_t n;

	assert(!names->area && size >= sizeof *area);
	n = (size - sizeof *area) / sizeof *area->rows;
	assert(n <= ROWS_MAX);
	if (!has_room_for(names, is_new ? 0 : (uint32_t)n))
		return -ENOMEM;
	names->area = area;
	names->n_rows = (uint32_t)n;
	names->n_begun = is_new ? 0 : names->n_rows;
	*n_unnamed = atomic_load_explicit(&area->n_unnamed, memory_order_relaxed);
	for (uint32_t i = names->n_begun; i--; ) {	/* so that the first is taken first */
		struct conn_name name;

		if (!conn_names_get(names, i, &name))
			clear(names, i);
	}
	return 0;
}

void conn_names_settle(struct conn_names *names)
{
	count_unnamed(names, names->n_unnamed);
}

static uint32_t take_free(struct conn_names *names)
{
	if (names->n_free)
		return names->free[--names->n_free];
	if (names->n_begun < names->n_rows && has_room_for(names, names->n_begun + 1))
		return names->n_begun++;
	return CONN_NO_NAME;
}

uint32_t conn_names_add(struct conn_names *names, uint32_t type, uint32_t guest_port,
			const struct vsock_addr *peer)
{
	struct conn_name *row;
	uint32_t i;

	if (!names->area)
		return CONN_NO_NAME;
	i = take_free(names);
	if (i == CONN_NO_NAME) {
		count_unnamed(names, names->n_unnamed + 1);
		return CONN_NO_NAME;
	}
	row = &names->area->rows[i];
	row->type = type;
	row->guest_port = guest_port;
	row->peer_port = peer->port;
	row->peer_cid = peer->cid;
	atomic_store_explicit(&row->is_used, 1, memory_order_release);
	return i;
}

void conn_names_drop(struct conn_names *names, uint32_t row)
{
	if (!names->area)
		return;
	if (row == CONN_NO_NAME)
		count_unnamed(names, names->n_unnamed - 1);
	else
		clear(names, row);
}
