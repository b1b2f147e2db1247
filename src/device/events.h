/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What happens to a VM, for whoever wants to know (device_hooks::event): in the device's
 * thread, and never once per packet. Who nobody has asked for says nothing, and prepares
 * nothing.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct conn_snapshot;
struct device;

enum device_event_kind {
	DEVICE_FRONT_END_CONNECTED,		/* it is in session */
	DEVICE_FRONT_END_GONE,
	DEVICE_GUEST_RUNNING,			/* its driver has started the device */
	DEVICE_GUEST_STOPPED,
	DEVICE_GUEST_RESET,
	DEVICE_RING_BROKEN,
	DEVICE_CONNECTION_OPENED,		/* both sides have accepted it */
	DEVICE_CONNECTION_ENDED,		/* one that was opened */
};

struct device_event {
	enum device_event_kind kind;
	uint64_t cid;				/* of the VM */
	unsigned ring;				/* RING_BROKEN: VSOCK_RXQ, ... */
	const char *reason;			/* RING_BROKEN: a literal */
	const struct conn_snapshot *conn;	/* CONNECTION_*: borrowed */
};

/* ---- device_events.c, for the device itself ---- */

void device_tell(const struct device *dev, enum device_event_kind kind);
void device_tell_conn(void *dev, const struct conn_snapshot *conn);	/* mux_config::changed */
bool device_is_watched(const void *dev);		/* mux_config::is_watched */
void device_tell_broken(struct device *dev);	/* rings that have stopped since the last call */
void device_tell_ends(struct device *dev);	/* of all connections: it is about to be freed */
