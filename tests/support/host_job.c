/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A host program in a thread: writes and checks patterns, both at once, or
 * echoes. It gives up when nothing moved for DEADLINE_MS.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "support/deadline.h"
#include "support/host.h"
#include "support/must.h"
#include "support/pattern.h"

enum { CHUNK_MAX = 256 * 1024 };

/* What may be written now: for an echo, what was read and not yet returned. */
static size_t can_write(const struct host_job *j)
{
	uint64_t left = (j->echo ? j->read : j->to_write) - j->written;

	return left < j->chunk ? (size_t)left : j->chunk;
}

static bool does_write(struct host_job *j, uint8_t *buf)
{
	size_t len = can_write(j);
	ssize_t n;

	pattern_fill(buf, len, j->written, j->write_seed);
	n = send(j->fd, buf, len, MSG_NOSIGNAL | MSG_DONTWAIT);
	if (n < 0 && errno != EAGAIN) {
		j->error = "write failed";
		return false;
	}
	j->written += n > 0 ? (uint64_t)n : 0;
	if (j->shuts && j->written == (j->echo ? j->to_read : j->to_write))
		shutdown(j->fd, SHUT_WR);
	return true;
}

static bool does_read(struct host_job *j, uint8_t *buf)
{
	uint64_t left = j->to_read - j->read;
	ssize_t n = recv(j->fd, buf, left < j->chunk ? (size_t)left : j->chunk,
			 MSG_DONTWAIT);

	if (n == 0 || (n < 0 && errno != EAGAIN)) {
		j->error = n ? "read failed" : "closed early";
		return false;
	}
	if (n < 0)
		return true;
	if (pattern_check(buf, (size_t)n, j->read, j->read_seed) != (size_t)n) {
		j->error = "wrong bytes";
		return false;
	}
	j->read += (uint64_t)n;
	return true;
}

static void *run(void *arg)
{
	struct host_job *j = arg;
	uint8_t *buf = malloc(CHUNK_MAX);
	struct pollfd p = { .fd = j->fd };

	must(buf);
	if (j->shuts && !j->to_write && !j->echo)
		shutdown(j->fd, SHUT_WR);
	while (!j->error) {
		p.events = (short)((can_write(j) ? POLLOUT : 0) |
				   (j->read < j->to_read ? POLLIN : 0));
		if (!p.events)
			break;
		if (poll(&p, 1, DEADLINE_MS) == 0) {
			j->error = "stuck";
			break;
		}
		if (p.events & POLLOUT && !does_write(j, buf))
			break;
		if (p.events & POLLIN && p.revents & (POLLIN | POLLHUP))
			does_read(j, buf);
	}
	free(buf);
	return NULL;
}

void host_job_start(struct host_job *j)
{
	if (!j->chunk || j->chunk > CHUNK_MAX)
		j->chunk = 64 * 1024;
	if (j->echo)
		j->write_seed = j->read_seed;
	j->written = j->read = 0;
	j->error = NULL;
	must(pthread_create(&j->thread, NULL, run, j) == 0);
}

bool host_job_finish(struct host_job *j)
{
	must(pthread_join(j->thread, NULL) == 0);
	return !j->error;
}
