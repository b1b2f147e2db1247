/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One VM as it is between two turns: plain data, which its worker fills and anybody may read.
 * Costs some microseconds, however many connections there are; rows of those are filled a
 * portion in each turn (device/survey.h).
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "protocol/virtio_vsock.h"
#include "util/unix_socket.h"
#include "vsock/conn_snapshot.h"
#include "vsock/counters.h"

struct device;

enum front_end_state {
	FRONT_END_NONE,				/* nobody has connected */
	FRONT_END_SILENT,			/* somebody has, and has said nothing */
	FRONT_END_IN_SESSION,
};

struct ring_snapshot {
	bool is_started, is_enabled;		/* by the front-end */
	bool runs;				/* ... and with memory, and not broken */
	const char *broken;			/* why, a literal; or NULL */
	uint32_t size;				/* entries */
	uint16_t avail_index;			/* the driver's, as last seen */
	uint16_t next_avail;			/* ... up to where we have taken them */
	uint16_t used_index;			/* as the driver sees it */
	bool is_polled;				/* it has no kick that could be waited for */
};

struct device_snapshot {
	uint64_t cid;
	char tag[32];				/* "vm 3" */
	char uds_path[UNIX_PATH_BYTES];		/* where host programs come in; "": nowhere */
	uint64_t now_ms;			/* monotonic: when it was made */
	enum front_end_state front_end;
	bool is_guest_running;			/* RX and TX run */
	bool is_memory_missing;			/* rings are started, but no memory is shared */
	bool says_reset;			/* the front-end tells resets from pauses */
	uint64_t virtio_features, protocol_features;	/* negotiated; 0 without a session */
	struct ring_snapshot rings[VSOCK_NUM_QUEUES];	/* VSOCK_RXQ, ... */
	unsigned guest_types;			/* of sockets that the guest knows: MUX_* */
	uint32_t n_connections;
	uint32_t n_replies;			/* resets that wait for RX buffers */
	struct vsock_counters counters;		/* with all gauges */
};

/* In the device's thread, between two turns, or while that does nothing. */
void device_snapshot(const struct device *dev, struct device_snapshot *out);

/* Its connections, a portion of them: as mux_snapshot_conns(), likewise. */
size_t device_snapshot_conns(const struct device *dev, struct conn_cursor *cursor,
			     struct conn_snapshot *rows, size_t max);

/* Ends a connection in a reset for both sides, in the device's thread. False: there is none. */
bool device_reset_conn(struct device *dev, enum vsock_type type, uint32_t guest_port,
		       const struct vsock_addr *peer);
