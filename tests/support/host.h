/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The host programs: clients that say CONNECT, servers that wait at
 * "<uds>_<port>", and threads that move patterned bytes while the test's own
 * thread plays the guest. All descriptors are blocking; every wait has a
 * deadline of its own.
 */
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

int host_connect(const char *path);		/* -1: refused */
/* Connects and sends the line; the answer is not read. */
int host_dial(const char *uds, uint32_t port);
/* Reads up to a newline, which is cut off; false: closed or too late. */
bool host_read_line(int fd, char *line, size_t size);
/* The port of "OK <port>\n"; 0 for anything else. */
uint32_t host_read_ok(int fd);

int host_listen(const char *uds, uint32_t port, int backlog);
int host_accept(int listener);			/* dies at the deadline */
void host_unlisten(int listener, const char *uds, uint32_t port);

/* Asks whether it may write only when the socket is full, as write(2) waits only then. */
bool host_write(int fd, const void *bytes, size_t len);
/* Bytes read: less than @len when closed, reset, or at the deadline. */
size_t host_read(int fd, void *bytes, size_t len);
/* End of file, or a reset, and nothing before it. */
bool host_is_closed(int fd, int ms);
/* Nothing to read, not closed, for the whole time. */
bool host_is_quiet(int fd, int ms);

struct host_job {
	int fd;
	uint64_t to_write, to_read;		/* bytes */
	uint32_t write_seed, read_seed;
	bool echo;				/* gives back to_read bytes instead */
	bool shuts;				/* SHUT_WR behind the last byte */
	size_t chunk;				/* largest read and write; 0: 64 KiB */

	uint64_t written, read;
	const char *error;			/* NULL: all done */
	pthread_t thread;
};

void host_job_start(struct host_job *j);
/* Joins; true when every byte went through and was right. */
bool host_job_finish(struct host_job *j);
