/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Blocking writers and readers: see stream.h.
 */
#include "bench/stream.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bench/clock.h"
#include "support/host.h"
#include "support/must.h"

enum { CLOCK_EVERY = 16 * 1024 };		/* bytes between looks at the clock */

static uint8_t *message_new(void)
{
	uint8_t *m = malloc(CHECK_MESSAGE_MAX);

	must(m);
	memcpy(m, check_pattern(), CHECK_MESSAGE_MAX);
	return m;
}

static void *write_all(void *arg)
{
	struct stream *s = arg;
	int64_t cpu = thread_cpu_ns(), until = now_ns() + ns_of(s->seconds);
	uint64_t often = s->size < CLOCK_EVERY ? CLOCK_EVERY / s->size : 1;
	uint8_t *message = message_new();

	for (uint64_t n = 0; n % often || now_ns() < until; n++) {
		check_stamp(message, s->size, n);
		if (!host_write(s->fd, message, s->size))
			die("the stream ended behind %llu bytes",
			    (unsigned long long)s->bytes);
		s->bytes += s->size;
	}
	must(shutdown(s->fd, SHUT_WR) == 0);
	free(message);
	s->cpu_s = (double)(thread_cpu_ns() - cpu) / 1e9;
	return NULL;
}

static void *read_all(void *arg)
{
	struct stream *s = arg;
	uint8_t *buffer = malloc(STREAM_READ_MAX);
	int64_t cpu = thread_cpu_ns();
	ssize_t n;

	must(buffer);
	while ((n = read(s->fd, buffer, STREAM_READ_MAX)) > 0) {
		if (s->is_messages && (size_t)n != s->size)
			die("a message of %zd bytes, not %zu", n, s->size);
		check_take(&s->check, buffer, (size_t)n);
	}
	must(n == 0);
	s->bytes = s->check.offset;
	s->end_ns = now_ns();
	s->cpu_s = (double)(thread_cpu_ns() - cpu) / 1e9;
	free(buffer);
	return NULL;
}

void stream_start_writer(struct stream *s)
{
	must(pthread_create(&s->thread, NULL, write_all, s) == 0);
}

void stream_start_reader(struct stream *s)
{
	s->check = (struct check){ .size = s->size, .all = s->check_all };
	must(pthread_create(&s->thread, NULL, read_all, s) == 0);
}

void stream_join(struct stream *s)
{
	must(pthread_join(s->thread, NULL) == 0);
}
