/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Between sock.c, which has the state of a socket, and sock_data.c, which moves its bytes.
 */
#pragma once

#include "support/sock.h"

enum { SOCK_PACKET_MAX = 64 * 1024 };

/* Dies when the device takes no packet before the deadline. */
void sock_send_op(struct sock *s, uint16_t op, uint32_t flags, const void *data,
		  uint32_t len);
