/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Host programs that move messages over a socket as fast as it goes, one thread
 * and one direction each, with blocking calls: the same code writes and reads at
 * the daemon's sockets and at the ends of the raw socket pair beside it.
 */
#pragma once

#include <pthread.h>

#include "bench/check.h"

enum { STREAM_READ_MAX = 64 * 1024 };		/* what a reader asks for */

struct stream {
	int fd;
	size_t size;				/* of a message, of a write */
	double seconds;				/* writer: then SHUT_WR */
	bool check_all;
	bool polls_first;			/* writer: waits for POLLOUT before each write */
	bool is_messages;			/* seqpacket: each read is one of @size */
	bool may_lack_end;			/* reader: also ends when it has @total */
	_Atomic uint64_t total;			/* bytes sent, 0 until that is known */
	bool *is_overrun;			/* reader, or NULL: set before it dies of ENOBUFS */

	uint64_t bytes;
	int64_t end_ns;				/* reader: of its last byte */
	bool lacks_end;				/* and no end of file came behind it */
	double cpu_s;				/* of the thread */
	struct check check;
	pthread_t thread;
};

void stream_start_writer(struct stream *s);
void stream_start_reader(struct stream *s);	/* until the end of the stream */
void stream_join(struct stream *s);
/* The same for a reader, when all that it will get has been sent. */
void stream_join_at(struct stream *s, uint64_t total);
