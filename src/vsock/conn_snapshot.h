/* SPDX-License-Identifier: BSD-3-Clause */
/* One connection as it is at a moment: plain data, for people and programs that ask. */
#pragma once

#include "vsock/counters.h"

struct mux;

struct conn_snapshot {
	struct vsock_addr guest, peer;
	uint8_t type;				/* enum vsock_type */
	uint8_t state;				/* enum conn_state: conn_str_state() */
	uint8_t origin;				/* enum conn_origin */
	uint8_t waits_for;			/* enum conn_wait: conn_str_wait() */
	uint8_t end;				/* enum conn_end, if its end has begun: conn_str_end() */
	bool is_orphaned;			/* the guest has forgotten it; it drains to the host */
	uint64_t age_ms;
	uint64_t waits_ms;			/* for how long, if it does; else how long it did not */
	uint64_t to_guest, to_host;		/* bytes of payload so far */
	uint32_t room_at_guest;			/* bytes that may be sent to the guest now */
	uint32_t guest_buf_alloc;		/* ... of so many, as the guest says */
	uint32_t room_for_guest;		/* bytes that the guest may send now */
	uint32_t buf_alloc;			/* ... of so many */
	uint32_t unread_by_guest;		/* bytes sent to it, and not consumed */
	uint32_t buffered;			/* bytes taken from it, that the host has not */
};

/* What an asker may want to know of the mux besides. */
struct mux_snapshot {
	bool is_running;			/* a guest that can take connections */
	unsigned guest_types;			/* of sockets that it knows: MUX_* */
	size_t n_connections;
	size_t n_replies;			/* resets that wait for RX buffers */
	const char *path;			/* where host programs come in; borrowed; NULL: nowhere */
};

/* And fills in what is missing in @counters, a copy of mux_counters(). */
void mux_snapshot(const struct mux *mux, struct mux_snapshot *out,
		  struct vsock_counters *counters);

const char *conn_str_wait(enum conn_wait wait);	/* for people: "the guest to read" */
const char *conn_wait_name(enum conn_wait wait);	/* for programs: "guest_credit" */

/* Where a walk over the connections stands. All zeroes: at its beginning. */
struct conn_cursor {
	uint64_t at;				/* conn_table.c's */
	bool is_walked;				/* but for those that the guest has forgotten */
	bool is_over;
};

/* Most of those that the guest has forgotten are not worth a walk: so many are shown, of the
 * first so many that drain, which are those that have drained the longest. */
enum { CONN_SNAPSHOT_ORPHANS = 256, CONN_SNAPSHOT_DRAINING = 4 * CONN_SNAPSHOT_ORPHANS };

/*
 * Fills rows, at most @max, at least CONN_SNAPSHOT_MIN, and stops early, where that is all with
 * ->is_over. Between two calls connections may come and go, and one that is there all the time is
 * shown once. Returns how many rows.
 */
enum { CONN_SNAPSHOT_MIN = CONN_SNAPSHOT_ORPHANS };
size_t mux_snapshot_conns(const struct mux *mux, struct conn_cursor *cursor,
			  struct conn_snapshot *rows, size_t max, uint64_t now_ms);
