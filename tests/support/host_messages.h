/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Host programs with SOCK_SEQPACKET sockets: as host.h, in messages.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

int host_messages_listen(const char *uds, uint32_t port, int backlog);
int host_messages_accept(int listener);		/* dies at the deadline */

/* A client of "<uds>_seqpacket", which has said nothing; -1: refused. */
int host_messages_connect(const char *uds);
/* ... and has said its line. */
int host_messages_dial(const char *uds, uint32_t port);
uint32_t host_messages_read_ok(int fd);		/* the port; 0: another answer, or none */

/* One message; false: not before the deadline, or refused (errno). */
bool host_send_message(int fd, const void *bytes, size_t len);
/* One if it can be sent now. */
bool host_send_message_now(int fd, const void *bytes, size_t len);

/* The length of the next one, which has to fit; an end, or a reset; HOST_LATE after @ms. */
enum { HOST_LATE = -1, HOST_END = -2 };
ssize_t host_recv_message(int fd, void *bytes, size_t size, int ms);
