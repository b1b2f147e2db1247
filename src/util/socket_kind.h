/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a descriptor that somebody else has passed really is. Only sockets are looked at
 * closer: to ask a file may take as long as its server likes.
 */
#pragma once

#include <stdbool.h>
#include <sys/socket.h>

static inline int socket_option(int fd, int option)	/* of SOL_SOCKET; -1: it is no socket */
{
	socklen_t len = sizeof(int);
	int v;

	return getsockopt(fd, SOL_SOCKET, option, &v, &len) == 0 ? v : -1;
}

static inline bool socket_is(int fd, int domain, int type)
{
	return socket_option(fd, SO_DOMAIN) == domain && socket_option(fd, SO_TYPE) == type;
}

static inline bool socket_listens(int fd, int domain, int type)
{
	return socket_is(fd, domain, type) && socket_option(fd, SO_ACCEPTCONN) == 1;
}
