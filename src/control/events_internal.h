/* SPDX-License-Identifier: BSD-3-Clause */
/* What the files of the event monitor share: events.c (queue and file), event_format.c (lines). */
#pragma once

#include <time.h>

#include "control/events.h"
#include "device/events.h"
#include "vsock/conn_snapshot.h"

struct event_record {				/* as it waits in the queue */
	struct timespec at;			/* since 1970 */
	struct event event;
	enum device_event_kind device;		/* of EVENT_OF_DEVICE, as what follows */
	unsigned ring;				/* of RING_BROKEN */
	const char *reason;			/* a literal; NULL: none */
	struct conn_snapshot conn;		/* of CONNECTION_* */
};

static inline uint64_t events_time_ns(const struct event_record *r)
{
	return (uint64_t)r->at.tv_sec * UINT64_C(1000000000) + (uint64_t)r->at.tv_nsec;
}
