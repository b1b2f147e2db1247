/* SPDX-License-Identifier: BSD-3-Clause */
/* An event as it waits in the queue. */
#pragma once

#include <time.h>

#include "control/events.h"
#include "device/events.h"
#include "vsock/conn_snapshot.h"

struct event_record {
	struct timespec at;			/* since 1970 */
	struct event event;
	enum device_event_kind device;		/* of EVENT_OF_DEVICE, as what follows */
	unsigned ring;				/* of RING_BROKEN */
	const char *reason;			/* a literal; NULL: none */
	struct conn_snapshot conn;		/* of CONNECTION_* */
};
