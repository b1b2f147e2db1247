/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Connect, one byte each way, close: the host programs of it.
 */
#pragma once

#include <pthread.h>
#include <stdbool.h>

struct crr_server {				/* a thread that accepts */
	int listener;
	pthread_t thread;
};

void crr_server_start(struct crr_server *s, int listener);
void crr_server_join(struct crr_server *s);	/* closes the listener */

/* Once as a client. With @port first CONNECT and its answer. */
void crr_client(const char *path, unsigned port);
