/* SPDX-License-Identifier: BSD-3-Clause */
/* What test_afvsock.c and its tests of messages share: host programs with AF_VSOCK sockets, inside
 * a guest. */
#pragma once

#include "e2e/e2e.h"

enum {
	FORWARDED = 7001,			/* forward-listen; the other one is next */
	FORWARDED_SEQPACKET = 7003,		/* ... by SOCK_SEQPACKET */
	MANY = 100,
	AT_ONCE_MS = 1000,
};

int vsock_socket(int type);			/* SOCK_STREAM, SOCK_SEQPACKET */
/* With room for @room bytes in what is accepted there; 0: as it is made. */
int vsock_listen(int type, uint32_t port, uint64_t room);
int vsock_connect(int fd, uint32_t port);	/* connect(2) to a port of this machine */
int vsock_dial(int type, uint32_t port);
/* Nobody serves @port: the hang-up may come before connect(2) returns, or after. */
bool vsock_is_hung_up_on(int type, uint32_t port, int ms);

void afvsock_spawn(void);
void afvsock_setup_vm(void);

void afvsock_messages_add(Suite *s);
