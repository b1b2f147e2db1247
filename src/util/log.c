/* SPDX-License-Identifier: BSD-3-Clause */
/* Log lines: formatting, escaping, and the thread that writes. Limits: log_limit.c. */
#include "util/log.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "util/fd.h"

enum {
	LINE_MAX_BYTES = 1024,
	QUEUE_BYTES = 64 * 1024,		/* full: lines are counted, and dropped */
	FLUSH_MS = 1000,			/* at the end, for what is queued */
};

enum log_level log_level = LOG_WARN;

static int log_fd = STDERR_FILENO;

/* Lines on their way to the thread. Each ends in a newline and holds no other. */
static struct {
	pthread_mutex_t lock;			/* the thread writes without it */
	pthread_cond_t changed;
	bool has_thread, ends;
	unsigned lost;				/* lines, since it was last said */
	size_t first, len;			/* in bytes, circular */
	char bytes[QUEUE_BYTES];
} queue = { .lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER };

static const char *const level_name[] = {
	[LOG_ERR] = "error", [LOG_WARN] = "warn", [LOG_INFO] = "info",
	[LOG_DEBUG] = "debug", [LOG_TRACE] = "trace",
};

int log_init(enum log_level level, const char *path)
{
	int fd = STDERR_FILENO;

	if (path) {
		fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY, 0600);
		if (fd < 0)
			return -errno;
	}
	log_deinit();
	log_fd = fd;
	log_level = level;
	return 0;
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

static size_t queue_take(char *line)
{
	size_t len = 0;

	do {
		line[len++] = queue.bytes[queue.first];
		queue.first = (queue.first + 1) % QUEUE_BYTES;
		queue.len--;
	} while (line[len - 1] != '\n');
	return len;
}

/* There is room for it. */
static void queue_put(const char *line, size_t len)
{
	size_t at = (queue.first + queue.len) % QUEUE_BYTES, n = QUEUE_BYTES - at;

	if (n > len)
		n = len;
	memcpy(queue.bytes + at, line, n);
	memcpy(queue.bytes, line + n, len - n);
	queue.len += len;
}

static void *write_queue(void *arg)
{
	char line[LINE_MAX_BYTES];

	pthread_setname_np(pthread_self(), "log");
	pthread_mutex_lock(&queue.lock);
	while (queue.len || !queue.ends) {
		size_t len;
		int r;

		if (!queue.len) {
			pthread_cond_wait(&queue.changed, &queue.lock);
			continue;
		}
		len = queue_take(line);
		pthread_mutex_unlock(&queue.lock);
		r = write_line(line, len);
		pthread_mutex_lock(&queue.lock);
		queue.lost += r < 0;
	}
	queue.has_thread = false;
	pthread_cond_broadcast(&queue.changed);
	pthread_mutex_unlock(&queue.lock);
	return arg;
}

int log_start_thread(void)
{
	pthread_t thread;
	int r;

	queue.has_thread = true;
	queue.ends = false;
	r = pthread_create(&thread, NULL, write_queue, NULL);
	if (r)
		queue.has_thread = false;
	else
		pthread_detach(thread);		/* it may never come out of a write(2) */
	return -r;
}

bool log_stop_thread(void)
{
	struct timespec until;
	int r = 0;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += FLUSH_MS / 1000;
	pthread_mutex_lock(&queue.lock);
	queue.ends = true;
	pthread_cond_broadcast(&queue.changed);
	while (queue.has_thread && r == 0)
		r = pthread_cond_clockwait(&queue.changed, &queue.lock, CLOCK_MONOTONIC, &until);
	pthread_mutex_unlock(&queue.lock);
	return r == 0;
}

void log_deinit(void)
{
	if (!log_stop_thread())
		return;
	if (log_fd != STDERR_FILENO)
		fd_close(&log_fd);
	log_fd = STDERR_FILENO;
}

size_t log_put_time(char *line, size_t size, const struct timespec *ts)
{
	long secs = ts->tv_sec % 86400, days = ts->tv_sec / 86400;
	/* Years begin in March here, so that the odd day is the last one; an era
	 * is the 400 years after which the calendar repeats. */
	long day = days + 719468, era = day / 146097, doe = day % 146097;
	long yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
	long doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
	long mp = (5 * doy + 2) / 153;		/* months since March */
	long month = mp < 10 ? mp + 3 : mp - 9;
	int n = snprintf(line, size, "%04ld-%02ld-%02ldT%02ld:%02ld:%02ld.%03ldZ ",
			 era * 400 + yoe + (month <= 2), month, doy - (153 * mp + 2) / 5 + 1,
			 secs / 3600, secs / 60 % 60, secs % 60, ts->tv_nsec / 1000000);

	return n < 0 ? 0 : (size_t)n;
}

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

/* "2024-01-01T00:00:00.000Z level ". Returns the length. */
static size_t begin_line(char *line, enum log_level level)
{
	struct timespec ts;
	size_t len;

	clock_gettime(CLOCK_REALTIME, &ts);
	len = log_put_time(line, LINE_MAX_BYTES, &ts);
	len = append_escaped(line, len, level_name[level]);
	line[len++] = ' ';
	return len;
}

/* Says first what was lost before this line. */
static bool enqueue(const char *line, size_t len)
{
	char lost[LINE_MAX_BYTES];
	size_t n = 0;

	if (queue.lost) {
		n = begin_line(lost, LOG_WARN);
		n += (size_t)snprintf(lost + n, sizeof lost - n,
				      "log: %u lines could not be written\n", queue.lost);
	}
	if (n + len > QUEUE_BYTES - queue.len)
		return false;
	if (n)
		queue.lost = 0;
	queue_put(lost, n);
	queue_put(line, len);
	return true;
}

static void emit(const char *line, size_t len)
{
	pthread_mutex_lock(&queue.lock);
	if (!queue.has_thread)
		queue.lost += write_line(line, len) < 0;
	else if (enqueue(line, len))
		pthread_cond_broadcast(&queue.changed);
	else
		queue.lost++;
	pthread_mutex_unlock(&queue.lock);
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
	emit(line, len);
	errno = saved_errno;
}

void log_last_words(const char *tag, const char *fmt, ...)
{
	struct pollfd p = { .fd = log_fd, .events = POLLOUT };
	char line[LINE_MAX_BYTES];
	size_t len;
	va_list ap;

	va_start(ap, fmt);
	len = make_line(line, LOG_ERR, tag, fmt, ap);
	va_end(ap);
	if (poll(&p, 1, 0) == 1 && write(log_fd, line, len) < 0) {
		/* There is nobody left to tell. */
	}
}

bool log_once_pass(struct log_once *once, unsigned kind)
{
	uint64_t bit = UINT64_C(1) << kind % 64;
	bool is_first;

	assert(kind / 64 < sizeof once->seen / sizeof *once->seen);
	is_first = !(once->seen[kind / 64] & bit);
	once->seen[kind / 64] |= bit;
	return is_first;
}
