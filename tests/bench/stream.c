/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Blocking writers and readers: see stream.h.
 */
#include "bench/stream.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "bench/clock.h"
#include "support/deadline.h"
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
		if (s->polls_first &&
		    !deadline_poll(s->fd, POLLOUT, deadline_in(DEADLINE_MS)))
			die("it could not be written to for %d s", DEADLINE_MS / 1000);
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

/* As read(2), but an end that has not come is none: for a while nothing came. */
static ssize_t read_to_total(struct stream *s, uint8_t *buffer)
{
	struct timeval quiet = { .tv_usec = QUIET_MS * 1000 };
	ssize_t n;

	if (!s->end_ns)
		must(setsockopt(s->fd, SOL_SOCKET, SO_RCVTIMEO, &quiet, sizeof quiet) == 0);
	for (int waited = 0; waited < DEADLINE_MS; waited += QUIET_MS) {
		n = read(s->fd, buffer, STREAM_READ_MAX);
		if (n >= 0 || errno != EAGAIN) {
			s->end_ns = now_ns();
			return n;
		}
		if (s->total && s->total == s->check.offset) {
			s->lacks_end = true;
			return 0;
		}
	}
	die("nothing came for %d s, behind %llu bytes of %llu", DEADLINE_MS / 1000,
	    (unsigned long long)s->check.offset, (unsigned long long)s->total);
}

static ssize_t read_some(struct stream *s, uint8_t *buffer)
{
	ssize_t n;

	if (s->may_lack_end)
		return read_to_total(s, buffer);
	n = read(s->fd, buffer, STREAM_READ_MAX);
	if (n <= 0)
		s->end_ns = now_ns();
	return n;
}

static void *read_all(void *arg)
{
	struct stream *s = arg;
	uint8_t *buffer = malloc(STREAM_READ_MAX);
	int64_t cpu = thread_cpu_ns();
	ssize_t n;

	must(buffer);
	while ((n = read_some(s, buffer)) > 0) {
		if (s->is_messages && (size_t)n != s->size)
			die("a message of %zd bytes, not %zu", n, s->size);
		check_take(&s->check, buffer, (size_t)n);
	}
	if (n < 0 && errno == ENOBUFS && s->is_overrun) {
		*s->is_overrun = true;
		die("Linux has reset the connection: too many packets waited for its reader");
	}
	must(n == 0);
	s->bytes = s->check.offset;
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

void stream_join_at(struct stream *s, uint64_t total)
{
	s->total = total;
	stream_join(s);
}
