/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A port in the guest, as host programs reach it: by the hybrid socket (protocol/hybrid.h).
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define GUEST_PORT_NEVER	UINT64_MAX	/* a deadline */

enum {
	GUEST_PORT_E_NO_SOCKET = 1,		/* there is no such file */
	GUEST_PORT_E_NOBODY,			/* nobody listens at it, or it is no socket */
	GUEST_PORT_E_OTHER_TYPE,		/* a socket of another type */
	GUEST_PORT_E_DENIED,			/* its mode, or that of a folder, says no */
	GUEST_PORT_E_NAME_LENGTH,		/* no socket has such a long name */
	GUEST_PORT_E_BUSY,			/* until the deadline the daemon did not accept */
	GUEST_PORT_E_REFUSED,			/* it closed the connection instead of an OK */
	GUEST_PORT_E_LATE,			/* until the deadline it said nothing */
	GUEST_PORT_E_ODD,			/* it said something else: no vsock daemon's */
};

/* A connected, blocking socket of type SOCK_STREAM or SOCK_SEQPACKET, to whoever listens at
 * @path. 0; GUEST_PORT_E_NO_SOCKET to _BUSY; -errno. Blocks until @deadline_ms (clock.h). */
int guest_port_dial(int *out, const char *path, int type, uint64_t deadline_ms);

/* Says over @fd, from guest_port_dial(), which port it is to be, and reads the answer, and not
 * a byte more. 0; GUEST_PORT_E_REFUSED, _LATE, _ODD; -errno. */
int guest_port_ask(int fd, int type, uint32_t port, uint64_t deadline_ms);

/* Both: a connection to @port of the guest whose hybrid socket is @uds. For SOCK_SEQPACKET,
 * "<uds>_seqpacket" is dialed. */
int guest_port_open(int *out, const char *uds, int type, uint32_t port, uint64_t deadline_ms);

const char *guest_port_str_error(int error);	/* one of those above, or -errno, for people */
int guest_port_exit(int error);			/* enum exit_code */
