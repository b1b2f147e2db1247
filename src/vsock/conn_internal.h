/* SPDX-License-Identifier: BSD-3-Clause */
/* What the two halves of a connection share: conn.c, conn_say.c. */
#pragma once

#include "vsock/conn.h"

enum {						/* bytes: conn::read_hint */
	READ_HINT_MIN = 1024,			/* or one buffer */
	READ_HINT_FIRST = 16 * 1024,
};

/* Behind the last byte of the stream: @r is STREAM_E_EOF, STREAM_E_CLOSED or -errno. */
void conn_read_ended(struct conn *c, int r);
