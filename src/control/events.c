/* SPDX-License-Identifier: BSD-3-Clause */
/* The event monitor: queue and file. */
#include "control/events.h"

#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

#include "control/event_feed.h"
#include "control/events_internal.h"
#include "device/events.h"
#include "util/error.h"
#include "util/fd.h"
#include "util/log_limit.h"
#include "util/spool.h"

enum { QUEUE_BYTES = 256 * 1024, FLUSH_MS = 300, PARK_MS = 50, GATHER_MS = 10 };	/* a thousand events */

static int events_fd = -1;

/* Lines that are written together. To a file the price of a write is shared by as many as there
 * are; a pipe, or what else it may be, gets no more than a pipe takes at once, so that those of
 * another process do not come between. */
struct block {
	char bytes[32 * 1024];
	size_t len;
};

static size_t block_max = PIPE_BUF;		/* bytes */

/* Each of our lines has one newline, at its end. */
static unsigned count_lines(const char *bytes, size_t len)
{
	unsigned n = 0;

	for (size_t i = 0; i < len; i++)
		n += bytes[i] == '\n';
	return n;
}

/* Empties it. A line that could be written in part only is closed by a newline once something
 * can be written again. Returns how many lines are lost. */
static unsigned write_block(struct block *b)
{
	static bool is_torn;
	size_t len = b->len, done = 0;

	b->len = 0;
	if (is_torn && write(events_fd, "\n", 1) != 1)
		return count_lines(b->bytes, len);
	is_torn = false;
	while (done < len) {
		ssize_t got = write(events_fd, b->bytes + done, len - done);

		if (got < 0 && errno != EINTR) {
			is_torn = done > 0 && b->bytes[done - 1] != '\n';
			log_limited(LEVEL_WARN, "main", "event-monitor: %s: events are lost",
				    error_str(error_last()));
			return count_lines(b->bytes + done, len - done);
		}
		done += got > 0 ? (size_t)got : 0;
	}
	return 0;
}

static unsigned write_records(struct spool *s, const struct spool_record *records, unsigned n)
{
	static struct block b;
	unsigned n_lost = 0;

	(void)s;
	for (unsigned i = 0; i < n; i++) {
		struct event_record r;

		memcpy(&r, records[i].bytes, records[i].len);
		b.len += events_format(b.bytes + b.len, &r);
		if (block_max - b.len < EVENTS_LINE_MAX)
			n_lost += write_block(&b);
	}
	return n_lost + (b.len ? write_block(&b) : 0);
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
	.name = "events", .gather_ms = GATHER_MS, .batch = SPOOL_BATCH_MAX,
	.write = write_records, .make_note = make_note,
};

static size_t queue[QUEUE_BYTES / sizeof(size_t)];
static struct spool spool = SPOOL_INIT(&spool_ops, queue);

/* A pipe that is opened for both has a reader, and does not break. Nothing is waited for, the
 * other end of a terminal's line included; the thread that writes then may. */
int events_open(const char *path)
{
	const int how = O_CLOEXEC | O_NOCTTY | O_APPEND | O_NONBLOCK;
	struct stat st;
	int fd, flags;

	if (stat(path, &st) == 0 && S_ISFIFO(st.st_mode))
		fd = open(path, O_RDWR | how);
	else
		fd = open(path, O_WRONLY | O_CREAT | how, 0600);
	flags = fd < 0 ? -1 : fcntl(fd, F_GETFL);
	if (flags < 0 || fcntl(fd, F_SETFL, flags & ~O_NONBLOCK) < 0) {
		int r = error_last();

		fd_close(&fd);
		return r;
	}
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
	struct stat st;
	bool is_file = fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode);

	fd_close(&events_fd);
	events_fd = fd;
	block_max = is_file ? sizeof ((struct block *)NULL)->bytes : PIPE_BUF;
	spool_set_waits(&spool, !is_file);
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

bool events_are_wanted(void)
{
	return events_are_on() || event_feed_is_wanted();
}

uint64_t events_count_lost(void)
{
	return spool_count_lost(&spool) + event_feed_count_lost();
}

/* ---- telling ---- */

static void (*watcher)(void *ctx, uint64_t at_ns, const char *line, size_t len);
static void *watcher_ctx;

void events_watch(void (*told)(void *ctx, uint64_t at_ns, const char *line, size_t len), void *ctx)
{
	watcher = told;
	watcher_ctx = ctx;
}

static void put(const struct event_record *r)
{
	if (events_are_on())
		spool_put(&spool, r, sizeof *r);
	if (event_feed_is_wanted())
		event_feed_put(r);
}

void events_put(const struct event *e)
{
	char line[EVENTS_LINE_MAX];
	struct event_record r;

	if (!events_are_wanted() && !watcher)
		return;
	events_record(&r, e);
	put(&r);
	if (watcher)
		watcher(watcher_ctx, events_time_ns(&r), line, events_format(line, &r));
}

void events_put_vm(enum event_kind kind, uint64_t cid)
{
	events_put(&(struct event){ .kind = kind, .cid = cid });
}

void events_put_device(const struct device_event *e)
{
	struct event_record r;

	if (!events_are_wanted())
		return;
	events_record_device(&r, e);
	put(&r);
}
