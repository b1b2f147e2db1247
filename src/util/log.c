/* SPDX-License-Identifier: BSD-3-Clause */
/* Log lines: formatting, escaping, writing. */
#include "util/log.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "util/calendar.h"
#include "util/fd.h"
#include "util/spool.h"

enum {
	LINE_MAX_BYTES = 1024,
	QUEUE_BYTES = 64 * 1024,		/* full: lines are counted, and dropped */
	FLUSH_MS = 1000,			/* at the end, for what is queued */
};

_Atomic(enum log_level) log_level = LEVEL_WARN;

static int log_fd = STDERR_FILENO;

const char *const log_level_names[LOG_LEVELS] = {
	[LEVEL_ERR] = "error", [LEVEL_WARN] = "warn", [LEVEL_INFO] = "info",
	[LEVEL_DEBUG] = "debug", [LEVEL_TRACE] = "trace",
};

/* Appends @text to the line of @len bytes, control characters as \xNN. */
static size_t append_escaped(char *line, size_t len, const char *text)
{
	static const char hex[] = "0123456789abcdef";

	for (; *text && len + 5 < LINE_MAX_BYTES; text++) {
		unsigned char c = (unsigned char)*text;

		if (c >= 0x20 && c != 0x7f) {
			line[len++] = (char)c;
		} else {
			line[len++] = '\\';
			line[len++] = 'x';
			line[len++] = hex[c >> 4];
			line[len++] = hex[c & 15];
		}
	}
	return len;
}

/* "2024-01-01T00:00:00.000Z level ": some 30 bytes. Returns the length. */
static size_t begin_line(char *line, enum log_level level)
{
	struct timespec ts;
	size_t len;

	clock_gettime(CLOCK_REALTIME, &ts);
	len = calendar_put_utc(line, CALENDAR_TEXT_MAX, &ts);
	line[len++] = ' ';
	len = append_escaped(line, len, log_level_names[level]);
	line[len++] = ' ';
	return len;
}

/* The whole line, or -errno. A part of one that is left behind on a full disk is
 * closed by a newline when there is room again. */
static int write_line(const char *line, size_t len)
{
	static bool is_torn;
	size_t done = 0;

	if (is_torn && write(log_fd, "\n", 1) != 1)
		return -errno;
	is_torn = false;
	while (done < len) {
		ssize_t n = write(log_fd, line + done, len - done);

		if (n < 0 && errno != EINTR) {
			is_torn = done > 0;
			return -errno;
		}
		done += n > 0 ? (size_t)n : 0;
	}
	return 0;
}

static unsigned write_lines(struct spool *s, const struct spool_record *lines, unsigned n)
{
	unsigned n_lost = 0;

	(void)s;
	for (unsigned i = 0; i < n; i++)
		n_lost += write_line(lines[i].bytes, lines[i].len) != 0;
	return n_lost;
}

static size_t make_note(struct spool *s, char note[SPOOL_NOTE_MAX], unsigned n_lost)
{
	size_t len = begin_line(note, LEVEL_WARN);

	(void)s;
	return len + (size_t)snprintf(note + len, SPOOL_NOTE_MAX - len,
				      "log: %u lines could not be written\n", n_lost);
}

static const struct spool_ops spool_ops = {
	.name = "log", .batch = 1, .write = write_lines, .make_note = make_note,
};

static size_t queue[QUEUE_BYTES / sizeof(size_t)];
static struct spool spool = SPOOL_INIT(&spool_ops, queue);

int log_init(enum log_level level, const char *path)
{
	int fd = STDERR_FILENO;

	if (path) {
		fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY, 0600);
		if (fd < 0)
			return -errno;
	}
	log_adopt(level, fd);
	return 0;
}

void log_adopt(enum log_level level, int fd)
{
	log_deinit();
	log_fd = fd;
	log_level = level;
}

uint64_t log_count_lost(void)
{
	return spool_count_lost(&spool);
}

int log_descriptor(void)
{
	return log_fd;
}

int log_start_thread(void)
{
	return spool_start(&spool);
}

bool log_stop_thread_within(int wait_ms)
{
	return spool_stop(&spool, wait_ms);
}

bool log_stop_thread(void)
{
	return log_stop_thread_within(FLUSH_MS);
}

void log_deinit(void)
{
	if (!log_stop_thread())
		return;
	if (log_fd != STDERR_FILENO)
		fd_close(&log_fd);
	log_fd = STDERR_FILENO;
}

__attribute__((format(printf, 4, 0)))
static size_t make_line(char *line, enum log_level level, const char *tag, const char *fmt,
			va_list ap)
{
	char text[LINE_MAX_BYTES];
	size_t len = begin_line(line, level);

	vsnprintf(text, sizeof text, fmt, ap);
	if (tag && *tag) {
		len = append_escaped(line, len, tag);
		len = append_escaped(line, len, ": ");
	}
	len = append_escaped(line, len, text);
	line[len++] = '\n';
	return len;
}

void log_line(enum log_level level, const char *tag, const char *fmt, ...)
{
	char line[LINE_MAX_BYTES];
	int saved_errno = errno;
	size_t len;
	va_list ap;

	va_start(ap, fmt);
	len = make_line(line, level, tag, fmt, ap);
	va_end(ap);
	spool_put(&spool, line, len);
	errno = saved_errno;
}

void log_last_words(const char *tag, const char *fmt, ...)
{
	struct pollfd p = { .fd = log_fd, .events = POLLOUT };
	char line[LINE_MAX_BYTES];
	size_t len;
	va_list ap;

	va_start(ap, fmt);
	len = make_line(line, LEVEL_ERR, tag, fmt, ap);
	va_end(ap);
	if (poll(&p, 1, 0) == 1 && write(log_fd, line, len) < 0) {
		/* There is nobody left to tell. */
	}
}
