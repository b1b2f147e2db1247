/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Connect, one byte each way, close: the host programs of it.
 */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

struct crr_server {				/* a thread that accepts */
	int listener;				/* of any family: not all end accept(2) by shutdown(2) */
	atomic_bool is_over;
	pthread_t thread;
};

void crr_server_start(struct crr_server *s, int listener);
void crr_server_join(struct crr_server *s);	/* the listener is the caller's */

/* A client's part once it is connected. */
void crr_client(int fd);
