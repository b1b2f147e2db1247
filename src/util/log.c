/* SPDX-License-Identifier: BSD-3-Clause */
/* Log lines: formatting, escaping and rate limits. */
#include "util/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "util/fd.h"

enum { LINE_MAX_BYTES = 1024 };

enum log_level log_level = LOG_WARN;

static int log_fd = STDERR_FILENO;

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

void log_deinit(void)
{
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

void log_line(enum log_level level, const char *tag, const char *fmt, ...)
{
	char text[LINE_MAX_BYTES], line[LINE_MAX_BYTES];
	int saved_errno = errno;
	struct timespec ts;
	size_t len;
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);

	clock_gettime(CLOCK_REALTIME, &ts);
	len = log_put_time(line, sizeof line, &ts);
	len = append_escaped(line, len, level_name[level]);
	line[len++] = ' ';
	if (tag && *tag) {
		len = append_escaped(line, len, tag);
		len = append_escaped(line, len, ": ");
	}
	len = append_escaped(line, len, text);
	line[len++] = '\n';
	if (write(log_fd, line, len) < 0) {
		/* A full disk or a closed pipe must not stop the VMs. */
	}
	errno = saved_errno;
}

bool log_limit_pass(struct log_limit *limit, unsigned *swallowed)
{
	struct timespec ts;
	uint64_t now_ms, window;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &ts);
	now_ms = (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
	window = atomic_load_explicit(&limit->window_ms, memory_order_relaxed);
	if ((window == 0 || now_ms - window >= LOG_LIMIT_MS) &&
	    atomic_compare_exchange_strong(&limit->window_ms, &window, now_ms))
		atomic_store(&limit->passed, 0);
	*swallowed = 0;
	if (atomic_fetch_add(&limit->passed, 1) >= LOG_LIMIT_BURST) {
		atomic_fetch_add(&limit->swallowed, 1);
		return false;
	}
	*swallowed = atomic_exchange(&limit->swallowed, 0);
	return true;
}
