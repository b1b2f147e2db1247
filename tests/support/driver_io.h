/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Between driver.c and driver_io.c: the way of one buffer.
 */
#pragma once

#include "support/driver.h"

enum {						/* inside a TX slot */
	TX_HEADER_AT = 64 - 44,
	TX_DATA_AT = 64,			/* right behind the header */
	TX_TABLE_AT = TX_DATA_AT + VSOCK_BODY_MAX,
	TX_SLOT = TX_TABLE_AT + 16 * 16,
};

/* False when the ring has no descriptor left. Nothing is published. */
bool driver_io_post_rx(struct driver *d, uint16_t buf);
