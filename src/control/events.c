/* SPDX-License-Identifier: BSD-3-Clause */
/* The event monitor: queue and file. */
#include "control/events.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "control/events_internal.h"
#include "device/events.h"
#include "util/error.h"
#include "util/fd.h"
#include "util/log_limit.h"
#include "util/spool.h"

enum { QUEUE_BYTES = 256 * 1024, FLUSH_MS = 300, PARK_MS = 50, GATHER_MS = 10 };	/* a thousand events */

static int events_fd = -1;

/* A line is written whole, or closed by a newline once something can be written again. */
static int write_record(struct spool *s, const void *record, size_t len)
{
	static bool is_torn;
	char line[EVENTS_LINE_MAX];
	struct event_record r;
	size_t n, done = 0;

	(void)s;
	memcpy(&r, record, len);
	n = events_format(line, &r);
	if (is_torn && write(events_fd, "\n", 1) != 1)
		return -errno;
	is_torn = false;
	while (done < n) {
		ssize_t got = write(events_fd, line + done, n - done);

		if (got < 0 && errno != EINTR) {
			is_torn = done > 0;
			log_limited(LEVEL_WARN, "main", "event-monitor: %s: events are lost",
				    error_str(error_last()));
			return -errno;
		}
		done += got > 0 ? (size_t)got : 0;
	}
	return 0;
}

static size_t make_note(struct spool *s, char note[SPOOL_NOTE_MAX], unsigned n_lost)
{
	struct event_record r;

	(void)s;
	static_assert(sizeof r <= SPOOL_NOTE_MAX, "it is a record as all are");
	events_record(&r, &(struct event){ .kind = EVENT_LOST, .number = n_lost });
	memcpy(note, &r, sizeof r);
	return sizeof r;
}

static const struct spool_ops spool_ops = {
	.name = "events", .gather_ms = GATHER_MS, .write = write_record, .make_note = make_note,
};

static size_t queue[QUEUE_BYTES / sizeof(size_t)];
static struct spool spool = SPOOL_INIT(&spool_ops, queue);

/* A pipe that is opened for both has a reader, and does not break. */
int events_open(const char *path)
{
	const int how = O_CLOEXEC | O_NOCTTY | O_APPEND;
	struct stat st;
	int fd;

	if (stat(path, &st) == 0 && S_ISFIFO(st.st_mode))
		fd = open(path, O_RDWR | how);
	else
		fd = open(path, O_WRONLY | O_CREAT | how, 0600);
	if (fd < 0)
		return error_last();
	events_adopt(fd);
	return 0;
}

int events_open_passed(int fd)
{
	if (fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
		return error_last();
	events_adopt(fd);
	return 0;
}

void events_adopt(int fd)
{
	fd_close(&events_fd);
	events_fd = fd;
}

int events_descriptor(void)
{
	return events_fd;
}

int events_start_thread(void)
{
	return events_are_on() ? spool_start(&spool) : 0;
}

void events_stop_thread(void)
{
	if (events_are_on())
		spool_stop(&spool, FLUSH_MS);
}

void events_flush(void)
{
	if (events_are_on())
		spool_stop(&spool, PARK_MS);
}

void events_put(const struct event *e)
{
	struct event_record r;

	if (!events_are_on())
		return;
	events_record(&r, e);
	spool_put(&spool, &r, sizeof r);
}

void events_put_vm(enum event_kind kind, uint64_t cid)
{
	events_put(&(struct event){ .kind = kind, .cid = cid });
}

void events_put_device(const struct device_event *e)
{
	struct event_record r;

	if (!events_are_on())
		return;
	events_record_device(&r, e);
	spool_put(&spool, &r, sizeof r);
}
